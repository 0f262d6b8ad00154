"""The exceptions, and how a failure of the C library becomes one."""

from __future__ import annotations

import errno
import os

from ketama._ketama import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class KetamaError(RuntimeError):
    """The base class of ketama's own errors."""


class ServersError(KetamaError, ValueError):
    """A server file or a list of servers is invalid.

    Attributes:
        filename: the file's path as it was passed in; None for a list.
        lineno: the line of the file, or the position in the list, counted from 1; None if
            the error is not on one line, such as a file without servers.
        reason: what is wrong, without file and line.

    """

    _status = 0  # libketama's, if it is from there

    def __init__(
        self, filename: str | bytes | None, lineno: int | None, reason: str, /
    ) -> None:
        super().__init__(filename, lineno, reason)
        self.filename = filename
        self.lineno = lineno
        self.reason = reason

    def __str__(self) -> str:
        if self.filename is None:
            location = f"server {self.lineno}: " if self.lineno else ""
        else:
            line = f":{self.lineno}" if self.lineno else ""
            location = f"{os.fsdecode(self.filename)}{line}: "
        return location + self.reason


class ProfileError(KetamaError, ValueError):
    """A profile or an option does not exist, or has an invalid value."""


class KetamaOSError(OSError, KetamaError):
    """A system call failed: no such file, is a directory, permission denied ...

    Has the attributes of OSError: errno, strerror and filename.
    """


def failure(record: Any, filename: str | bytes | None) -> Exception:
    """Return the exception for a ketama_failure that a C function has filled in."""
    if record.status == lib.KETAMA_ENOMEM:
        return MemoryError()
    reason = ffi.string(record.reason).decode(errors="backslashreplace")
    if record.status == lib.KETAMA_ESYSTEM:
        return KetamaOSError(record.system_errno, reason, filename)
    if record.status == lib.KETAMA_EOPTION:
        return ProfileError(reason)
    if record.status == lib.KETAMA_EUNSTABLE:
        return KetamaOSError(errno.EAGAIN, reason, filename)
    error = ServersError(filename, record.line or None, reason)
    error._status = record.status
    return error
