"""Editing a server file so that nobody ever sees half of it, and no edit is lost."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import tempfile
import time
from contextlib import contextmanager, suppress
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING

from ketama import lines, published
from ketama.continuum import Continuum
from ketama.errors import KetamaOSError, ServersError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import SupportsIndex

    from ketama.continuum import Path as AnyPath
    from ketama.differences import Diff
    from ketama.lines import Line

TIMEOUT = 30.0  # seconds


class Edit:
    """A server file that is being edited: `edit` gives it.

    Attributes:
        before: the continuum of the file as it was; None where there was no server in it.
        published: after the edit, whether its continuum is now shared by processes.

    """

    __slots__ = ("_filename", "_lines", "before", "published")

    def __init__(self, filename: str | bytes, text: bytes) -> None:
        self._filename = filename
        self._lines = lines.parse(text)
        self.published = False
        self.before: Continuum | None = None
        if any(line.address or line.fault for line in self._lines):
            self.before = lines.continuum(self._lines, filename)

    @property
    def text(self) -> bytes:
        """The file's text as it is to be."""
        return b"".join(line.text for line in self._lines)

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        """The servers as they are to be: (address, weight) in the order of the file."""
        return tuple((line.address, line.weight) for line in self._lines if line.address)

    @property
    def after(self) -> Continuum:
        """The continuum of the file as it is to be; raises ServersError where there is none."""
        return lines.continuum(lines.parse(self.text), self._filename)

    def diff(self) -> Diff | None:
        """Tell what moves, as `Continuum.diff`; None where there was no server before."""
        return None if self.before is None else self.before.diff(self.after)

    def add(self, address: str, weight: SupportsIndex) -> None:
        """Add a server behind the last one, spaced as that one is.

        Raises ServersError where the address is there, or the two are not what may stand
        in a server file.
        """
        self._check(address, weight)
        for line in self._lines:
            if line.address == address:
                raise self._error(line, f"{address} is there, with weight {line.weight}")
        servers = [line for line in self._lines if line.address]
        if servers:
            place = self._lines.index(servers[-1])
            text = _text_like(servers[-1], _columns(servers), address, index(weight))
        else:
            place = len(self._lines) - 1
            text = f"{address} {index(weight)}".encode()
        if place >= 0 and not self._lines[place].end:
            before = self._lines[place]
            self._lines[place] = _parsed(before.text + self._newline(), before.number)
        end = self._lines[place].end if place >= 0 else self._newline()
        self._lines.insert(place + 1, _parsed(text + end))

    def remove(self, address: str) -> None:
        """Remove a server, each line of it; raises ServersError where there is none."""
        self._find(address)
        self._lines = [line for line in self._lines if line.address != address]

    def set_weight(self, address: str, weight: SupportsIndex) -> None:
        """Give a server another weight.

        Raises ServersError where it is not there, or twice, or the weight is none.
        """
        self._check(address, weight)
        place, *others = self._find(address)
        if others:
            other = self._lines[others[0]].number
            raise self._error(self._lines[place], f"{address} stands in line {other} as well")
        line = self._lines[place]
        rest = line.text[line.weight_at :].lstrip(b"0123456789")
        self._lines[place] = _parsed(
            line.text[: line.weight_at] + str(index(weight)).encode() + rest, line.number
        )

    def _find(self, address: str) -> list[int]:
        places = [place for place, line in enumerate(self._lines) if line.address == address]
        if not places:
            raise ServersError(self._filename, None, f"there is no server {address!r:.300}")
        return places

    def _newline(self) -> bytes:
        """Give the end that the file's lines have."""
        return next((line.end for line in reversed(self._lines) if line.end), b"\n")

    def _error(self, line: Line, reason: str) -> ServersError:
        return ServersError(self._filename, line.number, reason)

    @staticmethod
    def _check(address: str, weight: SupportsIndex) -> None:
        """Raise where this is no server, or cannot be one's line."""
        try:
            Continuum([(address, weight)])
        except ServersError as error:
            raise ServersError(None, None, error.reason) from None
        if [(address, index(weight))] != [
            (line.address, line.weight)
            for line in lines.parse(f"{address} {index(weight)}".encode())
        ]:
            raise ServersError(None, None, f"address {address!r} can't stand in a server file")


def _parsed(text: bytes, number: int = 0) -> Line:
    return lines.parse(text)[0]._replace(number=number)


def _columns(lines_of_servers: list[Line]) -> set[int]:
    """Give where the weights begin, characters."""
    return {len(line.text[: line.weight_at].decode()) for line in lines_of_servers}


def _text_like(last: Line, columns: set[int], address: str, weight: int) -> bytes:
    """Give a server's line, without its end, spaced like the last server's."""
    start = last.text.index(last.address.encode())
    gap = last.text[start + len(last.address.encode()) : last.weight_at]
    if len(columns) == 1 and not gap.strip(b" "):  # the weights stand in a column
        gap = b" " * max(1, min(columns) - start - len(address))
    return last.text[:start] + address.encode() + gap + str(weight).encode()


@contextmanager
def edit(path: AnyPath, *, dry_run: bool = False, timeout: float = TIMEOUT) -> Iterator[Edit]:
    """Edit a server file: all of the edit happens, or nothing.

        with ketama.edit("/etc/ketama.servers") as servers:
            servers.add("10.0.1.9:11211", 600)
            servers.remove("10.0.1.3:11211")

    At the end of the block the new text is written to a new file, synced, and renamed over
    the old one, with its mode, owner and extended attributes; comments, order and spacing
    stay. A symbolic link is followed and stays. Then the continuum is published, so all
    processes of this user on the machine that follow the file have it within a second.
    Where the block raises, and where nothing was changed, nothing is written.

    The file is locked in the meantime (flock): of two edits at once, one waits for the
    other, and none is lost. An editor that takes no lock is noticed: then it is an error,
    and its text stays.

    dry_run: check everything, and write nothing.
    timeout: how long to wait for one other edit to be done, seconds.
    Raises ServersError where the file is wrong, or would be; KetamaOSError where it can't be
    read, locked in time, or replaced. The file is then as it was.
    """
    filename = os.fspath(path)
    fd, real = _lock(filename, timeout)
    try:
        text = lines.read(fd, filename)
        editing = Edit(filename, text)
        yield editing
        changed = editing.text
        if changed != text:
            lines.continuum(lines.parse(changed), filename)
            if not dry_run:
                try:
                    _replace(fd, real, text, changed, filename)
                except OSError as error:
                    if isinstance(error, KetamaOSError):
                        raise
                    raise KetamaOSError(error.errno, error.strerror, filename) from error
    finally:
        os.close(fd)
    if changed != text and not dry_run:
        editing.published = published.publish(filename)


def _lock(filename: str | bytes, timeout: float) -> tuple[int, Path]:
    """Open and lock a server file: the descriptor, and the path where symbolic links end."""
    deadline, pause, known = 0.0, 0.005, 0
    while True:
        real = Path(os.path.realpath(os.fsdecode(filename)))
        try:
            # Writable, for who may not write a file shall not replace it either.
            fd = os.open(real, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            raise KetamaOSError(error.errno, error.strerror, filename) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had the lock before may have replaced the file, and this is the old one.
            if os.path.samestat(os.fstat(fd), real.stat()):
                return fd, real
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError as error:
            os.close(fd)
            raise KetamaOSError(error.errno, f"no lock: {error.strerror}", filename) from None
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


def _replace(fd: int, real: Path, text: bytes, changed: bytes, filename: str | bytes) -> None:
    """Put the changed text in the file's place, all of it or nothing."""
    new_fd, name = tempfile.mkstemp(prefix=".ketama-edit-", dir=real.parent)
    new = Path(name)
    try:
        with os.fdopen(new_fd, "wb") as file:
            file.write(changed)
            file.flush()
            _copy_owner_and_mode(fd, new_fd)
            os.fsync(new_fd)
        _check_unchanged(fd, real, text, filename)
        new.rename(real)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    folder_fd = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def _check_unchanged(fd: int, real: Path, text: bytes, filename: str | bytes) -> None:
    """Raise where somebody has changed or replaced the file without taking the lock."""
    os.lseek(fd, 0, os.SEEK_SET)
    if not os.path.samestat(os.fstat(fd), real.stat()) or lines.read(fd, filename) != text:
        reason = "somebody else has changed it meanwhile, so nothing was written"
        raise KetamaOSError(errno.EAGAIN, reason, filename)


def _copy_owner_and_mode(fd: int, new_fd: int) -> None:
    old, new = os.fstat(fd), os.fstat(new_fd)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.fchown(new_fd, old.st_uid, old.st_gid)
        except PermissionError as error:
            reason = f"its owner {old.st_uid}:{old.st_gid} could not be kept: {error.strerror}"
            raise KetamaOSError(error.errno, reason) from None
    os.fchmod(new_fd, old.st_mode & 0o7777)
    if not hasattr(os, "listxattr"):
        return
    with suppress(OSError):  # a file system without any
        for name in os.listxattr(fd):
            # Such as the access control list. What only the system may set, it sets.
            with suppress(OSError):
                os.setxattr(new_fd, name, os.getxattr(fd, name))
