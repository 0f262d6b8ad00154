"""Buffers: many keys in one, and what indexes are written to."""

from __future__ import annotations

import sys
from itertools import pairwise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeAlias

    Buffer: TypeAlias = Any  # collections.abc.Buffer, from CPython 3.12 on


class Packed:
    """Many keys in one buffer, as Arrow's string and binary arrays have them.

    data: the keys' bytes, one behind the other: bytes, a memoryview, a NumPy array of bytes,
        whatever has a contiguous buffer.
    offsets: where in the data each key begins, and where the last one ends: one more than
        there are keys, ascending, integers of 4 or 8 bytes in the machine's order. Buffers
        without a type, such as Arrow's own, need one: memoryview(buffer).cast("i").

    Nothing is copied. It has a length, and iterating gives each key as bytes. A slice of an
    Arrow array has its parent's buffers: take the offsets from [slice.offset] on.

    Raises TypeError where one of the two is no such buffer, ValueError where there are no
    offsets at all. Offsets that lead out of the data, or descend, are found when the keys are
    looked up: a ValueError that names the first such key.

    >>> from array import array
    >>> list(Packed(b"onetwothree", array("I", [0, 3, 6, 11])))
    [b'one', b'two', b'three']
    """

    __slots__ = ("_buffers",)

    # Both in one, so that nobody ever sees the data of one and the offsets of another.
    _buffers: tuple[memoryview, memoryview]

    def __init__(self, data: Buffer, offsets: Buffer) -> None:
        text, places = _contiguous("data", data), _contiguous("offsets", offsets)
        if (
            kind(places) not in {"i", "I", "l", "L", "q", "Q"}
            or places.itemsize not in (4, 8)
            or places.ndim != 1
        ):
            raise TypeError(
                "offsets must be integers of 4 or 8 bytes, in one dimension, not items of "
                f"format {places.format!r} in {places.ndim}"
            )
        if len(places) == 0:
            raise ValueError("offsets are one more than the keys, so at least one")
        self._buffers = text, places

    @property
    def data(self) -> memoryview:
        """The keys' bytes."""
        return self._buffers[0]

    @property
    def offsets(self) -> memoryview:
        """Where the keys are in the data."""
        return self._buffers[1]

    def __len__(self) -> int:
        return len(self._buffers[1]) - 1

    def __iter__(self) -> Iterator[bytes]:
        data, offsets = self._buffers
        text = data.cast("B") if data.nbytes else memoryview(b"")
        for start, end in pairwise(offsets):
            yield bytes(text[start:end])

    def __repr__(self) -> str:
        return f"<ketama.Packed of {len(self)} keys>"


def _contiguous(name: str, buffer: Any) -> memoryview:
    try:
        view = memoryview(buffer)
    except TypeError:
        raise TypeError(
            f"{name} must have a buffer, and {type(buffer).__name__} has none"
        ) from None
    if not view.c_contiguous:
        raise TypeError(f"{name} must be contiguous")
    return view


def kind(view: memoryview) -> str:
    """Give an item's format without its byte order, where that is the machine's."""
    return view.format.lstrip("@=" + ("<" if sys.byteorder == "little" else ">"))


def output(out: Any, keys: int, servers: int) -> memoryview:
    """Give the buffer that indexes of so many keys and servers are to be written to."""
    try:
        view = memoryview(out)
    except TypeError:
        view = memoryview(b"")
    if kind(view) not in {"H", "I", "L"} or view.itemsize not in (2, 4) or view.readonly:
        raise TypeError(
            f"out must be a writable array of uint32 or uint16, not {type(out).__name__}"
        )
    if view.ndim != 1 or not view.c_contiguous:
        raise TypeError("out must be contiguous, in one dimension")
    if len(view) != keys:
        raise ValueError(f"out has {len(view)} items, and there are {keys} keys")
    if view.itemsize == 2 and servers > 2**16:
        raise ValueError(f"out has 16 bits for an index, and there are {servers} servers")
    return view
