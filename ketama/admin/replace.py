"""Replace a file as a whole, under a lock, keeping its owner, mode and attributes.

The lock is a file of its own beside the server file, `.ketama-edit-NAME`, that only root and
the server file's owner can open. A lock on the server file itself would need only read
access, so any reader could hold up every edit. The new text is written to the lock file, and
renaming it over the server file ends the edit. A process that is killed leaves the lock file,
unlocked, and the next edit removes it.

The path may lead through directories of other users, who can point it elsewhere at any
moment. So the directory of the server file, with all links resolved, is opened once, and
everything after that is done through its descriptor: no file is ever created, renamed or
removed in a directory other than the one that the replaced file was read from. Where the path
leads when the edit begins is up to them, as it is when they make it a symbolic link.
"""

from __future__ import annotations

import errno
import os
import random
import re
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ketama._ketama import ffi, lib
from ketama.admin import server_file
from ketama.errors import KetamaOSError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PREFIX = b".ketama-edit-"  # of the lock file's name
NAME_MAX = 200  # bytes of the server file's name in it; files with one beginning share a lock
STATUS = "/proc/self/status"
ACCESS_LIST = "system.posix_acl_access"


def _error(error: OSError, filename: str | bytes, what: str = "") -> KetamaOSError:
    return KetamaOSError(error.errno, f"{what}{error.strerror}", filename)


@contextmanager
def _reporting(filename: str | bytes) -> Iterator[None]:
    """Raise what a system call raises as an error about the server file."""
    try:
        yield
    except KetamaOSError:
        raise
    except OSError as error:
        raise _error(error, filename) from None


class Target:
    """A server file that is open to be read and, if it is locked, to be replaced.

    there: the file's absolute path. filename: its name in messages.
    create: whether it need not exist; then its text is empty.
    Raises KetamaOSError where the file can't be opened for writing.
    """

    def __init__(self, there: bytes, filename: str | bytes, create: bool = False) -> None:
        self._there = there
        self._filename = filename
        with _reporting(filename):
            real = _resolve(there, create)
        self._directory, self._name = os.path.split(real)
        self._lock_name = PREFIX + self._name[:NAME_MAX]
        # Closes itself with the last reference, whatever exception comes when.
        self._edit = ffi.gc(
            ffi.new(
                "struct edit *",
                {"directory": -1, "file": -1, "lock": -1, "lock_name": self._lock_name},
            ),
            lib.edit_close,
        )
        self._raise_if(lib.edit_open(self._edit, self._directory, self._name or b".", create))
        self._mode = 0  # of the new file, where there is no old one

    def close(self) -> None:
        """Remove the lock file, unlock and close everything."""
        ffi.release(self._edit)

    def read(self) -> bytes:
        """Return the text; raises what `server_file.read` raises."""
        if self._edit.file < 0:
            return b""
        return server_file.read(self._edit.file, self._filename)

    def lock(self) -> bool:
        """Return whether the file could be locked, and the path still leads to it.

        Raises KetamaOSError where it can never be.
        """
        with _reporting(self._filename):
            return self._lock()

    def _lock(self) -> bool:
        creates = self._edit.file < 0
        if not creates and not stat.S_ISREG(os.fstat(self._edit.file).st_mode):
            self.read()  # raises
        status = lib.edit_lock(self._edit)
        if status == errno.EWOULDBLOCK:
            return False
        if status and self.holder() is not None:
            self._raise_if(status, f"cannot remove {self.lock_path}: ")
        self._raise_if(status, "cannot create a temporary file in the same directory: ")
        if creates:
            self._mode = 0o644 & ~_umask()
        else:
            _copy_owner(self._edit.file, self._edit.lock, self._filename)
        return self._is_current()

    def holder(self) -> tuple[int, int] | None:
        """Return what tells one edit's lock from another's; None if the file is not locked."""
        found = _stat(self._lock_name, dir_fd=self._edit.directory, follow_symlinks=False)
        return None if found is None else (found.st_ino, found.st_ctime_ns)

    @property
    def lock_path(self) -> str:
        """The path of the lock file."""
        return os.fsdecode(os.path.join(self._directory, self._lock_name))

    def replace(self, text: bytes, changed: bytes) -> None:
        """Replace the file with one that has the changed text, or raise and leave it unchanged.

        text: what was read from it.
        """
        with _reporting(self._filename):
            self._write(changed)
            self._check_unchanged(text)
            self._rename()
        # The edit has taken effect: from here on, nothing may be reported as its failure.
        lib.edit_sync(self._edit)

    def try_write(self, changed: bytes) -> None:
        """Write the changed text beside the file, which stays unchanged; no edit can follow.

        Raises what `replace` raises.
        """
        with _reporting(self._filename):
            self._write(changed)

    def _write(self, changed: bytes) -> None:
        if self._edit.locked_by != os.getpid():
            raise RuntimeError("the edit belongs to the parent process")
        old, new = self._edit.file, self._edit.lock
        rest = memoryview(changed)
        while rest:
            rest = rest[os.write(new, rest) :]
        if old < 0:
            os.fchmod(new, self._mode)
        else:
            _copy_owner(old, new, self._filename)
            if hasattr(os, "listxattr"):
                _copy_attributes(old, new, self._filename)
            os.fchmod(new, stat.S_IMODE(os.fstat(old).st_mode))
        os.fsync(new)

    def _check_unchanged(self, text: bytes) -> None:
        """Raise where somebody has changed or replaced the file without taking the lock."""
        if self._edit.file >= 0:
            os.lseek(self._edit.file, 0, os.SEEK_SET)
        if self.read() != text or not self._is_current():
            reason = "another program has changed the file during the edit; nothing was written"
            raise KetamaOSError(errno.EAGAIN, reason, self._filename)

    def _is_current(self) -> bool:
        """Return whether path and lock lead to what is open; the directory's entry comes last.

        Of a file that is yet to be created, whether the path leads to the directory, and there
        is no entry.
        """
        directory, file = self._edit.directory, self._edit.file
        if not lib.edit_has_lock(self._edit):
            return False
        folder, _ = os.path.split(self._there)
        path, opened = (folder, directory) if file < 0 else (self._there, file)
        if not _is_same(_stat(path), opened):
            return False
        entry = _stat(self._name, dir_fd=directory, follow_symlinks=False)
        return entry is None if file < 0 else _is_same(entry, file)

    def _rename(self) -> None:
        fd = self._edit.directory
        try:
            os.rename(self._lock_name, self._name, src_dir_fd=fd, dst_dir_fd=fd)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            what = "cannot replace a mount point, edit the file that is mounted here instead: "
            raise _error(error, self._filename, what) from None

    def _raise_if(self, status: int, what: str = "") -> None:
        if status:
            raise KetamaOSError(status, what + os.strerror(status), self._filename)


def _resolve(there: bytes, create: bool) -> bytes:
    """Return a file's path without symbolic links."""
    if not there:  # which realpath takes for the working directory
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    try:
        return os.path.realpath(there, strict=True)
    except FileNotFoundError:
        directory, name = os.path.split(there)
        if not create or not name or os.path.lexists(there):  # a link that leads nowhere
            raise
        return os.path.join(os.path.realpath(directory, strict=True), name)


def _stat(path: bytes, **options: Any) -> os.stat_result | None:
    """Return a file's status; None if there is no such file."""
    try:
        return os.stat(path, **options)  # noqa: PTH116 - a Path takes no dir_fd
    except FileNotFoundError:
        return None


def _is_same(found: os.stat_result | None, fd: int) -> bool:
    return found is not None and os.path.samestat(found, os.fstat(fd))


def lock(there: bytes, filename: str | bytes, timeout: float, create: bool = False) -> Target:
    """Open and lock a server file.

    timeout: how long to wait for one other edit, seconds.
    Raises what `Target` raises, and KetamaOSError where it can't be locked in time.
    """
    deadline, pause = time.monotonic() + timeout, 0.005
    known: tuple[int, int] | None = None
    while True:
        target = Target(there, filename, create)
        try:
            locked = target.lock()
        except BaseException:  # its traceback would keep the lock
            target.close()
            raise
        if locked:
            return target
        holder = target.holder()
        target.close()
        if holder is not None and holder != known:  # one edit is done; wait for the next one
            deadline, known = time.monotonic() + timeout, holder
        elif time.monotonic() > deadline:
            reason = f"another edit has held {target.lock_path} for {timeout:g} seconds"
            raise KetamaOSError(errno.EAGAIN, reason, filename)
        # At random, so that many who wait do not try all at once; more and more rarely, so
        # that they do not slow down the one who works.
        time.sleep(random.uniform(pause / 2, pause))  # noqa: S311
        pause = min(1.5 * pause, 0.2)


def _umask() -> int:
    """Return the permission bits that new files do not get."""
    with suppress(OSError):
        found = re.search(rb"^Umask:\s*([0-7]+)$", Path(STATUS).read_bytes(), re.MULTILINE)
        if found:
            return int(found[1], 8)
    mask = os.umask(0o077)  # the only way to learn it on macOS, and on Linux before 4.7
    os.umask(mask)
    return mask


def _copy_owner(fd: int, new_fd: int, filename: str | bytes) -> None:
    old, new = os.fstat(fd), os.fstat(new_fd)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.fchown(new_fd, old.st_uid, old.st_gid)
        except PermissionError as error:
            what = f"cannot keep its owner {old.st_uid}:{old.st_gid}: "
            raise _error(error, filename, what) from None


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
