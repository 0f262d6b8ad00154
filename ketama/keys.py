"""Keys, and where they are on the circle."""

from __future__ import annotations

from ketama._ketama import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

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
    # What it holds, whatever a subclass says of it.
    if isinstance(key, bytes):
        return bytes.__getitem__(key, slice(None))
    if isinstance(key, bytearray):
        return bytes(bytearray.__getitem__(key, slice(None)))
    if isinstance(key, memoryview):
        return bytes(key)
    name = "key" if at is None else f"keys[{at}]"
    raise TypeError(
        f"{name} must be str, bytes, bytearray or memoryview, not {type(key).__name__}"
    )


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
