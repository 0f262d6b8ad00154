"""Which server owns which bucket of a map: libketama decides that."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, MutableSequence, Sequence
from typing import Any

from ketama._ketama import ffi, lib
from ketama.continuum import Continuum
from ketama.errors import ProfileError, failure
from ketama.servers import Servers, to_c

BUCKETS_MAX: int = lib.KETAMA_BUCKETS_LIMIT
Owners = MutableSequence[int]  # an array, which annotations cannot name before CPython 3.12
NOBODY: int = lib.KETAMA_NO_SERVER  # in place of the index of a bucket's server


def assign(servers: Servers, buckets: int, before: Sequence[int] | None = None) -> Owners:
    """Return the index of each bucket's server: fair shares, and the fewest moves.

    Each server gets its exact share, buckets x weight / all weights, rounded down or up. The
    result does not depend on the order of the servers.

    servers: as for `Continuum`; no two with one address.
    buckets: how many there are, a power of two up to 1,048,576.
    before: the index of the server that has each bucket now, or NOBODY; None: nobody has any.
    Raises ServersError for an invalid list, ProfileError for a wrong number of buckets,
    IndexError for an index of no server, ValueError if `before` has another length.
    """
    listed, count, _texts = to_c(servers)
    owners = _new(buckets)
    failed = ffi.new("ketama_failure *")
    now = ffi.NULL if before is None else _from(before, buckets)
    status = lib.assign_buckets(
        listed, count, now, len(owners), ffi.from_buffer("uint32_t[]", owners), failed
    )
    if status < 0:
        raise _refusal(failed)
    return owners


def owners(continuum: Continuum, buckets: int) -> Owners:
    """Return the index of the server that owns most of each bucket.

    Of several, it is the one whose address is the least. Of a map with so many buckets, these
    are its owners. Raises ProfileError for a wrong number of buckets.
    """
    found, failed = _new(buckets), ffi.new("ketama_failure *")
    handle = continuum._now[0]
    if lib.bucket_owners(handle, len(found), ffi.from_buffer("uint32_t[]", found), failed) < 0:
        raise failure(failed, None)
    return found


def needed(servers: Servers, within: float) -> int | None:
    """Return how many buckets keep every server within a part of its fair share.

    within: 0.01 is 1 % above the fair share, at most; a millionth is the smallest part.
    None: more than there can be, 1,048,576, or there are no servers. Raises ServersError for an
    invalid list, ValueError where within is not above 0.0, or above 1.0.
    """
    if not 0 < within <= 1:
        raise ValueError(f"invalid within {within!r}: must be above 0, at most 1")
    listed, count, _texts = to_c(servers)
    return lib.ketama_buckets_needed(listed, count, max(1, int(within * 1e6 + 1e-6))) or None


def steps(before: Sequence[int], after: Sequence[int], most: int) -> Iterator[Owners]:
    """Yield the owners after each step on the way from one assignment to another.

    most: how many buckets move in a step, from 1 on. In each, a server gives up the same part
    of what it has to. The last ones yielded are `after`; nothing is if the two are equal.
    Raises ValueError if they have other lengths, ProfileError if these are no number of
    buckets, IndexError for an index in `before` that no server has.
    """
    if most < 1:
        raise ValueError(f"invalid most {most}: must be at least 1")
    size, moved = len(before), 0
    now, then = _from(before, size), _from(after, size)
    differ = bytes(ffi.buffer(now)) != bytes(ffi.buffer(then))  # of whatever types they are
    left, failed = ffi.new("uint32_t *", differ), ffi.new("ketama_failure *")
    while left[0]:
        made = _new(size)
        moved = min(moved + most, size)
        out = ffi.from_buffer("uint32_t[]", made)
        if lib.step_buckets(now, then, len(made), moved, out, left, failed) < 0:
            raise _refusal(failed)
        yield made


def ranges(owned: Sequence[int], count: int) -> list[str]:
    """Return the buckets of each server as the last column of a server file has them.

    count: how many servers there are; what others own is left out.
    """
    data, size = _from(owned, len(owned)), len(owned)
    at = ffi.new("size_t[]", count + 1)
    room = lib.ketama_buckets_write(data, size, count, at, ffi.NULL, 0)
    text = bytearray(room)
    lib.ketama_buckets_write(data, size, count, at, ffi.from_buffer("char[]", text), room)
    return text.decode().split("\0")[:-1]


def _new(buckets: int) -> array[int]:
    """Return room for the owner of each bucket; libketama checks that it is a power of two."""
    if not 1 <= buckets <= BUCKETS_MAX:
        raise ProfileError(
            f"invalid buckets {buckets}: must be a power of two from 1 to {BUCKETS_MAX}"
        )
    return array("I", bytes(4 * buckets))


def _from(given: Sequence[int], buckets: int) -> Any:
    """Return owners as C reads them."""
    if len(given) != buckets:
        raise ValueError(f"owners of {buckets:,} buckets are needed, not of {len(given):,}")
    try:
        is_ready = isinstance(given, array) and given.typecode == "I"
        data = given if is_ready else array("I", given)
    except OverflowError:
        wrong = next(index for index in given if not 0 <= index <= NOBODY)
        raise IndexError(f"no server {wrong}") from None
    return ffi.from_buffer("uint32_t[]", data)


def _refusal(failed: Any) -> Exception:
    """Return the exception for what libketama refuses; IndexError for an index."""
    if failed.status == lib.KETAMA_ERANGE:
        return IndexError(ffi.string(failed.reason).decode())
    return failure(failed, None)
