"""Lookups of one key and of many.

The class in this module calls libketama through cffi. If the accelerator, ketama._speedups,
was compiled, `fastest` returns its class, which handles str and bytes keys itself and falls
back to this one for all others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable
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
            first of the key's `successors` that is not excluded, or None if all are. Fast
            for a frozenset that is the same object as in the last call.
        Raises TypeError for a key of any other type; UnicodeEncodeError, a ValueError, for a
        str with lone surrogates, which has no UTF-8. This holds for every method that takes
        keys.
        """
        if exclude is not None:
            return _lookup_among(self, key, exclude)
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

    if TYPE_CHECKING:

        @overload
        def lookup_many(self, keys: Iterable[Key] | Packed) -> list[str]: ...
        @overload
        def lookup_many(self, keys: Iterable[Key] | Packed, exclude: None) -> list[str]: ...
        @overload
        def lookup_many(
            self, keys: Iterable[Key] | Packed, exclude: Container[str]
        ) -> list[str | None]: ...

    def lookup_many(
        self, keys: Iterable[Key] | Packed, exclude: Container[str] | None = None
    ) -> list[str] | list[str | None]:
        """Return the server's address for each of many keys, in the order of the keys.

        keys: any iterable of keys as for `lookup`, types mixed at will, or `Packed` keys.
            Several keys are hashed in parallel: from a handful on, each takes a fraction of
            the time of a single lookup.
        exclude: as for `lookup`.
        Raises TypeError for a key of any other type, and names its position, from 0. All
        keys are looked up in the same version, even if another thread rolls meanwhile.
        """
        return _addresses(self, keys, exclude)

    if TYPE_CHECKING:

        @overload
        def group_by_server(self, keys: Iterable[AnyKey]) -> dict[str, list[AnyKey]]: ...
        @overload
        def group_by_server(
            self, keys: Iterable[AnyKey], exclude: None
        ) -> dict[str, list[AnyKey]]: ...
        @overload
        def group_by_server(
            self, keys: Iterable[AnyKey], exclude: Container[str]
        ) -> dict[str | None, list[AnyKey]]: ...

    def group_by_server(
        self, keys: Iterable[AnyKey], exclude: Container[str] | None = None
    ) -> dict[str, list[AnyKey]] | dict[str | None, list[AnyKey]]:
        """Return the keys of each server, by its address, as a get_multi needs them.

        keys: as for `lookup_many`. The lists hold the key objects that were passed in, in
            the same order; `Packed` keys as bytes. Servers without a key are left out.
        exclude: as for `lookup`. If all servers are excluded, all keys are those of None.
        Raises what `lookup_many` raises.
        """
        items = keys if isinstance(keys, Packed) else _key_tuple(keys)
        groups: dict[str | None, list[AnyKey]] = {}
        for key, address in zip(items, _addresses(self, items, exclude), strict=True):
            groups.setdefault(address, []).append(key)
        return groups

    def _index_each(
        self, keys: Iterable[Key] | Packed, exclude: Container[str] | None = None
    ) -> tuple[Any, int]:
        """Return the index of each key's server, as uint32, and the number of servers."""
        buffers = packed_buffers(keys)
        version = self._follow()
        return _indexes(version, buffers, exclude), len(version[1])


def _roll_and_find(self: Lookups, data: bytes) -> tuple[int, str]:
    """Return a key's point and server after the roll that was due."""
    self._roll_quietly()
    handle, addresses, _ = self._now
    found = lib.find_now(handle, data, len(data))
    return found & 0xFFFFFFFF, addresses[found >> 32]


def mask_of(exclude: Container[str], addresses: tuple[str, ...]) -> bytes:
    """Return a byte for each address, 1 if it is excluded, as libketama reads them."""
    if isinstance(exclude, (str, bytes, bytearray)) or not hasattr(exclude, "__contains__"):
        raise TypeError(f"exclude must be a set of addresses, not {type(exclude).__name__}")
    return bytes([address in exclude for address in addresses])


def _lookup_among(self: Lookups, key: Key, exclude: Container[str]) -> str | None:
    data = key_bytes(key)
    handle, addresses, _ = self._follow()
    mask = mask_of(exclude, addresses)
    found = lib.ketama_find_among(handle, data, len(data), mask, ffi.NULL)
    return None if found == lib.KETAMA_NO_SERVER else addresses[found]


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


def find_buffers(
    version: Version, buffers: Buffers, mask: bytes | None, out: Any, width: int
) -> None:
    """Write the index of each key's server to `out`, which has items of `width` bytes.

    mask: what `mask_of` returns, or None. If all servers are excluded, each index is the
    highest that there is.
    """
    count = buffers[-1]
    excluded = ffi.NULL if mask is None else mask
    valid = lib.find_packed(version[0], *buffers, excluded, ffi.from_buffer(out), width)
    if valid < count:
        raise ValueError(
            f"invalid offsets of keys[{valid}]: must ascend and end within the data, "
            f"{buffers[1]} bytes"
        )


def _indexes(version: Version, buffers: Buffers, exclude: Container[str] | None) -> bytearray:
    out = bytearray(4 * buffers[-1])
    mask = None if exclude is None else mask_of(exclude, version[1])
    find_buffers(version, buffers, mask, out, 4)
    return out


def _addresses(
    self: Lookups, keys: Iterable[Any] | Packed, exclude: Container[str] | None
) -> list[Any]:
    buffers = packed_buffers(keys)
    version = self._follow()
    indexes = memoryview(_indexes(version, buffers, exclude)).cast("I")
    if len(indexes) > 0 and indexes[0] == lib.KETAMA_NO_SERVER:  # then all are
        return [None] * len(indexes)
    addresses = version[1]
    return [addresses[index] for index in indexes]


def successors(version: Version, data: bytes, count: int, mask: bytes | None) -> list[str]:
    """Return at most `count` servers' addresses in ring order, from a key on, each once."""
    handle, addresses, _ = version
    servers = len(addresses)
    excluded = ffi.NULL if mask is None else mask
    distinct: list[str] = []
    # The file may list an address twice: if that makes them too few, ask for all.
    for at_most in (count, servers):
        out = ffi.new("uint32_t[]", at_most)
        found = lib.ketama_successors_among(handle, data, len(data), excluded, out, at_most)
        if found < 0:
            raise MemoryError
        distinct = list(dict.fromkeys([addresses[index] for index in out[0:found]]))
        if len(distinct) == count or found < at_most:
            break
    return distinct[:count]


def fastest() -> type[Lookups]:
    """Return the accelerator's class, or `Lookups` if it is missing or KETAMA_SPEEDUPS=0."""
    if os.environ.get("KETAMA_SPEEDUPS") == "0":
        return Lookups
    try:
        from ketama import _speedups

        return _speedups.make_class(lib.speedups_functions(), Lookups, Packed, mask_of)
    except ImportError:
        return Lookups
