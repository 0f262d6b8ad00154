"""Edit a server file, so that nobody sees half of an edit and no edit is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from operator import index
from typing import SupportsIndex

import ketama
from ketama.admin import images, map_lines, server_file, spacing
from ketama.admin.dialect import file_rules, hashed_name, options_in, stated_in
from ketama.admin.replace import Target, lock
from ketama.admin.server_file import Line
from ketama.admin.statement import with_version_of
from ketama.continuum import Continuum, absolute, continuum_of_text
from ketama.continuum import Path as AnyPath
from ketama.errors import ServersError
from ketama.settings import settings_text

TIMEOUT = 30.0  # seconds


class Edit:
    """A server file that is being edited; `edit` returns it.

    Attributes:
        published: after the edit, whether its continuum is now shared by processes.

    """

    __slots__ = (
        "_after", "_before", "_closed", "_filename", "_invalid", "_is_balanced", "_is_map",
        "_lines", "_original", "_settings", "_text", "published",
    )  # fmt: skip

    def __init__(
        self,
        filename: str | bytes,
        text: bytes,
        create: bool = False,
        settings: bytes = b"",
    ) -> None:
        self._filename = filename
        self._settings = settings
        self._text = text
        self._is_map = server_file.is_map(text, settings)
        self._original = server_file.parse(text, has_ranges=self._is_map)
        self._before: Continuum | None = None
        self._after: Continuum | None = None
        self._invalid: ServersError | None = None  # why all of the text has to be replaced
        if create:
            self._take_valid()
        server_file.raise_if_invalid(self._original, filename)
        self._lines = list(self._original)
        self._closed = False
        self._is_balanced = True
        self.published = False

    def _take_valid(self) -> None:
        """Begin with an empty text if that of the file is invalid, even if each line is not."""
        if any(line.address or line.reason for line in self._original):
            try:
                self._before = continuum_of_text(self._text, self._filename, self._settings)
            except ServersError as error:
                self._original, self._invalid = [], error

    @property
    def text(self) -> bytes:
        """The text of the file after the edit.

        In a bucket map, each server has its fair share of the buckets after any change of
        servers or weights, with the fewest moves from the file before the edit.
        """
        self._balance()
        return b"".join(line.text for line in self._lines)

    @property
    def servers(self) -> tuple[tuple[str, int, str | None], ...]:
        """The servers after the edit: (address, weight, name) in the order of the file."""
        return tuple((line.address, line.weight, line.name) for line in self._server_lines)

    @property
    def _server_lines(self) -> list[Line]:
        return [line for line in self._lines if line.address]

    @property
    def _is_changed(self) -> bool:
        """Whether the edit changes the file."""
        return self.text != self._text

    @property
    def before(self) -> Continuum | None:
        """The continuum before the edit; None where the file had no servers, or was invalid."""
        if self._before is None and any(line.address for line in self._original):
            self._before = continuum_of_text(self._text, self._filename, self._settings)
        return self._before

    @property
    def after(self) -> Continuum:
        """The continuum after the edit; raises ServersError where it can't be built."""
        if self._after is None:
            if not self.servers:
                raise ServersError(self._filename, None, "no server would be left")
            try:
                self._after = continuum_of_text(self.text, self._filename, self._settings)
            except ServersError as error:
                number = self._number_now(error.lineno)
                raise ServersError(self._filename, number, error.reason) from None
        return self._after

    def _number_now(self, lineno: int | None) -> int | None:
        """Return the number that a line of the new text has in the file; None: it is new."""
        last = 0
        for line in self._lines:
            last += max(1, line.text.count(b"\n"))
            if lineno is not None and lineno <= last:
                return line.number or None
        return None

    def _balance(self) -> None:
        """Rebalance a map that has changed."""
        if self._is_balanced or not self._server_lines:
            return
        self._lines = map_lines.balanced(self._lines, self._original, self._before_map())
        self._is_balanced = True

    def _before_map(self) -> Continuum | None:
        """Return the map before the edit; None where there was none, or no servers."""
        return self.before if any(line.ranges_end for line in self._original) else None

    def diff(self) -> ketama.Diff | None:
        """Return which keys move, as `Continuum.diff`; None where the file had no servers."""
        return None if self.before is None else self.before.diff(self.after)

    def add(self, address: str, weight: SupportsIndex, name: str | None = None) -> None:
        """Add a server after the last one, spaced like it.

        In a bucket map, it gets its share of the buckets, as a server with another weight or
        the others after a removal do.

        name: the text that is hashed in place of the address; None: none.

        Raises ServersError where the address is already present, even with this weight and name
        (see `servers`), where another server has the name, or where any of them is invalid in a
        server file.
        """
        self._check(address, weight, name)
        self._check_new(address, name)
        servers = self._server_lines
        text = " ".join((address, str(index(weight)), *([name] if name else []))).encode()
        found = [(line.address, line.weight, line.name) for line in server_file.scan(text)]
        if found != [(address, index(weight), name)]:
            reason = f"address {address!r} cannot be written to a server file"
            raise ServersError(None, None, reason)
        if servers:
            text = spacing.line_like(servers, address, index(weight), name)
        if self._is_map:
            text += spacing.gap_before_ranges(servers, text) + b"-"
        self._insert(servers[-1] if servers else None, text)

    def _check_new(self, address: str, name: str | None) -> None:
        """Raise where an address is present, or it or the name stand for another server."""
        for line in self._server_lines:
            if line.address == address:
                named = "" if line.name is None else f", name {line.name}"
                weight = f"weight {line.weight}{named}"
                raise self._error(line, f"{address} is already present ({weight})")
            if name is not None and name == (line.name or line.address):
                whose = f"name of {line.address}" if line.name else "address of another server"
                raise self._error(line, f"{name} is the {whose}: names must be unique")
            if name is None and address == line.name:
                reason = (
                    f"{address} is the name of {line.address}: give the new server a name of "
                    "its own"
                )
                raise self._error(line, reason)

    def _insert(self, last: Line | None, text: bytes) -> None:
        """Insert a server's text after the last server, or at the end."""
        position = len(self._lines) if last is None else self._lines.index(last) + 1
        if position > 0 and not self._lines[position - 1].line_break:
            line = self._lines[position - 1]
            ended = line.text.removesuffix(b"\r") + self._line_break()
            self._lines[position - 1] = line._replace(text=ended)
        line_break = self._lines[position - 1].line_break if position > 0 else b""
        (new,) = server_file.scan(
            text + (line_break or self._line_break()), has_ranges=self._is_map
        )
        self._change(position, position, [new._replace(number=0)])

    def rename(self, old: str, new: str) -> None:
        """Change the address of a server so that its keys stay where they are.

        The server keeps its name. If it has none, it gets as its name the text that its points
        are made from now: in the default profile, its old address. The rest of its line stays.

        Raises ServersError where the old address is not found, or is on two lines; where the
        new one is already present; and where the server cannot have that name, because another
        one has it, or because the profile knows no names.
        """
        self._check(new)
        self._balance()
        position = self._find_one(old)
        if new == old:
            return
        line = self._lines[position]
        name = line.name or self._name_that_keeps(line)
        lines = self._lines
        self._lines = [*lines[:position], *lines[position + 1 :]]
        try:
            self._check_new(new, name)
        finally:
            self._lines = lines
        text = spacing.readdressed(line, self._server_lines, new, name)
        (changed,) = server_file.scan(text, has_ranges=self._is_map)
        if (changed.address, changed.name) != (new, name):
            reason = f"address {new!r} cannot be written to a server file"
            raise ServersError(None, None, reason)
        changed = changed._replace(number=line.number, start=line.start)
        self._change(position, position + 1, [changed])
        self._is_balanced = True  # it keeps its buckets

    def _name_that_keeps(self, line: Line) -> str:
        """Return the name with which a server that has none keeps its points."""
        handle = self.after._now[0]
        dialect = file_rules(handle)
        if dialect.refuses_names:
            reason = (
                f"{line.address} cannot keep its keys at another address: profile "
                f'"{dialect.profile}" hashes host and port of the address, and no name'
            )
            raise self._error(line, reason)
        name = hashed_name(handle, self._server_lines.index(line)).decode()
        try:
            server_file.check_server(line.address, line.weight, name)
        except ServersError as error:
            raise self._error(line, error.reason) from None
        return name

    def remove(self, address: str) -> None:
        """Remove all lines of a server; raises ServersError where it is not found."""
        self._check(address)
        for position in reversed(self._find(address)):
            self._change(position, position + 1, [])

    def set_weight(self, address: str, weight: SupportsIndex) -> None:
        """Change the weight of a server; the rest of its line stays.

        Raises ServersError where the server is not found, is on two lines, or the weight is
        invalid.
        """
        self._check(address, weight)
        position = self._find_one(address)
        line = self._lines[position]
        if index(weight) == line.weight:
            return
        digits = str(index(weight)).encode()
        shift = len(digits) - (line.weight_end - line.weight_at)
        changed = line._replace(
            text=line.text[: line.weight_at] + digits + line.text[line.weight_end :],
            weight=index(weight),
            weight_end=line.weight_end + shift,
            name_at=line.name_at + shift if line.name else 0,
            name_end=line.name_end + shift if line.name else 0,
            ranges_at=line.ranges_at + shift if line.ranges_end else 0,
            ranges_end=line.ranges_end + shift if line.ranges_end else 0,
        )
        self._change(position, position + 1, [changed])

    def replace(self, text: bytes, filename: str | bytes | None = None) -> None:
        """Replace the whole text of the file.

        A bucket map stays one if the text states no profile: its servers get the buckets, with
        the fewest moves. A server is the same if its name is, or else its address.

        If the file was pulled from a fleet, and the text states no version, that of the file
        stays, so that it can be pushed.

        text: a whole server file.
        filename: the name in messages of the file that the text is from; None: of this one.

        Raises ServersError where the text is invalid, with the line.
        """
        self._check_open()
        if not isinstance(text, bytes):
            raise TypeError(f"text must be bytes, not {type(text).__name__}")
        name = self._filename if filename is None else filename
        continuum_of_text(text, name, self._settings)  # raises with the lines of this text
        if self._is_map and "profile" not in options_in(stated_in(text)[0]):
            self._check_balanceable()
            self._replace_servers(text)
            return
        first = self._original[0].text if self._original else b""
        self._replace_all(with_version_of(first, text), name)

    def _replace_all(self, text: bytes, name: str | bytes) -> None:
        """Replace the whole text, even a map by a list, which is a ring then."""
        after = continuum_of_text(text, name, self._settings)
        self._is_map, self._is_balanced = server_file.is_map(text, self._settings), True
        # They are not lines of this file yet.
        self._lines = [
            line._replace(number=0) for line in server_file.parse(text, has_ranges=self._is_map)
        ]
        self._after = after

    def _check_balanceable(self) -> None:
        """Raise where servers cannot get the buckets of a map because that is invalid."""
        wrong = self._invalid
        if wrong is not None:
            reason = (
                f"{wrong.reason}: replace this map by another one, or by a list that states a "
                "profile"
            )
            raise ServersError(wrong.filename, wrong.lineno, reason)

    def _replace_servers(self, text: bytes) -> None:
        """Replace the servers of a map by those of a list."""
        map_lines.buckets_of(self._original)  # raises where there is no statement
        statement = self._original[0].text.partition(b"\n")[0] + b"\n"
        listed = server_file.parse(map_lines.without_statement(text))
        lines = [Line(0, 0, statement), *(line._replace(number=0) for line in listed)]
        numbers = map_lines.same_servers(self._original, lines)
        self._lines = [line._replace(number=numbers.get(line.address, 0)) for line in lines]
        self._after, self._is_balanced = None, False
        self._balance()
        self._lines = [line._replace(number=0) for line in self._lines]

    def _check_moved(self, max_moved: float) -> None:
        """Raise where more of the keys would move."""
        wrong = self._invalid
        if max_moved < 1 and wrong is not None:
            reason = (
                f"{wrong.reason}; nothing was written: what would move is unknown, and the "
                f"limit is {100 * max_moved:g} %"
            )
            raise ServersError(wrong.filename, wrong.lineno, reason)
        found = self.diff() if max_moved < 1 else None
        if found is not None and found.moved > max_moved:
            reason = (
                f"would move {100 * found.moved:.2f} % of the keys, more than the limit of "
                f"{100 * max_moved:g} %; nothing was written"
            )
            raise ServersError(self._filename, None, reason)

    def _change(self, start: int, end: int, lines: list[Line]) -> None:
        self._lines[start:end] = lines
        self._after = None
        self._is_balanced = not self._is_map

    def _find(self, address: str) -> list[int]:
        """Return the positions of a server's lines."""
        found = [i for i, line in enumerate(self._lines) if line.address == address]
        if not found:
            raise ServersError(self._filename, None, f"server {address!r:.300} not found")
        return found

    def _find_one(self, address: str) -> int:
        """Return the position of the only line of a server."""
        self._check(address)
        position, *others = self._find(address)
        if others:
            other = self._lines[others[0]].number
            reason = f"{address} is also on line {other}"
            raise self._error(self._lines[position], reason)
        return position

    def _line_break(self) -> bytes:
        """Return the line break that the file uses."""
        breaks = (line.line_break for line in reversed(self._lines))
        return next(filter(None, breaks), b"\n")

    def _error(self, line: Line, reason: str) -> ServersError:
        return ServersError(self._filename, line.number or None, reason)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the edit has ended")

    def _check(self, address: str, weight: SupportsIndex = 1, name: str | None = None) -> None:
        """Raise where these are not a server's, or the edit is over."""
        self._check_open()
        server_file.check_server(address, weight, name)


def edit(
    path: AnyPath,
    *,
    dry_run: bool = False,
    timeout: float = TIMEOUT,
    max_moved: float = 1.0,
    create: bool = False,
    profile: str | None = None,
    **options: str | int | None,
) -> AbstractContextManager[Edit]:
    """Edit a server file: all changes take effect at once, or none.

        with ketama.edit("/etc/ketama.servers", max_moved=0.2) as servers:
            servers.add("10.0.1.9:11211", 600)
            servers.remove("10.0.1.3:11211")

    At the end of the block the new text is written to a temporary file, synced, and renamed
    over the old one, with its mode, owner and extended attributes; comments, order and spacing
    stay. A symbolic link is followed and stays. Then the continuum is published, so that every
    process of this user on this machine that follows the file has it within a second. If the
    block raises or changes nothing, nothing is written.

    The temporary file, `.ketama-edit-NAME` in the same directory, is also the lock, from the
    beginning of the block: of two edits at once, one waits for the other, and none is lost.
    Only root and the file's owner can open it. A change by another editor is detected and kept,
    and the edit fails, unless that editor writes at the very moment of the rename.

    path: of the server file: str, bytes or os.PathLike.
    dry_run: check everything, write nothing, wait for nobody.
    timeout: how long to wait for one other edit to finish, seconds.
    max_moved: the largest share of the keys that may move, 0.0 to 1.0. A file that had no
        servers has no limit; one that was invalid is not replaced within a limit.
    create: where there is no such file, or it is invalid, begin with an empty one. A new file
        has mode 0644, less what the umask takes away.
    profile, options: the dialect of the programs that read the file, if it does not state it,
        as for `Continuum`: it decides which keys move.

    Raises ServersError where the file is invalid, or would be, or more keys would move;
    KetamaOSError where it can't be read, locked in time, or replaced. The file is then
    unchanged. Once it has been replaced, nothing is raised. ProfileError, as `Continuum` does.
    """
    if not 0 <= max_moved <= 1:
        raise ValueError(f"invalid max_moved {max_moved!r}: must be 0.0 to 1.0")
    settings = settings_text({"profile": profile, **options})
    return edit_with(settings, os.fspath(path), dry_run, timeout, max_moved, create)


@contextmanager
def edit_with(
    settings: bytes,
    filename: str | bytes,
    dry_run: bool,
    timeout: float,
    max_moved: float,
    create: bool,
) -> Iterator[Edit]:
    """Edit a server file as `edit` does, with options as libketama reads them."""
    there = absolute(filename)  # even if the block changes the working directory
    if dry_run:
        target = Target(there, filename, create)
    else:
        target = lock(there, filename, timeout, create)
    try:
        text = target.read()
        editing = Edit(filename, text, create, settings)
        try:
            yield editing
        finally:
            editing._closed = True
        if editing._is_changed:
            _ = editing.after  # raises where the file would be invalid
            editing._check_moved(max_moved)
            if not dry_run:
                target.replace(text, editing.text)
    finally:
        target.close()
    if editing._is_changed and not dry_run:
        with suppress(OSError, MemoryError):  # the edit has taken effect
            editing.published = images.publish(there, settings)
