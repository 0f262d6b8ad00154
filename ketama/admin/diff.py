"""Which keys move when one continuum replaces another."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from ketama._ketama import ffi, lib
from ketama.errors import failure
from ketama.lookups import Version
from ketama.servers import from_c, name_of

KEY_SPACE = 2**32
MOVE = struct.Struct("=IIQ")  # ketama_move


class ServerDiff(NamedTuple):
    """What changes for one server when one continuum replaces another.

    weight_before, weight_after: None if the server is not in that continuum.
    share_before, share_after: its exact share of all keys, 0.0 to 1.0.
    lost, gained: the shares that leave it and come to it, by which its share changes.
    unchanged: whether it is in both continua with the same weight and name.

    An address on several lines is one server, with the sum of their weights.
    """

    weight_before: int | None
    weight_after: int | None
    share_before: float
    share_after: float
    lost: float
    gained: float
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Diff:
    """Which keys move when one continuum replaces another, as exact shares of all keys.

    Shares are 0.0 to 1.0, multiples of 2**-32, and their sums are exact.

    moved: the share of the keys that get another server.
    collateral: the part of `moved` between two servers that are both unchanged: in both
        continua, with the same weight and name. The rest is what the change asks for: it leaves
        or reaches a server that was added, removed, or got another weight or name. Collateral
        moves happen because a server's number of points depends on all weights.
    pairs: {(from, to): share}, by addresses, the largest first.
    added, removed: addresses of servers in only one of the two, in the order of their file.
    changed: addresses of servers in both, with another weight or name, in the new order.
    servers: {address: ServerDiff}, in the old order, added servers last.
    """

    moved: float
    collateral: float
    pairs: dict[tuple[str, str], float]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    servers: dict[str, ServerDiff]

    def is_collateral(self, start: str, end: str) -> bool:
        """Return whether moves between two servers, given by address, are collateral."""
        return self.servers[start].unchanged and self.servers[end].unchanged


def difference(before: Version, after: Version) -> Diff:
    """Return the difference of two versions, compared arc by arc."""
    hashes = _moves(before, after)
    old, new = _Entries(before), _Entries(after)
    servers = _servers(old, new, hashes)
    collateral = sum(
        share
        for (start, end), share in hashes.items()
        if servers[start].unchanged and servers[end].unchanged
    )
    return Diff(
        moved=sum(hashes.values()) / KEY_SPACE,
        collateral=collateral / KEY_SPACE,
        pairs={
            pair: hashes[pair] / KEY_SPACE
            for pair in sorted(hashes, key=hashes.__getitem__, reverse=True)
        },
        added=tuple(address for address in new.lines if address not in old.lines),
        removed=tuple(address for address in old.lines if address not in new.lines),
        changed=tuple(
            address
            for address in new.lines
            if address in old.lines and not servers[address].unchanged
        ),
        servers=servers,
    )


def _moves(before: Version, after: Version) -> dict[tuple[str, str], int]:
    """Return how many hashes move between each two addresses."""
    moves, count = ffi.new("ketama_move **"), ffi.new("size_t *")
    failed = ffi.new("ketama_failure *")
    if lib.diff(before[0], after[0], moves, count, failed) < 0:
        raise failure(failed, None)
    owned = ffi.gc(moves[0], lib.free)
    old, new = before[1], after[1]
    hashes: dict[tuple[str, str], int] = {}
    # An address that is in a file twice has several moves for one pair of addresses.
    for start, end, share in MOVE.iter_unpack(ffi.buffer(owned, count[0] * MOVE.size)):
        pair = old[start], new[end]
        hashes[pair] = hashes.get(pair, 0) + share
    return hashes


class _Entries:
    """The servers of a version by address: their lines, and how many hashes they own."""

    def __init__(self, version: Version) -> None:
        self.lines: dict[str, list[tuple[int, str | None]]] = {}
        self.hashes: Counter[str] = Counter()
        for address, row in zip(version[1], from_c(version[0]), strict=True):
            self.lines.setdefault(address, []).append((row.weight, name_of(row)))
            self.hashes[address] += row.share

    def weight(self, address: str) -> int | None:
        lines = self.lines.get(address)
        return None if lines is None else sum(weight for weight, _ in lines)


def _servers(
    old: _Entries, new: _Entries, hashes: dict[tuple[str, str], int]
) -> dict[str, ServerDiff]:
    lost, gained = Counter[str](), Counter[str]()
    for (start, end), share in hashes.items():
        lost[start] += share
        gained[end] += share
    return {
        address: ServerDiff(
            weight_before=old.weight(address),
            weight_after=new.weight(address),
            share_before=old.hashes[address] / KEY_SPACE,
            share_after=new.hashes[address] / KEY_SPACE,
            lost=lost[address] / KEY_SPACE,
            gained=gained[address] / KEY_SPACE,
            unchanged=Counter(old.lines.get(address)) == Counter(new.lines.get(address)),
        )
        for address in {**old.lines, **new.lines}
    }
