"""Keys, one and many, and where they are on the circle."""

from __future__ import annotations

import sys

from ketama._ketama import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeAlias

    Buffer: TypeAlias = Any  # collections.abc.Buffer, from CPython 3.12 on
    Key: TypeAlias = str | bytes | bytearray | memoryview

NUL_MESSAGE = "key has a NUL byte, where libketama would end it; lookup() takes any bytes"


_hash: Callable[[bytes, int], int] = lib.ketama_hash


def key_bytes(key: object, at: int | None = None) -> bytes:
    """Give a key's bytes: str is UTF-8, bytes-like passes through, the rest is a TypeError.

    at: its position among several keys, for the error.
    """
    if isinstance(key, str):
        try:
            return str.encode(key)
        except UnicodeEncodeError as error:
            if at is not None:
                error.reason += f", in keys[{at}]"
            raise
    if isinstance(key, (bytes, bytearray, memoryview)):
        return bytes(memoryview(key))  # what it holds, whatever a subclass says of it
    name = "key" if at is None else f"keys[{at}]"
    raise TypeError(
        f"{name} must be str, bytes, bytearray or memoryview, not {type(key).__name__}"
    )


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
        kind = self.offsets.format.lstrip("@=" + ("<" if sys.byteorder == "little" else ">"))
        if (
            kind not in {"i", "I", "l", "L", "q", "Q"}
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


def hashi(key: Key) -> int:
    """Give a key's place on the circle, 0 to 2**32 - 1, as libketama's ketama_hashi.

    It is the first four bytes of the key's MD5, little-endian.

    Raises TypeError for a key that is neither text nor bytes, or has a NUL byte in it:
    libketama would end the key there.

    >>> hashi("test")
    3446378249
    """
    data = key.encode() if type(key) is str else key_bytes(key)
    if b"\0" in data:
        raise TypeError(NUL_MESSAGE)
    return _hash(data, len(data))


def md5_digest(key: Key) -> bytes:
    """Give the MD5 of a key of any bytes: 16 bytes.

    >>> md5_digest("test").hex()
    '098f6bcd4621d373cade4e832627b4f6'
    """
    data = key_bytes(key)
    digest = bytearray(16)
    lib.ketama_md5(data, len(data), ffi.from_buffer("unsigned char[]", digest))
    return bytes(digest)
