"""A server file's text, line by line, judged by the rules that a continuum is made by."""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from ketama._ketama import ffi, lib
from ketama.continuum import Continuum
from ketama.errors import KetamaOSError, ServersError, failure

LARGEST = 512 << 20  # bytes, as in libketama
BLOCK = 1 << 20


class Line(NamedTuple):
    """A line: a server's, or a comment or empty, or wrong."""

    number: int  # from 1
    text: bytes  # with its end
    address: str = ""  # of the server; "" where there is none
    weight: int = 0
    weight_at: int = 0  # where in the text the weight's digits begin, bytes
    name: str = ""  # of the server; "" where there is none
    status: int = 0  # what is wrong, as libketama's statuses; 0: nothing
    fault: str = ""  # the same in words

    @property
    def end(self) -> bytes:
        """The line's end: LF, CR LF, or nothing."""
        ends = (b"\r\n", b"\n")
        return next((end for end in ends if self.text.endswith(end)), b"")


def parse(text: bytes) -> list[Line]:
    """Take a file's text apart; the lines' texts together are the text."""
    server, failed = ffi.new("struct server_line *"), ffi.new("ketama_failure *")
    lines = []
    rest = ffi.from_buffer(text)
    at = number = 0
    while at < len(text):
        number += 1
        status = lib.read_line(rest + at, len(text) - at, number, server, failed)
        line = text[at : at + server.size_bytes]
        at += server.size_bytes
        if status < 0:
            error = failure(failed, None)
            if not isinstance(error, ServersError):
                raise error
            lines.append(Line(number, line, status=status, fault=error.reason))
        elif status == 0:
            lines.append(Line(number, line))
        else:
            end = server.address_at + server.address_bytes
            address = line[server.address_at : end].decode()
            name = line[server.name_at : server.name_at + server.name_bytes].decode()
            lines.append(Line(number, line, address, server.weight, server.weight_at, name))
    return lines


def continuum(lines: list[Line], filename: str | bytes) -> Continuum:
    """Make the continuum of a file's lines, or raise what opening the file would raise."""
    for line in lines:
        if line.fault:
            raise ServersError(filename, line.number, line.fault)
    servers = [line for line in lines if line.address]
    if not servers:
        raise ServersError(filename, None, "no servers: write one per line, 'address weight'")
    try:
        return Continuum([(line.address, line.weight, line.name or None) for line in servers])
    except ServersError as error:
        number = servers[error.lineno - 1].number if error.lineno else None
        raise ServersError(filename, number, error.reason) from None


def read(fd: int, filename: str | bytes) -> bytes:
    """Read an open server file, whole.

    Raises KetamaOSError where it can't be read or is no regular file, ServersError where it
    is larger than any server file.
    """
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise KetamaOSError(errno.EISDIR, os.strerror(errno.EISDIR), filename)
        if not stat.S_ISREG(status.st_mode):
            raise KetamaOSError(errno.EINVAL, "it is not a regular file", filename)
        blocks, size = [], 0
        while size <= LARGEST and (block := os.read(fd, BLOCK)):
            blocks.append(block)
            size += len(block)
    except OSError as error:
        raise KetamaOSError(error.errno, error.strerror, filename) from None
    if size > LARGEST:
        raise ServersError(filename, None, f"the file has more than {LARGEST} bytes")
    return b"".join(blocks)


def read_file(filename: str | bytes) -> bytes:
    """Read a server file, as `read`; nothing that is no file is waited for."""
    try:
        fd = os.open(filename, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise KetamaOSError(error.errno, error.strerror, filename) from None
    try:
        return read(fd, filename)
    finally:
        os.close(fd)
