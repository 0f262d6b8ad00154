"""What moves when one continuum takes another's place."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ketama._ketama import ffi, lib
from ketama.errors import failure

if TYPE_CHECKING:
    from ketama.lookups import Version

KEY_SPACE = 2**32
MOVE = struct.Struct("=IIQ")  # ketama_move


@dataclass(frozen=True, slots=True)
class Diff:
    """What moves when one continuum takes another's place, in exact shares of all keys.

    Shares are 0.0 to 1.0, multiples of 2**-32, and their sums are exact.

    moved: the share of the keys that get another server.
    needless: the part of it that moves between servers that are in both continua: neither
        away from one that has left nor to one that has come. Where weights were changed,
        that is what was asked for.
    pairs: {(from, to): share}, by addresses, the largest first.
    added, removed: the addresses of the servers that have come and left, in their file's
        order.
    """

    moved: float
    needless: float
    pairs: dict[tuple[str, str], float]
    added: tuple[str, ...]
    removed: tuple[str, ...]


def difference(before: Version, after: Version) -> Diff:
    """Compare two versions, arc by arc."""
    old, new = before[1], after[1]
    old_set, new_set = set(old), set(new)
    moves, count = ffi.new("ketama_move **"), ffi.new("size_t *")
    failed = ffi.new("ketama_failure *")
    if lib.diff(before[0], after[0], moves, count, failed) < 0:
        raise failure(failed, None)
    owned = ffi.gc(moves[0], lib.free)
    hashes: dict[tuple[str, str], int] = {}
    # An address that is in a file twice has several moves for a pair of addresses.
    for start, end, share in MOVE.iter_unpack(ffi.buffer(owned, count[0] * MOVE.size)):
        pair = old[start], new[end]
        hashes[pair] = hashes.get(pair, 0) + share
    stayed = old_set & new_set
    needless = sum(
        share for (start, end), share in hashes.items() if start in stayed and end in stayed
    )
    return Diff(
        moved=sum(hashes.values()) / KEY_SPACE,
        needless=needless / KEY_SPACE,
        pairs={
            pair: hashes[pair] / KEY_SPACE
            for pair in sorted(hashes, key=hashes.__getitem__, reverse=True)
        },
        added=tuple(address for address in dict.fromkeys(new) if address not in old_set),
        removed=tuple(address for address in dict.fromkeys(old) if address not in new_set),
    )
