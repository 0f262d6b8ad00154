"""Buffers: many keys in one, and what indexes are written to."""

from __future__ import annotations

import sys

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

    Nothing is copied. It has a length, and iterating gives each key as bytes.

    Raises TypeError where one of the two is no such buffer, ValueError where there are no
    offsets at all. Offsets that lead out of the data, or descend, are found when the keys are
    looked up: a ValueError that names the first such key.

    >>> from array import array
    >>> list(Packed(b"onetwothree", array("I", [0, 3, 6, 11])))
    [b'one', b'two', b'three']
    """

    __slots__ = ("data", "offsets")

    data: memoryview
    offsets: memoryview

    def __init__(self, data: Buffer, offsets: Buffer) -> None:
        self.data = _contiguous("data", data)
        self.offsets = _contiguous("offsets", offsets)
        if (
            _kind(self.offsets) not in {"i", "I", "l", "L", "q", "Q"}
            or self.offsets.itemsize not in (4, 8)
            or self.offsets.ndim != 1
        ):
            raise TypeError(
                "offsets must be integers of 4 or 8 bytes, in one dimension, not items of "
                f"format {self.offsets.format!r} in {self.offsets.ndim}"
            )
        if len(self.offsets) == 0:
            raise ValueError("offsets are one more than the keys, so at least one")

    @classmethod
    def of(cls, keys: list[bytes]) -> Packed:
        """Pack keys that are in memory one by one."""
        from array import array
        from itertools import accumulate

        return cls(b"".join(keys), array("Q", accumulate(map(len, keys), initial=0)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[bytes]:
        data = self.data.cast("B") if self.data.nbytes else memoryview(b"")
        for start, end in zip(self.offsets, self.offsets[1:], strict=False):
            yield bytes(data[start:end])

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


def _kind(view: memoryview) -> str:
    """Give an item's format without its byte order, where that is the machine's."""
    return view.format.lstrip("@=" + ("<" if sys.byteorder == "little" else ">"))


def output(out: Any) -> tuple[memoryview, int]:
    """Give a buffer that indexes can be written to, and the bytes of an item."""
    try:
        view = memoryview(out)
    except TypeError:
        view = memoryview(b"")
    if _kind(view) not in {"H", "I", "L"} or view.itemsize not in (2, 4) or view.readonly:
        raise TypeError(
            f"out must be a writable array of uint32 or uint16, not {type(out).__name__}"
        )
    if view.ndim != 1 or not view.c_contiguous:
        raise TypeError("out must be contiguous, in one dimension")
    return view, view.itemsize


def check_output(view: memoryview, keys: int, servers: int) -> None:
    """Raise ValueError where the indexes of so many keys and servers do not fit."""
    if len(view) != keys:
        raise ValueError(f"out has {len(view)} items, and there are {keys} keys")
    if view.itemsize == 2 and servers > 2**16:
        raise ValueError(f"out has 16 bits for an index, and there are {servers} servers")
