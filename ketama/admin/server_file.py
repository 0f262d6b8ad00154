"""A server file's text, line by line, read by the rules that libketama builds a ring by."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple, SupportsIndex

from ketama._ketama import ffi, lib
from ketama.errors import KetamaOSError, ServersError, failure
from ketama.servers import to_c

SIZE_MAX = 512 << 20  # bytes, as in libketama
BLOCK = 1 << 20  # bytes
LINES_AT_ONCE = 256
SERVER_LINE = struct.Struct("=12Q")  # struct server_line


class Line(NamedTuple):
    """A line with a server, or an invalid one; or a run of comments and empty lines.

    number: of the line, from 1; 0 for a run, and for a line that is not in the file yet.
    start: where it begins in the file's text, bytes.
    text: the line with its line break.
    address, weight, name: the server's; "", 0 and None if the line has no server.
    address_at, weight_at, weight_end, name_at, name_end, ranges_at, ranges_end: where these
        are in `text`, bytes; 0 for what a server does not have. Ranges are those of its
        buckets, in a bucket map.
    status, reason: why the line is invalid, as a status of libketama and in words; else 0, "".
    """

    number: int
    start: int
    text: bytes
    address: str = ""
    weight: int = 0
    name: str | None = None
    address_at: int = 0
    weight_at: int = 0
    weight_end: int = 0
    name_at: int = 0
    name_end: int = 0
    ranges_at: int = 0
    ranges_end: int = 0
    status: int = 0
    reason: str = ""

    @property
    def line_break(self) -> bytes:
        """The line's LF, CR LF, or nothing."""
        return next((end for end in (b"\r\n", b"\n") if self.text.endswith(end)), b"")


def is_map(text: bytes, settings: bytes = b"") -> bool:
    """Return whether this is a bucket map: its last column lists buckets.

    settings: the options of a profile that were chosen for it, as libketama reads them.
    """
    return bool(lib.has_ranges(ffi.from_buffer(text), len(text), settings))


def scan(text: bytes, *, has_ranges: bool = False) -> Iterator[Line]:
    """Yield the lines of a server file that have a server or are invalid, in file order.

    has_ranges: whether the last column lists buckets.
    Takes linear time, and memory for a few hundred lines.
    """
    lines = ffi.new("struct server_line[]", LINES_AT_ONCE)
    position, count = ffi.new("struct scan_position *"), ffi.new("size_t *")
    failed, data = ffi.new("ketama_failure *"), ffi.from_buffer(text)
    while position.at < len(text):
        status = lib.scan_servers(
            data, len(text), has_ranges, position, lines, LINES_AT_ONCE, count, failed
        )
        rows = [*SERVER_LINE.iter_unpack(ffi.buffer(lines, count[0] * SERVER_LINE.size))]
        invalid = rows.pop() if status < 0 else None
        for row in rows:
            yield _line(text, *row)
        if invalid is not None:
            number, start, end, *_ = invalid
            reason = ffi.string(failed.reason).decode(errors="backslashreplace")
            yield Line(number, start, text[start:end], status=status, reason=reason)


def _line(
    text: bytes,
    number: int,
    start: int,
    end: int,
    address_at: int,
    address_size: int,
    weight_at: int,
    weight_size: int,
    name_at: int,
    name_size: int,
    ranges_at: int,
    ranges_size: int,
    weight: int,
) -> Line:
    return Line(
        number,
        start,
        text[start:end],
        text[address_at : address_at + address_size].decode(),
        weight,
        text[name_at : name_at + name_size].decode() if name_size else None,
        address_at - start,
        weight_at - start,
        weight_at + weight_size - start,
        name_at - start if name_size else 0,
        name_at + name_size - start if name_size else 0,
        ranges_at - start if ranges_size else 0,
        ranges_at + ranges_size - start if ranges_size else 0,
    )


def parse(text: bytes, *, has_ranges: bool = False) -> list[Line]:
    """Return all lines of a server file, whose texts add up to the file's.

    has_ranges: whether the last column lists buckets.
    The comments and empty lines between two servers are one entry.
    """
    lines, end = [], 0
    for line in scan(text, has_ranges=has_ranges):
        if line.start > end:
            lines.append(Line(0, end, text[end : line.start]))
        lines.append(line)
        end = line.start + len(line.text)
    if end < len(text):
        lines.append(Line(0, end, text[end:]))
    return lines


def without_ranges(text: bytes) -> bytes:
    """Return a bucket map's text with blanks in place of the buckets, so that lines stay."""
    parts, end = [], 0
    for line in scan(text, has_ranges=True):
        start, stop = line.start + line.ranges_at, line.start + line.ranges_end
        parts += [text[end:start], b" " * (stop - start)]
        end = stop
    return b"".join((*parts, text[end:]))


def raise_if_invalid(lines: list[Line], filename: str | bytes) -> None:
    """Raise ServersError for the first invalid line."""
    for line in lines:
        if line.reason:
            raise ServersError(filename, line.number, line.reason)


def check_server(address: str, weight: SupportsIndex, name: str | None = None) -> None:
    """Check that an address, a weight and a name can be a server's.

    Raises ServersError if they are invalid, TypeError if they are of a wrong type.
    """
    try:
        array, _, _texts = to_c([(address, weight, name)])
        failed = ffi.new("ketama_failure *")
        if lib.check_server(array, failed) < 0:
            raise failure(failed, None)
    except ServersError as error:
        raise ServersError(None, None, error.reason) from None


def read(fd: int, filename: str | bytes) -> bytes:
    """Return the text of an open server file.

    Raises KetamaOSError if it cannot be read or is not a regular file, ServersError if it is
    larger than libketama accepts.
    """
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise KetamaOSError(errno.EISDIR, os.strerror(errno.EISDIR), filename)
        if not stat.S_ISREG(status.st_mode):
            raise KetamaOSError(errno.EINVAL, "not a regular file", filename)
    except OSError as error:
        raise KetamaOSError(error.errno, error.strerror, filename) from None
    return read_all(fd, filename)


def read_all(fd: int, filename: str | bytes) -> bytes:
    """Return what an open file or a pipe has, up to its end.

    Raises KetamaOSError if it cannot be read, ServersError if it has more bytes than libketama
    accepts: an endless one takes no more memory than those.
    """
    blocks, size = [], 0
    try:
        while size <= SIZE_MAX and (block := os.read(fd, BLOCK)):
            blocks.append(block)
            size += len(block)
    except OSError as error:
        raise KetamaOSError(error.errno, error.strerror, filename) from None
    if size > SIZE_MAX:
        raise ServersError(filename, None, f"too large: more than {SIZE_MAX} bytes")
    return b"".join(blocks)


def read_file(filename: str | bytes) -> bytes:
    """Return the text of a server file; never wait for a FIFO or a device.

    Raises what `read` raises.
    """
    try:
        fd = os.open(filename, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise KetamaOSError(error.errno, error.strerror, filename) from None
    try:
        return read(fd, filename)
    finally:
        os.close(fd)
