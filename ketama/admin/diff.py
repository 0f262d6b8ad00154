"""Which keys move when one continuum replaces another."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ketama._ketama import ffi, lib
from ketama.errors import failure
from ketama.lookups import Version

KEY_SPACE = 2**32
MOVE = struct.Struct("=IIQ")  # ketama_move


@dataclass(frozen=True, slots=True)
class Diff:
    """Which keys move when one continuum replaces another, as exact shares of all keys.

    Shares are 0.0 to 1.0, multiples of 2**-32, and their sums are exact.

    moved: the share of the keys that get another server.
    collateral: the part of `moved` between two servers that are in both continua, and so
        neither leave a removed server nor go to an added one. Some is always there, because a
        server's number of points depends on all weights. Where only weights changed, all moves
        are between such servers: they are what was asked for.
    pairs: {(from, to): share}, by addresses, the largest first.
    added, removed: addresses of servers in only one of the two, in the order of their file.
    """

    moved: float
    collateral: float
    pairs: dict[tuple[str, str], float]
    added: tuple[str, ...]
    removed: tuple[str, ...]


def difference(before: Version, after: Version) -> Diff:
    """Return the difference of two versions, compared arc by arc."""
    old, new = before[1], after[1]
    old_set, new_set = set(old), set(new)
    moves, count = ffi.new("ketama_move **"), ffi.new("size_t *")
    failed = ffi.new("ketama_failure *")
    if lib.diff(before[0], after[0], moves, count, failed) < 0:
        raise failure(failed, None)
    owned = ffi.gc(moves[0], lib.free)
    hashes: dict[tuple[str, str], int] = {}
    # An address that is in a file twice has several moves for one pair of addresses.
    for start, end, share in MOVE.iter_unpack(ffi.buffer(owned, count[0] * MOVE.size)):
        pair = old[start], new[end]
        hashes[pair] = hashes.get(pair, 0) + share
    stayed = old_set & new_set
    collateral = sum(
        share for (start, end), share in hashes.items() if start in stayed and end in stayed
    )
    return Diff(
        moved=sum(hashes.values()) / KEY_SPACE,
        collateral=collateral / KEY_SPACE,
        pairs={
            pair: hashes[pair] / KEY_SPACE
            for pair in sorted(hashes, key=hashes.__getitem__, reverse=True)
        },
        added=tuple(address for address in dict.fromkeys(new) if address not in old_set),
        removed=tuple(address for address in dict.fromkeys(old) if address not in new_set),
    )
