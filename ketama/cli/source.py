"""Read server files and keys: from files, pipes, standard input and URLs of fleets."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli.app import SUCCESS, report
from ketama.cli.output import progress
from ketama.cli.store import is_url, list_of
from ketama.continuum import continuum_of_text, continuum_with

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

STDIN = "-"
STDIN_NAME = "<stdin>"
BLOCK = 1 << 18  # bytes
KEY_MAX = 1 << 20  # bytes of a key in a stream
ENDS = {b"\n": "a newline", b"\0": "a NUL"}  # of keys


def stdin(what: str) -> BinaryIO:
    """Return standard input as a binary stream; on a terminal, say what is waited for."""
    if sys.stdin is None:
        raise click.UsageError("standard input is closed")
    if sys.stdin.isatty():
        report(f"reading {what} from the terminal; end with Ctrl-D", SUCCESS)
    return sys.stdin.buffer


def is_stream(file: str) -> bool:
    """Return whether it is standard input, a pipe such as a shell's <(command), or a URL."""
    if file == STDIN or is_url(file):
        return True
    return Path(file).is_fifo()


def label(file: str) -> str:
    """Return a server file's name in messages."""
    return STDIN_NAME if file == STDIN else file


def read_text(file: str) -> bytes:
    """Return a server file's text."""
    from ketama.admin import server_file

    if file == STDIN:
        return server_file.read_all(stdin("a server file").fileno(), STDIN_NAME)
    if is_url(file):
        return list_of(file)
    if is_stream(file):
        with Path(file).open("rb", buffering=0) as stream:
            return server_file.read_all(stream.fileno(), file)
    return server_file.read_file(file)


def open_continuum(file: str, dialect: bytes) -> ketama.Continuum:
    """Return the continuum of a server file as it is now, without publishing it.

    dialect: the options of a profile, as libketama reads them.
    """
    if is_stream(file):
        return continuum_of_text(read_text(file), label(file), dialect)
    # As bytes, because the remedy for a str that is an address is Python's.
    return continuum_with(os.fsencode(file), dialect)


def only_one_stdin(*files: str | None) -> None:
    """Raise a usage error where standard input would be read twice."""
    if files.count(STDIN) > 1:
        raise click.UsageError("cannot read standard input twice")


def blocks_of_keys(
    stream: BinaryIO, separator: bytes, name: str
) -> Iterator[tuple[list[bytes], int]]:
    """Yield the keys of a stream as they arrive, some thousand at a time, with their bytes.

    separator: a newline, and a CR before it is dropped as well; or a NUL.
    name: the stream's, for the error message.
    Raises KetamaError for a key that does not end, after KEY_MAX bytes.
    """
    begun: list[bytes] = []  # of a key whose end is yet to come
    size = 0
    while block := stream.read1(BLOCK):  # type: ignore[attr-defined]
        keys = block.split(separator)
        begun.append(keys[0])
        size += len(keys[0])
        if size > KEY_MAX:
            raise ketama.KetamaError(
                f"{name}: a key has more than {KEY_MAX} bytes: end each with {ENDS[separator]}"
            )
        if len(keys) > 1:
            keys[0] = b"".join(begun)
            begun = [keys.pop()]
            size = len(begun[0])
            yield _without_cr(keys, block) if separator == b"\n" else keys, len(block)
    if last := b"".join(begun):
        yield _without_cr([last], last) if separator == b"\n" else [last], 0


def each_key(file: str) -> Iterator[bytes]:
    """Yield the keys of a file, one per line, or of standard input; show the progress."""
    with (
        nullcontext(stdin("keys, one per line,"))
        if file == STDIN
        else Path(file).open("rb") as stream
    ):
        size = os.fstat(stream.fileno()).st_size or None
        with progress(size) as advance:
            for keys, read in blocks_of_keys(stream, b"\n", label(file)):
                yield from keys
                advance(read)


def _without_cr(keys: list[bytes], block: bytes) -> list[bytes]:
    # The CR at the end of the first key may have been in the previous block.
    if b"\r" in block or keys[0].endswith(b"\r"):
        return [key.removesuffix(b"\r") for key in keys]
    return keys


def argument_keys(keys: tuple[str, ...]) -> list[bytes]:
    """Return keys that were given as arguments, as bytes."""
    return [os.fsencode(key) for key in keys]
