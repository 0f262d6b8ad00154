"""Lookups of one key and of many.

The class in this module calls libketama through cffi. If the accelerator, ketama._speedups,
was compiled, `fastest` returns its class, which handles str and bytes keys itself and falls
back to this one for all others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import accumulate

from ketama._ketama import ffi, lib
from ketama.buffers import Packed, kind
from ketama.keys import NUL_MESSAGE, Key, key_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar, overload

    AnyKey = TypeVar("AnyKey", bound=Key)
else:
    # For typing.get_type_hints, without the import of typing.
    Any, AnyKey = object, Key

# data, its size in bytes, offsets, bytes per offset (negative if signed), number of keys
Buffers = tuple[Any, int, Any, int, int]
# The handle, its servers' addresses, and the handle's address in memory.
Version = tuple[Any, tuple[str, ...], int]

# Bound once: each attribute lookup costs as much as finding the point.
_find: Callable[[Any, bytes, int], int] = lib.find
_find_index: Callable[[Any, bytes, int], int] = lib.find_index
_find_text: Callable[[Any, bytes, int], int] = lib.find_text


class Lookups:
    """The lookups of a Continuum, answered from its current version, `_now`."""

    __slots__ = ("_now",)

    _now: Version

    if TYPE_CHECKING:

        def _roll_quietly(self) -> None: ...
        def _follow(self) -> Version: ...

    if TYPE_CHECKING:

        @overload
        def lookup(self, key: Key) -> str: ...
        @overload
        def lookup(self, key: Key, exclude: None) -> str: ...
        @overload
        def lookup(self, key: Key, exclude: Container[str]) -> str | None: ...

    def lookup(self, key: Key, exclude: Container[str] | None = None) -> str | None:
        """Return the address of the server that a key belongs to.

        key: str (hashed as UTF-8), bytes, bytearray or memoryview; any bytes, any length.
        exclude: a set of addresses, such as those of servers that are down. Returns the
            first of the key's `successors` that is not excluded, or None if all are.
        Raises TypeError for a key of any other type; UnicodeEncodeError, a ValueError, for a
        str with lone surrogates, which has no UTF-8. This holds for every method that takes
        keys.
        """
        if exclude is not None:
            return _lookup_excluding(self, key, exclude)
        handle, addresses, _ = self._now
        data = key.encode() if type(key) is str else key_bytes(key)
        try:
            return addresses[_find_index(handle, data, len(data))]
        except IndexError:
            return _roll_and_find(self, data)[1]

    __getitem__ = lookup
    # Without these two, Python would treat an object with __getitem__ as a sequence.
    __iter__: None = None
    __contains__: None = None

    def get_server(self, key: Key) -> tuple[int, str]:
        """Return the point that owns a key, 0 to 2**32 - 1, and its server's address.

        key: as for `lookup`, but without NUL bytes.
        Raises TypeError for a key of any other type, and, as python_ketama does, for a key
        with a NUL byte: the 2007 libketama would end the key there, and may find another
        server. `lookup` accepts any bytes.
        """
        handle, addresses, _ = self._now
        data = key.encode() if type(key) is str else key_bytes(key)
        found = _find_text(handle, data, len(data))
        try:
            return found & 0xFFFFFFFF, addresses[found >> 32]
        except IndexError:
            if found == lib.NUL_IN_KEY:
                raise TypeError(NUL_MESSAGE) from None
            return _roll_and_find(self, data)

    def _find_point(self, key: Key) -> tuple[int, str]:
        """Return a key's point and server; NUL bytes are part of the key."""
        handle, addresses, _ = self._now
        data = key.encode() if type(key) is str else key_bytes(key)
        found = _find(handle, data, len(data))
        try:
            return found & 0xFFFFFFFF, addresses[found >> 32]
        except IndexError:
            return _roll_and_find(self, data)

    def lookup_many(self, keys: Iterable[Key] | Packed) -> list[str]:
        """Return the server's address for each of many keys, in the order of the keys.

        keys: any iterable of keys as for `lookup`, types mixed at will, or `Packed` keys.
            Several keys are hashed in parallel: from a handful on, each takes a fraction of
            the time of a single lookup.
        Raises TypeError for a key of any other type, and names its position, from 0. All
        keys are looked up in the same version, even if another thread rolls meanwhile.
        """
        return _addresses(self, keys)

    def group_by_server(self, keys: Iterable[AnyKey]) -> dict[str, list[AnyKey]]:
        """Return the keys of each server, by its address, as a get_multi needs them.

        keys: as for `lookup_many`. The lists hold the key objects that were passed in, in
            the same order; `Packed` keys as bytes. Servers without a key are left out.
        Raises what `lookup_many` raises.
        """
        items = keys if isinstance(keys, Packed) else _key_tuple(keys)
        groups: dict[str, list[AnyKey]] = {}
        for key, address in zip(items, _addresses(self, items), strict=True):
            groups.setdefault(address, []).append(key)
        return groups

    def _index_each(self, keys: Iterable[Key] | Packed) -> tuple[Any, int]:
        """Return the index of each key's server, as uint32, and the number of servers."""
        buffers = packed_buffers(keys)
        version = self._follow()
        return _indexes(version, buffers), len(version[1])


def _roll_and_find(self: Lookups, data: bytes) -> tuple[int, str]:
    """Return a key's point and server after the roll that was due."""
    self._roll_quietly()
    handle, addresses, _ = self._now
    found = lib.find_now(handle, data, len(data))
    return found & 0xFFFFFFFF, addresses[found >> 32]


def _lookup_excluding(self: Lookups, key: Key, exclude: Container[str]) -> str | None:
    if isinstance(exclude, (str, bytes, bytearray)) or not hasattr(exclude, "__contains__"):
        raise TypeError(f"exclude must be a set of addresses, not {type(exclude).__name__}")
    data = key_bytes(key)
    for address in successors(self._follow(), data, 4):
        if address not in exclude:
            return address
    return None


def _key_tuple(keys: Iterable[Any]) -> tuple[Any, ...]:
    """Return keys as a tuple, iterating only once."""
    if isinstance(keys, (str, bytes, bytearray, memoryview)):
        raise TypeError(
            f"keys must be an iterable of keys, not {type(keys).__name__}: "
            "pass a single key in a list"
        )
    return tuple(keys)


def packed_buffers(keys: Iterable[Any] | Packed) -> Buffers:
    """Return keys as the arguments of the C function find_packed that describe them."""
    if isinstance(keys, Packed):
        data, offsets = keys._buffers
        return (
            ffi.from_buffer(data),
            data.nbytes,
            ffi.from_buffer(offsets),
            -offsets.itemsize if kind(offsets).islower() else offsets.itemsize,
            len(offsets) - 1,
        )
    parts = [
        key.encode() if type(key) is str and key.isascii() else key_bytes(key, at)
        for at, key in enumerate(_key_tuple(keys))
    ]
    text = b"".join(parts)
    ends = ffi.new("uint64_t[]", [0, *accumulate(map(len, parts))])
    return ffi.from_buffer(text), len(text), ends, 8, len(parts)


def find_buffers(version: Version, buffers: Buffers, out: Any, width: int) -> None:
    """Write the index of each key's server to `out`, which has items of `width` bytes."""
    count = buffers[-1]
    valid = lib.find_packed(version[0], *buffers, ffi.from_buffer(out), width)
    if valid < count:
        raise ValueError(
            f"invalid offsets of keys[{valid}]: must ascend and end within the data, "
            f"{buffers[1]} bytes"
        )


def _indexes(version: Version, buffers: Buffers) -> bytearray:
    out = bytearray(4 * buffers[-1])
    find_buffers(version, buffers, out, 4)
    return out


def _addresses(self: Lookups, keys: Iterable[Any] | Packed) -> list[str]:
    buffers = packed_buffers(keys)
    version = self._follow()
    addresses = version[1]
    return [addresses[index] for index in memoryview(_indexes(version, buffers)).cast("I")]


def successors(version: Version, data: bytes, at_once: int) -> Iterator[str]:
    """Yield the servers' addresses in ring order, starting at a key, each once.

    at_once: how many to request first, at least 1; doubled each time more are needed.
    """
    handle, addresses, _ = version
    servers = len(addresses)
    seen: set[str] = set()
    before = 0
    while True:
        at_once = min(at_once, servers)
        out = ffi.new("uint32_t[]", at_once)
        count = lib.ketama_successors(handle, data, len(data), out, at_once)
        if count < 0:
            raise MemoryError
        for index in out[before:count]:
            address = addresses[index]
            if address not in seen:  # the file may list it twice
                seen.add(address)
                yield address
        if count < at_once or at_once == servers:
            return
        before, at_once = count, 2 * at_once


def fastest() -> type[Lookups]:
    """Return the accelerator's class, or `Lookups` if it is missing or KETAMA_SPEEDUPS=0."""
    if os.environ.get("KETAMA_SPEEDUPS") == "0":
        return Lookups
    try:
        from ketama import _speedups

        return _speedups.make_class(lib.speedups_functions(), Lookups, Packed)
    except ImportError:
        return Lookups
