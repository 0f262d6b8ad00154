"""Replace a file as a whole, under a lock, keeping its owner, mode and attributes."""

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

PREFIX = ".ketama-edit-"  # of the temporary file's name
LEFT_OVER = 3600  # seconds; writing the file takes less than one
ACCESS_LIST = "system.posix_acl_access"


def _error(error: OSError, filename: str | bytes, what: str = "") -> KetamaOSError:
    return KetamaOSError(error.errno, f"{what}{error.strerror}", filename)


def lock(there: bytes, filename: str | bytes, timeout: float) -> tuple[int, Path]:
    """Open and lock a server file; return the descriptor, and the path with links resolved.

    there: the file's absolute path. filename: its name in messages.
    timeout: how long to wait for one other edit, seconds.
    Raises KetamaOSError where the file can't be opened for writing or locked in time.
    """
    if not there:
        raise KetamaOSError(errno.ENOENT, os.strerror(errno.ENOENT), filename)
    deadline, pause, known = 0.0, 0.005, 0
    while True:
        fd, real = _open(there, filename)
        if _try_lock(fd, there, filename):
            return fd, real
        inode = os.fstat(fd).st_ino
        os.close(fd)
        if inode != known:  # one edit is done; now wait for the next one
            deadline, known = time.monotonic() + timeout, inode
        elif time.monotonic() > deadline:
            reason = f"another edit has held its lock for {timeout:g} seconds"
            raise KetamaOSError(errno.EAGAIN, reason, filename)
        # At random, so that many who wait do not try all at once; more and more rarely, so
        # that they do not slow down the one who works.
        time.sleep(random.uniform(pause / 2, pause))  # noqa: S311
        pause = min(1.5 * pause, 0.2)


def _open(there: bytes, filename: str | bytes) -> tuple[int, Path]:
    real = Path(os.path.realpath(os.fsdecode(there)))
    try:
        # For writing: replacing a file must require permission to write it.
        return os.open(real, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), real
    except OSError as error:
        raise _error(error, filename) from None


def _try_lock(fd: int, there: bytes, filename: str | bytes) -> bool:
    """Lock the file; return False where somebody else has the lock, or has replaced the file.

    The descriptor is closed where it raises.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _is_at(fd, there)
    except BlockingIOError:
        return False
    except OSError as error:
        os.close(fd)
        raise _error(error, filename, "cannot lock the file: ") from None


def unlock(fd: int) -> None:
    """Unlock explicitly and close: a child forked meanwhile has the descriptor, too."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def _is_at(fd: int, there: bytes) -> bool:
    """Return whether the path still leads to this open file."""
    try:
        return os.path.samestat(os.fstat(fd), Path(os.fsdecode(there)).stat())
    except FileNotFoundError:
        return False


def replace(
    fd: int, there: bytes, real: Path, text: bytes, changed: bytes, filename: str | bytes
) -> None:
    """Replace the file with one that has the changed text, or raise and leave it unchanged.

    fd: the locked file. there, real: its path, as given and with links resolved.
    text: what was read from it.
    """
    directory_fd = _open_to_sync(real.parent)
    try:
        _remove_left_over(real.parent)
        _write_and_rename(fd, there, real, text, changed, filename)
        # The edit has taken effect; a failing sync must not be reported as a failed edit.
        if directory_fd is not None:
            with suppress(OSError):
                os.fsync(directory_fd)
    finally:
        if directory_fd is not None:
            os.close(directory_fd)


def _write_and_rename(
    fd: int, there: bytes, real: Path, text: bytes, changed: bytes, filename: str | bytes
) -> None:
    new_fd, name = _create(real.parent, filename)
    new: Path | None = Path(name)
    try:
        with os.fdopen(new_fd, "wb") as file:
            file.write(changed)
            file.flush()
            _copy_owner_and_mode(fd, new_fd, filename)
            os.fsync(new_fd)
        _check_unchanged(fd, there, text, filename)
        _rename(Path(name), real, filename)
        new = None
    except KetamaOSError:
        raise
    except OSError as error:
        raise _error(error, filename) from None
    finally:
        if new is not None:
            new.unlink(missing_ok=True)


def _open_to_sync(directory: Path) -> int | None:
    """Open a directory; None where that is not permitted, so that it can't be synced."""
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None


def _remove_left_over(directory: Path) -> None:
    """Remove temporary files of edits that were killed long ago."""
    with suppress(OSError):
        for left in directory.glob(f"{PREFIX}*"):
            if time.time() - left.lstat().st_mtime > LEFT_OVER:
                left.unlink()


def _create(directory: Path, filename: str | bytes) -> tuple[int, str]:
    try:
        return tempfile.mkstemp(prefix=PREFIX, dir=directory)
    except OSError as error:
        what = "cannot create a temporary file in the same directory: "
        raise _error(error, filename, what) from None


def _rename(new: Path, real: Path, filename: str | bytes) -> None:
    try:
        new.rename(real)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        what = "cannot replace a mount point, edit the file that is mounted here instead: "
        raise _error(error, filename, what) from None


def _check_unchanged(fd: int, there: bytes, text: bytes, filename: str | bytes) -> None:
    """Raise where somebody has changed or replaced the file without taking the lock."""
    os.lseek(fd, 0, os.SEEK_SET)
    if not _is_at(fd, there) or server_file.read(fd, filename) != text:
        reason = "another program has changed the file during the edit; nothing was written"
        raise KetamaOSError(errno.EAGAIN, reason, filename)


def _copy_owner_and_mode(fd: int, new_fd: int, filename: str | bytes) -> None:
    """Give a new file the owner, mode and extended attributes of the old one."""
    old, new = os.fstat(fd), os.fstat(new_fd)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.fchown(new_fd, old.st_uid, old.st_gid)
        except PermissionError as error:
            what = f"cannot keep its owner {old.st_uid}:{old.st_gid}: "
            raise _error(error, filename, what) from None
    if hasattr(os, "listxattr"):
        _copy_attributes(fd, new_fd, filename)
    os.fchmod(new_fd, old.st_mode & 0o7777)


def _copy_attributes(fd: int, new_fd: int, filename: str | bytes) -> None:
    try:
        names, new_names = os.listxattr(fd), os.listxattr(new_fd)
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # the file system has none
            return
        raise
    if ACCESS_LIST in new_names and ACCESS_LIST not in names:
        os.removexattr(new_fd, ACCESS_LIST)  # inherited from the directory
    for name in names:
        _copy_attribute(fd, new_fd, name, filename)


def _copy_attribute(fd: int, new_fd: int, name: str, filename: str | bytes) -> None:
    try:
        os.setxattr(new_fd, name, os.getxattr(fd, name))
    except OSError as error:
        # Those that only the system may set, such as a security label, it has set itself.
        if name == ACCESS_LIST or name.startswith("user."):
            raise _error(error, filename, f"cannot keep its attribute {name}: ") from None
