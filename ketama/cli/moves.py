"""What a change moves, for its picture: what each server loses and gains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ketama.cli.output import percent

if TYPE_CHECKING:
    import ketama


@dataclass
class Row:
    """What one address has and loses and gains, as shares of all keys."""

    address: str
    change: str  # added, removed or its weights; empty if its entry is the same
    before: float
    after: float
    fair: float  # after the change
    lost: float = 0
    gained: float = 0
    collateral_lost: float = 0  # a part of lost
    collateral_gained: float = 0

    @property
    def moved(self) -> float:
        """Return all that it loses and gains."""
        return self.lost + self.gained


class Moves:
    """The moves of a difference, and which are collateral: between unchanged servers."""

    def __init__(self, before: ketama.Continuum, after: ketama.Continuum) -> None:
        self.before, self.after = before.servers, after.servers
        self.diff = before.diff(after)
        rows = _rows(self.before, self.after)
        self.unchanged = {address for address, row in rows.items() if not row.change}
        self.collateral = 0.0
        for (start, end), share in self.diff.pairs.items():
            rows[start].lost += share
            rows[end].gained += share
            if self.is_collateral(start, end):
                self.collateral += share
                rows[start].collateral_lost += share
                rows[end].collateral_gained += share
        # The changed servers first, then those that lose and gain most.
        self.rows = sorted(rows.values(), key=lambda row: (not row.change, -row.moved))

    def is_collateral(self, start: str, end: str) -> bool:
        """Return whether neither server's address nor weight has changed."""
        return start in self.unchanged and end in self.unchanged

    @property
    def summary(self) -> str:
        """Return what moves, in one line."""
        moved, collateral = percent(self.diff.moved), percent(self.collateral)
        return f"{moved} of all keys move, {collateral} collateral"


def _rows(
    before: tuple[ketama.Server, ...], after: tuple[ketama.Server, ...]
) -> dict[str, Row]:
    """Return a row per address, which may have several lines in a file."""
    old, new = _by_address(before), _by_address(after)
    total = sum(server.weight for server in after)
    rows = {}
    for address in {**new, **old}:
        was, now = old.get(address, []), new.get(address, [])
        rows[address] = Row(
            address,
            _change([server.weight for server in was], [server.weight for server in now]),
            before=sum(server.share for server in was),
            after=sum(server.share for server in now),
            fair=sum(server.weight for server in now) / total,
        )
    return rows


def _by_address(servers: tuple[ketama.Server, ...]) -> dict[str, list[ketama.Server]]:
    found: dict[str, list[ketama.Server]] = {}
    for server in servers:
        found.setdefault(server.address, []).append(server)
    return found


def _change(was: list[int], now: list[int]) -> str:
    if not was:
        return "added"
    if not now:
        return "removed"
    if sorted(was) == sorted(now):
        return ""
    return f"weight {'+'.join(map(str, was))} → {'+'.join(map(str, now))}"
