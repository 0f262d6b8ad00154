"""Read server files and keys: from files, pipes and standard input."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import ketama

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

STDIN = "-"
STDIN_NAME = "<stdin>"
BLOCK = 1 << 18  # bytes


def stdin() -> BinaryIO:
    """Return standard input as a binary stream."""
    if sys.stdin is None:
        raise click.UsageError("standard input is closed")
    return sys.stdin.buffer


def is_stream(file: str) -> bool:
    """Return whether the file is standard input or a pipe, such as a shell's <(command)."""
    if file == STDIN:
        return True
    return Path(file).is_fifo()


def label(file: str) -> str:
    """Return a server file's name in messages."""
    return STDIN_NAME if file == STDIN else file


def read_text(file: str) -> bytes:
    """Return a server file's text."""
    from ketama.admin import server_file

    if file == STDIN:
        return stdin().read()
    if is_stream(file):
        return Path(file).read_bytes()
    return server_file.read_file(file)


def open_continuum(file: str) -> ketama.Continuum:
    """Return the continuum of a server file as it is now, without publishing it."""
    if not is_stream(file):
        # As bytes, because the remedy for a str that is an address is Python's.
        return ketama.Continuum(os.fsencode(file), shared=False)
    from ketama.admin import server_file

    return server_file.continuum(server_file.parse(read_text(file)), label(file))


def only_one_stdin(*files: str | None) -> None:
    """Raise a usage error where standard input would be read twice."""
    if files.count(STDIN) > 1:
        raise click.UsageError("cannot read standard input twice")


def blocks_of_keys(stream: BinaryIO, separator: bytes) -> Iterator[tuple[list[bytes], int]]:
    """Yield the keys of a stream as they arrive, some thousand at a time, with their bytes.

    separator: a newline, and a CR before it is dropped as well; or a NUL.
    """
    begun: list[bytes] = []  # of a key whose end is yet to come
    while block := stream.read1(BLOCK):  # type: ignore[attr-defined]
        keys = block.split(separator)
        begun.append(keys[0])
        if len(keys) > 1:
            keys[0] = b"".join(begun)
            begun = [keys.pop()]
            yield _without_cr(keys, block) if separator == b"\n" else keys, len(block)
    if last := b"".join(begun):
        yield _without_cr([last], last) if separator == b"\n" else [last], 0


def _without_cr(keys: list[bytes], block: bytes) -> list[bytes]:
    # The CR at the end of the first key may have been in the previous block.
    if b"\r" in block or keys[0].endswith(b"\r"):
        return [key.removesuffix(b"\r") for key in keys]
    return keys


def argument_keys(keys: tuple[str, ...]) -> list[bytes]:
    """Return keys that were given as arguments, as bytes."""
    return [os.fsencode(key) for key in keys]
