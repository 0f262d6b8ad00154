"""Editing a server file so that nobody ever sees half of it, and no edit is lost."""

from __future__ import annotations

import os
from contextlib import contextmanager
from operator import index
from typing import TYPE_CHECKING

from ketama.admin import images, server_file
from ketama.admin.replace import lock, replace, unlock
from ketama.continuum import Continuum, absolute
from ketama.errors import ServersError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import SupportsIndex

    from ketama.admin.diff import Diff
    from ketama.admin.server_file import Line
    from ketama.continuum import Path as AnyPath

TIMEOUT = 30.0  # seconds


class Edit:
    """A server file that is being edited: `edit` gives it.

    Attributes:
        before: the continuum of the file as it was; None where there was no server in it.
        published: after the edit, whether its continuum is now shared by processes.

    """

    __slots__ = ("_filename", "_lines", "_over", "before", "published")

    def __init__(self, filename: str | bytes, text: bytes) -> None:
        self._filename = filename
        self._lines = server_file.parse(text)
        self._over = False
        self.published = False
        self.before: Continuum | None = None
        if any(line.address or line.fault for line in self._lines):
            self.before = server_file.continuum(self._lines, filename)

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
        if not self.servers:
            raise ServersError(self._filename, None, "there would be no server left in it")
        return server_file.continuum(server_file.parse(self.text), self._filename)

    def diff(self) -> Diff | None:
        """Tell what moves, as `Continuum.diff`; None where there was no server before."""
        return None if self.before is None else self.before.diff(self.after)

    def add(self, address: str, weight: SupportsIndex) -> None:
        """Add a server behind the last one, spaced as that one is.

        Raises ServersError where the address is there, or the two are not what may stand
        in a server file.
        """
        self._check(address, weight)
        servers = [line for line in self._lines if line.address]
        for line in servers:
            if line.address == address:
                raise self._error(line, f"{address} is there, with weight {line.weight}")
        text = f"{address} {index(weight)}".encode()
        if [(line.address, line.weight) for line in server_file.parse(text)] != [
            (address, weight)
        ]:
            raise ServersError(None, None, f"address {address!r} can't stand in a server file")
        if servers:
            place = self._lines.index(servers[-1])
            text = _text_like(servers[-1], _columns(servers), address, index(weight))
        else:
            place = len(self._lines) - 1
        if place >= 0 and not self._lines[place].end:
            before = self._lines[place]
            ended = before.text.removesuffix(b"\r") + self._newline()
            self._lines[place] = _parsed(ended, before.number)
        end = self._lines[place].end if place >= 0 else self._newline()
        self._lines.insert(place + 1, _parsed(text + end))

    def remove(self, address: str) -> None:
        """Remove a server, each line of it; raises ServersError where there is none."""
        self._check(address)
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
        text = line.text[: line.weight_at] + str(index(weight)).encode() + rest
        self._lines[place] = line._replace(text=text, weight=index(weight))

    def _find(self, address: str) -> list[int]:
        places = [place for place, line in enumerate(self._lines) if line.address == address]
        if not places:
            raise ServersError(self._filename, None, f"there is no server {address!r:.300}")
        return places

    def _newline(self) -> bytes:
        """Give the end that the file's lines have."""
        return next((line.end for line in reversed(self._lines) if line.end), b"\n")

    def _error(self, line: Line, reason: str) -> ServersError:
        return ServersError(self._filename, line.number or None, reason)

    def _check(self, address: str, weight: SupportsIndex = 1) -> None:
        """Raise where this is no server, or nothing can be edited any more."""
        if self._over:
            raise ValueError("the edit is over: its file is written")
        try:
            Continuum([(address, weight)])
        except ServersError as error:
            raise ServersError(None, None, error.reason) from None


def _parsed(text: bytes, number: int = 0) -> Line:
    return server_file.parse(text)[0]._replace(number=number)


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
    other, and none is lost. An editor that takes no lock is noticed, unless it writes in the
    very moment of the rename: then it is an error, and its text stays.

    dry_run: check everything, and write nothing.
    timeout: how long to wait for one other edit to be done, seconds.
    Raises ServersError where the file is wrong, or would be; KetamaOSError where it can't be
    read, locked in time, or replaced. The file is then as it was.
    """
    filename = os.fspath(path)
    there = absolute(filename)  # wherever the working folder goes meanwhile
    fd, real = lock(there, filename, timeout)
    try:
        text = server_file.read(fd, filename)
        editing = Edit(filename, text)
        try:
            yield editing
        finally:
            editing._over = True
        changed = editing.text
        if changed != text:
            _ = editing.after  # which raises where it is wrong
            if not dry_run:
                replace(fd, there, real, text, changed, filename)
    finally:
        unlock(fd)
    if changed != text and not dry_run:
        editing.published = images.publish(there)
