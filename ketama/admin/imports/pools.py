"""What all formats share: their text, the servers that they list, and their errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ketama.errors import ServersError


class Listed(NamedTuple):
    """A server that a configuration lists.

    line: where, from 1; None if the parser does not tell.
    """

    line: int | None
    address: str
    weight: int = 1
    name: str | None = None


class Note(NamedTuple):
    """What could not be carried over, or what changes the server of a key.

    line: where, from 1; None for the whole file.
    """

    line: int | None
    reason: str


class Pool(NamedTuple):
    """The servers that belong to one ring, and its dialect.

    name: of the pool; None where the format has no pools.
    line: where it begins; None if the parser does not tell.
    options: the profile and its options; empty if the format does not tell them.
    unknown: why it does not, for people.
    """

    name: str | None
    line: int | None
    servers: list[Listed]
    options: dict[str, str]
    notes: list[Note]
    unknown: str = ""


class Source(NamedTuple):
    """A configuration: its text, its name in messages, and the pool that is wanted."""

    text: str
    filename: str
    pool: str | None

    def error(self, line: int | None, reason: str) -> ServersError:
        """Return an error of the file, to be raised."""
        return ServersError(self.filename, line, reason)

    def weight(self, line: int | None, text: str) -> int:
        """Return a weight; libketama tells if it is too large."""
        if text.isascii() and text.isdigit() and len(text) < 20:
            return int(text)
        raise self.error(line, f"invalid weight {text!r:.80}: must be a positive integer")

    def choose(self, what: str, lines: Mapping[str, int | None]) -> str:
        """Return the name of the pool that is wanted, or the only one.

        what: a pool is called in this format. lines: where each begins.
        """
        names = ", ".join(list(lines)[:20])
        if self.pool is None and len(lines) == 1:
            return next(iter(lines))
        if self.pool is None:
            reason = f"{len(lines)} {what}s: choose one with --pool: {names}"
        elif self.pool in lines:
            return self.pool
        else:
            reason = f"no {what} {self.pool!r:.80}: choose one of {names}"
        raise self.error(None, reason)

    def refuse_pool(self) -> None:
        """Raise an error if a pool is wanted of a format that has none."""
        if self.pool is not None:
            raise self.error(None, f"no pool {self.pool!r:.80}: this format has one list")
