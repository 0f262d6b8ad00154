"""A machine's copy of the list: read, and replaced as an edit replaces it."""

from __future__ import annotations

import errno
from collections.abc import Callable

from ketama.admin import images, server_file
from ketama.admin.edit import TIMEOUT
from ketama.admin.replace import lock
from ketama.continuum import absolute
from ketama.errors import KetamaOSError

Filename = str | bytes


def read_copy(filename: Filename) -> bytes:
    """Return the text of a server file; empty if it does not exist.

    Raises what `server_file.read_file` raises.
    """
    try:
        return server_file.read_file(filename)
    except KetamaOSError as error:
        if error.errno != errno.ENOENT:
            raise
        return b""


def replace_copy(
    filename: Filename,
    text: bytes,
    allowed: Callable[[bytes], bool],
    timeout: float = TIMEOUT,
) -> bool:
    """Replace a server file atomically, under the lock of all edits; return whether it was.

    The new continuum is published, as after an edit.

    allowed: whether the text that is there now may be replaced; may raise.
    timeout: how long to wait for one other edit to finish, seconds.

    Raises KetamaOSError where it cannot be locked, read or replaced.
    """
    there = absolute(filename)
    target = lock(there, filename, timeout, create=True)
    try:
        found = target.read()
        if found == text or not allowed(found):
            return False
        target.replace(found, text)
    finally:
        target.close()
    images.publish(there)
    return True


def check_replaceable(filename: Filename, text: bytes, timeout: float) -> None:
    """Check that a server file could be replaced with a text, without a change.

    timeout: as of `replace_copy`.
    Raises KetamaOSError where it could not, for example on a disk that is full.
    """
    target = lock(absolute(filename), filename, timeout, create=True)
    try:
        target.try_write(text)
    finally:
        target.close()
