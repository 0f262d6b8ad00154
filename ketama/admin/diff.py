"""Which keys move when one continuum replaces another."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from ketama._ketama import ffi, lib
from ketama.admin.dialect import hashed_name
from ketama.continuum import KEY_SPACE
from ketama.errors import failure
from ketama.lookups import Version
from ketama.servers import from_c, name_of

MOVE = struct.Struct("=IIQ")  # ketama_move


class ServerDiff(NamedTuple):
    """What changes for one server when one continuum replaces another.

    address_before, address_after: None if the server is not in that continuum. They differ
        for a server that keeps its name, and so its keys, at another address.
    name: after the change, or of a removed server before it; None if it has none.
    weight_before, weight_after: None if the server is not in that continuum.
    share_before, share_after: its exact share of all keys, 0.0 to 1.0.
    lost, gained: the shares that leave it and come to it, by which its share changes.
    unchanged: whether it is in both continua with the same weight and name.

    An address on several lines is one server, with the sum of their weights.
    """

    address_before: str | None
    address_after: str | None
    name: str | None
    weight_before: int | None
    weight_after: int | None
    share_before: float
    share_after: float
    lost: float
    gained: float
    unchanged: bool

    @property
    def address(self) -> str:
        """The address after the change, or of a removed server before it."""
        return self.address_after or self.address_before or ""

    @property
    def is_readdressed(self) -> bool:
        """Whether it is in both continua, at different addresses."""
        return None not in (self.address_before, self.address_after) and (
            self.address_before != self.address_after
        )


@dataclass(frozen=True, slots=True)
class Diff:
    """Which keys move when one continuum replaces another, as exact shares of all keys.

    Shares are 0.0 to 1.0, multiples of 2**-32, and their sums are exact. A server that keeps
    its name, or the text that was hashed in place of one, at another address is the same
    server: its keys do not move.

    moved: the share of the keys that get another server.
    collateral: the part of `moved` between two servers that are both unchanged: in both
        continua, with the same weight and name. The rest is what the change asks for: it leaves
        or reaches a server that was added, removed, or got another weight or name. Collateral
        moves happen because a server's number of points depends on all weights.
    pairs: {(from, to): share}, by addresses before and after, the largest first.
    added, removed: addresses of servers in only one of the two, in the order of their file.
    changed: addresses of servers in both, with another weight or name, in the new order.
    readdressed: (before, after) for each server with another address, in the new order.
    servers: a ServerDiff for each server, in the old order, added servers last.
    """

    moved: float
    collateral: float
    pairs: dict[tuple[str, str], float]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    readdressed: tuple[tuple[str, str], ...]
    servers: tuple[ServerDiff, ...]
    _collateral_pairs: frozenset[tuple[str, str]] = field(repr=False)

    def is_collateral(self, start: str, end: str) -> bool:
        """Return whether what moves between two servers is collateral.

        start, end: their addresses, before and after the change.
        """
        return (start, end) in self._collateral_pairs


def difference(before: Version, after: Version) -> Diff:
    """Return the difference of two versions, compared arc by arc."""
    groups = same_servers(before, after)
    old, new = _Side(before, groups[0]), _Side(after, groups[1])
    hashes = _moves(before, after, *groups)
    servers = _servers(old, new, hashes)
    pairs, collateral, among = Counter[tuple[str, str]](), 0, set()
    for (start, end), share in hashes.items():
        pair = old.addresses[start], new.addresses[end]
        pairs[pair] += share
        if servers[start].unchanged and servers[end].unchanged:
            collateral += share
            among.add(pair)
    in_new_order = [servers[group] for group in new.addresses if group in old.addresses]
    return Diff(
        moved=sum(hashes.values()) / KEY_SPACE,
        collateral=collateral / KEY_SPACE,
        pairs={pair: share / KEY_SPACE for pair, share in pairs.most_common()},
        added=tuple(new.addresses[group] for group in new.addresses if group not in old.lines),
        removed=tuple(
            old.addresses[group] for group in old.addresses if group not in new.lines
        ),
        changed=tuple(server.address for server in in_new_order if not server.unchanged),
        readdressed=tuple(
            (server.address_before or "", server.address)
            for server in in_new_order
            if server.is_readdressed
        ),
        servers=tuple(servers.values()),
        _collateral_pairs=frozenset(among),
    )


def same_servers(before: Version, after: Version) -> tuple[list[int], list[int]]:
    """Return a number for each server of two versions; the same server has the same one."""
    counts = len(before[1]), len(after[1])
    old, new = (ffi.new("uint32_t[]", count) for count in counts)
    failed = ffi.new("ketama_failure *")
    if lib.same_servers(before[0], after[0], old, new, failed) < 0:
        raise failure(failed, None)
    return ffi.unpack(old, counts[0]), ffi.unpack(new, counts[1])


def _moves(
    before: Version, after: Version, old: list[int], new: list[int]
) -> dict[tuple[int, int], int]:
    """Return how many hashes move between each two servers, by their numbers."""
    moves, count = ffi.new("ketama_move **"), ffi.new("size_t *")
    failed = ffi.new("ketama_failure *")
    if lib.diff(before[0], after[0], moves, count, failed) < 0:
        raise failure(failed, None)
    owned = ffi.gc(moves[0], lib.free)
    hashes: dict[tuple[int, int], int] = {}
    # A server that is in a file twice has several moves for one pair of servers.
    for start, end, share in MOVE.iter_unpack(ffi.buffer(owned, count[0] * MOVE.size)):
        pair = old[start], new[end]
        hashes[pair] = hashes.get(pair, 0) + share
    return hashes


class _Side:
    """The servers of a version by number: their lines, and how many hashes they own."""

    def __init__(self, version: Version, groups: list[int]) -> None:
        self.handle = version[0]
        self.addresses: dict[int, str] = {}
        self.lines: dict[int, list[tuple[int, str | None, int]]] = {}  # weight, name, index
        self.hashes: Counter[int] = Counter()
        rows = zip(groups, version[1], from_c(version[0]), strict=True)
        for index, (group, address, row) in enumerate(rows):
            self.addresses.setdefault(group, address)
            self.lines.setdefault(group, []).append((row.weight, name_of(row), index))
            self.hashes[group] += row.share

    def weight(self, group: int) -> int | None:
        lines = self.lines.get(group)
        return None if lines is None else sum(weight for weight, *_ in lines)

    def name(self, group: int) -> str | None:
        return self.lines[group][0][1]

    def named(self, group: int) -> Counter[tuple[int, str | None]]:
        """Return the lines of a server, by what is written."""
        return Counter(line[:2] for line in self.lines[group])

    def hashed(self, group: int) -> Counter[tuple[int, bytes]]:
        """Return the lines of a server, by what is hashed."""
        return Counter(
            (weight, hashed_name(self.handle, index)) for weight, _, index in self.lines[group]
        )


def _is_unchanged(old: _Side, new: _Side, group: int) -> bool:
    """Return whether a server has the same weight and name in both.

    A name that is the text which was hashed without one is the same name.
    """
    if group not in old.lines or group not in new.lines:
        return False
    if old.named(group) == new.named(group):
        return True
    if old.weight(group) != new.weight(group):
        return False
    return old.hashed(group) == new.hashed(group)


def _servers(
    old: _Side, new: _Side, hashes: dict[tuple[int, int], int]
) -> dict[int, ServerDiff]:
    lost, gained = Counter[int](), Counter[int]()
    for (start, end), share in hashes.items():
        lost[start] += share
        gained[end] += share
    return {
        group: ServerDiff(
            address_before=old.addresses.get(group),
            address_after=new.addresses.get(group),
            name=(new if group in new.lines else old).name(group),
            weight_before=old.weight(group),
            weight_after=new.weight(group),
            share_before=old.hashes[group] / KEY_SPACE,
            share_after=new.hashes[group] / KEY_SPACE,
            lost=lost[group] / KEY_SPACE,
            gained=gained[group] / KEY_SPACE,
            unchanged=_is_unchanged(old, new, group),
        )
        for group in {**old.lines, **new.lines}
    }
