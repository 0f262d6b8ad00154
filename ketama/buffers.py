"""Buffers: many keys in one object, and arrays that indexes are written to."""

from __future__ import annotations

import collections.abc
import sys
from collections.abc import Iterator
from itertools import pairwise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Buffer: TypeAlias = Any
else:
    Buffer = getattr(collections.abc, "Buffer", object)  # new in Python 3.12


class Packed:
    """Many keys in one buffer, in the layout of Arrow's string and binary arrays.

    data: the concatenated bytes of the keys, in any contiguous buffer: bytes, a memoryview,
        a NumPy array.
    offsets: where each key begins in `data`, in bytes, and where the last one ends: one item
        more than there are keys, ascending, 4-byte or 8-byte integers in native byte order.
        Cast untyped buffers, such as Arrow's own: memoryview(buffer).cast("i").

    Copies nothing. Supports len(); iteration yields each key as bytes. A slice of an Arrow
    array shares its parent's buffers: pass the offsets from [slice.offset] on.

    Raises TypeError for any other object, ValueError if there are no offsets. Offsets that
    descend or exceed the data are detected when the keys are looked up: a ValueError that
    names the first such key.

    >>> from array import array
    >>> list(Packed(b"onetwothree", array("I", [0, 3, 6, 11])))
    [b'one', b'two', b'three']
    """

    __slots__ = ("_buffers",)

    # One attribute, so that a concurrent __init__ never pairs old data with new offsets.
    _buffers: tuple[memoryview, memoryview]

    def __init__(self, data: Buffer, offsets: Buffer) -> None:
        text, bounds = _contiguous("data", data), _contiguous("offsets", offsets)
        if (
            kind(bounds) not in {"i", "I", "l", "L", "q", "Q"}
            or bounds.itemsize not in (4, 8)
            or bounds.ndim != 1
        ):
            raise TypeError(
                "offsets must be 4-byte or 8-byte integers in one dimension, not of format "
                f"{bounds.format!r} in {bounds.ndim}"
            )
        if len(bounds) == 0:
            raise ValueError("invalid offsets: must have one item more than there are keys")
        self._buffers = text, bounds

    @property
    def data(self) -> memoryview:
        """The concatenated bytes of the keys."""
        return self._buffers[0]

    @property
    def offsets(self) -> memoryview:
        """Where each key begins in the data, and where the last one ends."""
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
            f"{name} must be an object with a buffer, not {type(buffer).__name__}"
        ) from None
    if not view.c_contiguous:
        raise TypeError(f"{name} must be contiguous")
    return view


def kind(view: memoryview) -> str:
    """Return the format of a view's items, without the byte order if that is native."""
    return view.format.lstrip("@=" + ("<" if sys.byteorder == "little" else ">"))


def output(out: Any, keys: int, servers: int) -> memoryview:
    """Return a view of `out`, checked to hold the indexes of that many keys and servers."""
    try:
        view = memoryview(out)
    except TypeError:
        view = memoryview(b"")
    if kind(view) not in {"H", "I", "L"} or view.itemsize not in (2, 4) or view.readonly:
        raise TypeError(
            f"out must be a writable array of uint32 or uint16, not {type(out).__name__}"
        )
    if view.ndim != 1 or not view.c_contiguous:
        raise TypeError("out must be contiguous and one-dimensional")
    if len(view) != keys:
        raise ValueError(f"invalid out of {len(view)} items: must have one per key, {keys}")
    if view.itemsize == 2 and servers > 2**16:
        raise ValueError(f"invalid out of uint16: must be uint32 for {servers} servers")
    return view
