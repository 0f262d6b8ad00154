"""Replacing a file: under a lock, all of it or nothing, with the owner and mode that it had."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ketama.admin import server_file
from ketama.errors import KetamaOSError

NEW = ".ketama-edit-"  # how the new file's name begins
LEFT_OVER = 3600  # seconds; to write it takes less than one
ACCESS_LIST = "system.posix_acl_access"


def _error(error: OSError, filename: str | bytes, what: str = "") -> KetamaOSError:
    return KetamaOSError(error.errno, f"{what}{error.strerror}", filename)


def lock(there: bytes, filename: str | bytes, timeout: float) -> tuple[int, Path]:
    """Open and lock a server file: the descriptor, and the path where symbolic links end."""
    if not there:
        raise KetamaOSError(errno.ENOENT, os.strerror(errno.ENOENT), filename)
    deadline, pause, known = 0.0, 0.005, 0
    while True:
        real = Path(os.path.realpath(os.fsdecode(there)))
        try:
            # Writable, for who may not write a file shall not replace it either.
            fd = os.open(real, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            raise _error(error, filename) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had the lock before may have replaced the file, and this is the old one.
            if _is_at(fd, there):
                return fd, real
        except BlockingIOError:
            pass
        except OSError as error:
            os.close(fd)
            raise _error(error, filename, "it can't be locked: ") from None
        inode = os.fstat(fd).st_ino
        os.close(fd)
        if inode != known:  # one edit is done, and it is the next one that is waited for
            deadline, known = time.monotonic() + timeout, inode
        elif time.monotonic() > deadline:
            reason = f"somebody else has been editing it for {timeout:g} seconds"
            raise KetamaOSError(errno.EAGAIN, reason, filename)
        # Where many wait, not all at once, nor so often that who works is held up.
        time.sleep(random.uniform(pause / 2, pause))  # noqa: S311
        pause = min(1.5 * pause, 0.2)


def unlock(fd: int) -> None:
    """Free the lock, expressly: a child that was forked meanwhile has the descriptor, too."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def _is_at(fd: int, there: bytes) -> bool:
    """Say whether this file still is the one that the path leads to."""
    try:
        return os.path.samestat(os.fstat(fd), Path(os.fsdecode(there)).stat())
    except FileNotFoundError:
        return False


def replace(
    fd: int, there: bytes, real: Path, text: bytes, changed: bytes, filename: str | bytes
) -> None:
    """Put the changed text in the file's place, all of it or nothing."""
    folder_fd = _open_to_sync(real.parent)
    try:
        _remove_left_over(real.parent)
        new_fd, name = _create(real.parent, filename)
        new = Path(name)
        try:
            with os.fdopen(new_fd, "wb") as file:
                file.write(changed)
                file.flush()
                _copy_owner_and_mode(fd, new_fd, filename)
                os.fsync(new_fd)
            _check_unchanged(fd, there, text, filename)
            _rename(new, real, filename)
        except BaseException as error:
            new.unlink(missing_ok=True)
            if isinstance(error, OSError) and not isinstance(error, KetamaOSError):
                raise _error(error, filename) from None
            raise
        # From here on it is done, and nothing may say otherwise.
        if folder_fd is not None:
            with suppress(OSError):
                os.fsync(folder_fd)
    finally:
        if folder_fd is not None:
            os.close(folder_fd)


def _open_to_sync(folder: Path) -> int | None:
    """Open a folder; None where that is forbidden, and it can't be synced."""
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None


def _remove_left_over(folder: Path) -> None:
    """Remove what edits that were killed have left: new files that nobody can be writing."""
    with suppress(OSError):
        for left in folder.glob(f"{NEW}*"):
            if time.time() - left.lstat().st_mtime > LEFT_OVER:
                left.unlink()


def _create(folder: Path, filename: str | bytes) -> tuple[int, str]:
    try:
        return tempfile.mkstemp(prefix=NEW, dir=folder)
    except OSError as error:
        raise _error(error, filename, "no new file can be made beside it: ") from None


def _rename(new: Path, real: Path, filename: str | bytes) -> None:
    try:
        new.rename(real)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        what = "it is mounted by itself, and can only be replaced where it is mounted from: "
        raise _error(error, filename, what) from None


def _check_unchanged(fd: int, there: bytes, text: bytes, filename: str | bytes) -> None:
    """Raise where somebody has changed or replaced the file without taking the lock."""
    os.lseek(fd, 0, os.SEEK_SET)
    if not _is_at(fd, there) or server_file.read(fd, filename) != text:
        reason = "somebody else has changed it meanwhile, so nothing was written"
        raise KetamaOSError(errno.EAGAIN, reason, filename)


def _copy_owner_and_mode(fd: int, new_fd: int, filename: str | bytes) -> None:
    """Make a new file as accessible as the old one, with the same extended attributes."""
    old, new = os.fstat(fd), os.fstat(new_fd)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.fchown(new_fd, old.st_uid, old.st_gid)
        except PermissionError as error:
            what = f"its owner {old.st_uid}:{old.st_gid} can't be kept: "
            raise _error(error, filename, what) from None
    if hasattr(os, "listxattr"):
        _copy_attributes(fd, new_fd, filename)
    os.fchmod(new_fd, old.st_mode & 0o7777)


def _copy_attributes(fd: int, new_fd: int, filename: str | bytes) -> None:
    try:
        names, new_names = os.listxattr(fd), os.listxattr(new_fd)
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # a file system without any
            return
        raise
    if ACCESS_LIST in new_names and ACCESS_LIST not in names:
        os.removexattr(new_fd, ACCESS_LIST)  # which it had from its folder
    for name in names:
        _copy_attribute(fd, new_fd, name, filename)


def _copy_attribute(fd: int, new_fd: int, name: str, filename: str | bytes) -> None:
    try:
        os.setxattr(new_fd, name, os.getxattr(fd, name))
    except OSError as error:
        # What only the system may set, such as a label, it has set by itself.
        if name == ACCESS_LIST or name.startswith("user."):
            raise _error(error, filename, f"its attribute {name} can't be kept: ") from None
