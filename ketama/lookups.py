"""Lookups: of one key and of many. The class here asks libketama through cffi.

Where the accelerator, ketama._speedups, was compiled, `fastest` gives its class, which does
the same for the common kinds of keys, and calls this one for all others.
"""

from __future__ import annotations

import os
from itertools import accumulate

from ketama._ketama import ffi, lib
from ketama.buffers import Packed, kind
from ketama.keys import NUL_MESSAGE, key_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator
    from typing import Any, ClassVar, TypeAlias, TypeVar, overload

    from ketama.keys import Key

    AnyKey = TypeVar("AnyKey", bound=Key)
    # data, its bytes, offsets, the bytes of one (negative: signed), number of keys
    Buffers: TypeAlias = tuple[Any, int, Any, int, int]
    # The handle, its servers' addresses, and where in memory the handle is.
    Version: TypeAlias = tuple[Any, tuple[str, ...], int]

# Looked up once, as each dot on the way to an answer costs as much as finding the point.
_find: Callable[[Any, bytes, int], int] = lib.find
_find_index: Callable[[Any, bytes, int], int] = lib.find_index
_find_text: Callable[[Any, bytes, int], int] = lib.find_text


class Lookups:
    """What a Continuum answers from its version, `_now`."""

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
        """Give the address of the server that a key belongs to.

        key: str (its UTF-8 is hashed), bytes, bytearray or memoryview; any bytes, any length.
        exclude: a set of addresses, such as those of servers that are down. The key then
            goes to the first of its `successors` that is not among them; None where all are.
        Raises TypeError for any other type.
        """
        if exclude is not None:
            return _lookup_outside(self, key, exclude)
        handle, addresses, _ = self._now
        data = key.encode() if type(key) is str else key_bytes(key)
        try:
            return addresses[_find_index(handle, data, len(data))]
        except IndexError:
            return _follow_and_find(self, data)[1]

    __getitem__ = lookup
    # Without these two, Python would take what has __getitem__ for a sequence.
    __iter__: ClassVar[None] = None
    __contains__: ClassVar[None] = None

    def get_server(self, key: Key) -> tuple[int, str]:
        """Give the point that a key meets, 0 to 2**32 - 1, and its server's address.

        As in python_ketama, a key with a NUL byte is a TypeError: libketama would end it
        there and, maybe, give another server. `lookup` takes any bytes.
        """
        handle, addresses, _ = self._now
        data = key.encode() if type(key) is str else key_bytes(key)
        found = _find_text(handle, data, len(data))
        try:
            return found & 0xFFFFFFFF, addresses[found >> 32]
        except IndexError:
            if found == lib.NUL_IN_KEY:
                raise TypeError(NUL_MESSAGE) from None
            return _follow_and_find(self, data)

    def _meet(self, key: Key) -> tuple[int, str]:
        """Give a key's point and its server's address; NUL bytes are part of the key."""
        handle, addresses, _ = self._now
        data = key.encode() if type(key) is str else key_bytes(key)
        found = _find(handle, data, len(data))
        try:
            return found & 0xFFFFFFFF, addresses[found >> 32]
        except IndexError:
            return _follow_and_find(self, data)

    def lookup_many(self, keys: Iterable[Key] | Packed) -> list[str]:
        """Give the address for each of many keys, in the order of the keys.

        keys: any iterable of what `lookup` takes, mixed as you like, or `Packed` keys. They
            are hashed side by side: from a handful on, and the more so the more there are,
            a key takes a fraction of the time that it takes alone.
        Raises TypeError where a key is of another type, and names its position, from 0. All
        keys are looked up in one version of the continuum, also while another thread rolls.
        """
        return _addresses(self, keys)

    def group_by_server(self, keys: Iterable[AnyKey]) -> dict[str, list[AnyKey]]:
        """Give for each server that is met the keys that belong to it: what a get_multi needs.

        keys: as for `lookup_many`. The lists have the key objects that were given, in the
            order in which they were given, and `Packed` keys as bytes.
        Raises what `lookup_many` raises.
        """
        items = keys if isinstance(keys, Packed) else _several(keys)
        groups: dict[str, list[AnyKey]] = {}
        for key, address in zip(items, _addresses(self, items), strict=True):
            groups.setdefault(address, []).append(key)
        return groups

    def _index_each(self, keys: Iterable[Key] | Packed) -> tuple[Any, int]:
        """Give each key's server's index in four bytes, and how many servers there are."""
        buffers = packed_buffers(keys)
        version = self._follow()
        return _indexes(version, buffers), len(version[1])


def _follow_and_find(self: Lookups, data: bytes) -> tuple[int, str]:
    """Answer a lookup that was told to roll first."""
    self._roll_quietly()
    handle, addresses, _ = self._now
    found = lib.find_now(handle, data, len(data))
    return found & 0xFFFFFFFF, addresses[found >> 32]


def _lookup_outside(self: Lookups, key: Key, exclude: Container[str]) -> str | None:
    if isinstance(exclude, (str, bytes, bytearray)) or not hasattr(exclude, "__contains__"):
        raise TypeError(f"exclude must be a set of addresses, not {type(exclude).__name__}")
    data = key_bytes(key)
    for address in successors(self._follow(), data, 4):
        if address not in exclude:
            return address
    return None


def _several(keys: Iterable[Any]) -> tuple[Any, ...]:
    """Take keys out of an iterable, once."""
    if isinstance(keys, (str, bytes, bytearray, memoryview)):
        raise TypeError(
            f"keys must be an iterable of keys, and this is one key: {type(keys).__name__}"
        )
    return tuple(keys)


def packed_buffers(keys: Iterable[Any] | Packed) -> Buffers:
    """Give keys as one buffer: data, offsets, their number, and what to tell C of them."""
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
        for at, key in enumerate(_several(keys))
    ]
    text = b"".join(parts)
    ends = ffi.new("uint64_t[]", [0, *accumulate(map(len, parts))])
    return ffi.from_buffer(text), len(text), ends, 8, len(parts)


def find_buffers(version: Version, buffers: Buffers, out: Any, width: int) -> None:
    """Write the index of each key's server to `out`, whose items have so many bytes."""
    count = buffers[-1]
    wrong = lib.find_packed(version[0], *buffers, ffi.from_buffer(out), width)
    if wrong < count:
        raise ValueError(
            f"keys[{wrong}] is not in the data, which has {buffers[1]} bytes: its offsets lead "
            "out of it, or backwards"
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
    """Give the servers' addresses in the circle's order from a key on, each once.

    at_once: how many to ask for at first, at least 1; it doubles as often as more are needed.
    """
    handle, addresses, _ = version
    servers = len(addresses)
    given: set[str] = set()
    before = 0
    while True:
        at_once = min(at_once, servers)
        out = ffi.new("uint32_t[]", at_once)
        count = lib.ketama_successors(handle, data, len(data), out, at_once)
        if count < 0:
            raise MemoryError
        for index in out[before:count]:
            address = addresses[index]
            if address not in given:  # it may stand in the file twice
                given.add(address)
                yield address
        if count < at_once or at_once == servers:
            return
        before, at_once = count, 2 * at_once


def fastest() -> type[Lookups]:
    """Give the accelerator's class where there is one and KETAMA_SPEEDUPS is not 0."""
    if os.environ.get("KETAMA_SPEEDUPS") == "0":
        return Lookups
    try:
        from ketama import _speedups

        return _speedups.make_class(lib.speedups_functions(), Lookups, Packed)
    except ImportError:
        return Lookups
