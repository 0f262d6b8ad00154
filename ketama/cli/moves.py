"""What a change moves, for its picture: what each server loses and gains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ketama.cli.output import percent

if TYPE_CHECKING:
    import ketama
    from ketama.admin.diff import ServerDiff


@dataclass
class Row:
    """What one server has and loses and gains, as shares of all keys."""

    address: str  # both, if it was readdressed
    change: str  # added, removed, its weights, renamed, readdressed; empty if it is unchanged
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
        losing = dict(zip((row.address_before for row in self.diff.servers), rows, strict=True))
        gaining = dict(zip((row.address_after for row in self.diff.servers), rows, strict=True))
        for (start, end), share in self.diff.pairs.items():
            if self.diff.is_collateral(start, end):
                losing[start].collateral_lost += share
                gaining[end].collateral_gained += share
        # The changed servers first, then those that lose and gain most.
        self.rows = sorted(rows, key=lambda row: (not row.change, -row.moved))

    @property
    def summary(self) -> str:
        """Return what moves, in one line."""
        moved, collateral = percent(self.diff.moved), percent(self.diff.collateral)
        return f"{moved} of all keys move, {collateral} collateral"


def _rows(
    before: tuple[ketama.Server, ...], after: tuple[ketama.Server, ...], diff: ketama.Diff
) -> list[Row]:
    """Return a row per server, which may have several lines in a file."""
    old, new = _by_address(before), _by_address(after)
    total = sum(server.weight for server in after)
    return [
        Row(
            f"{server.address_before} → {server.address_after}"
            if server.is_readdressed
            else server.address,
            _change(
                server,
                old.get(server.address_before or "", []),
                new.get(server.address_after or "", []),
            ),
            before=server.share_before,
            after=server.share_after,
            fair=(server.weight_after or 0) / total,
            lost=server.lost,
            gained=server.gained,
        )
        for server in diff.servers
    ]


def _by_address(servers: tuple[ketama.Server, ...]) -> dict[str, list[int]]:
    """Return the weights of each address."""
    found: dict[str, list[int]] = {}
    for server in servers:
        found.setdefault(server.address, []).append(server.weight)
    return found


def _change(server: ServerDiff, was: list[int], now: list[int]) -> str:
    if server.unchanged:
        return "readdressed" if server.is_readdressed else ""
    if not was:
        return "added"
    if not now:
        return "removed"
    if was == now:
        return "renamed"
    return f"weight {'+'.join(map(str, was))} → {'+'.join(map(str, now))}"
