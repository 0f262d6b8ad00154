"""What can go wrong, and the one place where a status of the C library becomes an exception."""

from __future__ import annotations

import errno
import os

from ketama._ketama import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class KetamaError(RuntimeError):
    """The base of all errors that are ketama's own."""


class ServersError(KetamaError, ValueError):
    """A server file, or a list of servers, is wrong.

    Attributes:
        filename: the file's path as it was given; None for a list.
        lineno: the line, or the place in the list, counted from 1; None where the fault is
            not in one place (there are no servers at all).
        reason: what is wrong, without file and line.

    """

    def __init__(
        self, filename: str | bytes | None, lineno: int | None, reason: str, /
    ) -> None:
        super().__init__(filename, lineno, reason)
        self.filename = filename
        self.lineno = lineno
        self.reason = reason

    def __str__(self) -> str:
        if self.filename is None:
            place = f"server {self.lineno}: " if self.lineno else ""
        else:
            line = f":{self.lineno}" if self.lineno else ""
            place = f"{os.fsdecode(self.filename)}{line}: "
        return place + self.reason


class KetamaOSError(OSError, KetamaError):
    """The system refused: no such file, a directory, no permission ...

    It has OSError's errno, strerror and filename.
    """


def failure(failed: Any, filename: str | bytes | None) -> Exception:
    """Make the exception for what a C function has just filled in."""
    if failed.status == lib.KETAMA_ENOMEM:
        return MemoryError()
    reason = ffi.string(failed.reason).decode(errors="backslashreplace")
    if failed.status == lib.KETAMA_ESYSTEM:
        return KetamaOSError(failed.system_errno, reason, filename)
    if failed.status == lib.KETAMA_EUNSTABLE:
        return KetamaOSError(errno.EAGAIN, reason, filename)
    return ServersError(filename, failed.line or None, reason)
