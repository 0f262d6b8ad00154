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
    change: str  # added, removed, its weights, or renamed; empty if it is unchanged
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
    """The moves of a difference, and what they are for each server."""

    def __init__(self, before: ketama.Continuum, after: ketama.Continuum) -> None:
        self.before, self.after = before.servers, after.servers
        self.diff = before.diff(after)
        rows = _rows(self.before, self.after, self.diff)
        for (start, end), share in self.diff.pairs.items():
            if self.diff.is_collateral(start, end):
                rows[start].collateral_lost += share
                rows[end].collateral_gained += share
        # The changed servers first, then those that lose and gain most.
        self.rows = sorted(rows.values(), key=lambda row: (not row.change, -row.moved))

    @property
    def summary(self) -> str:
        """Return what moves, in one line."""
        moved, collateral = percent(self.diff.moved), percent(self.diff.collateral)
        return f"{moved} of all keys move, {collateral} collateral"


def _rows(
    before: tuple[ketama.Server, ...], after: tuple[ketama.Server, ...], diff: ketama.Diff
) -> dict[str, Row]:
    """Return a row per address, which may have several lines in a file."""
    old, new = _by_address(before), _by_address(after)
    total = sum(server.weight for server in after)
    rows = {}
    for address in {**new, **old}:
        server = diff.servers[address]
        was, now = old.get(address, []), new.get(address, [])
        rows[address] = Row(
            address,
            "" if server.unchanged else _change(was, now),
            before=server.share_before,
            after=server.share_after,
            fair=(server.weight_after or 0) / total,
            lost=server.lost,
            gained=server.gained,
        )
    return rows


def _by_address(servers: tuple[ketama.Server, ...]) -> dict[str, list[int]]:
    """Return the weights of each address."""
    found: dict[str, list[int]] = {}
    for server in servers:
        found.setdefault(server.address, []).append(server.weight)
    return found


def _change(was: list[int], now: list[int]) -> str:
    if not was:
        return "added"
    if not now:
        return "removed"
    if was == now:
        return "renamed"
    return f"weight {'+'.join(map(str, was))} → {'+'.join(map(str, now))}"
