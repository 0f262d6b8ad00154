"""Keys and their hashes."""

from __future__ import annotations

from collections.abc import Callable

from ketama._ketama import ffi, lib

Key = str | bytes | bytearray | memoryview

NUL_MESSAGE = (
    "invalid key: has a NUL byte, at which the 2007 libketama would end it; "
    "use lookup() for any bytes"
)

_hash: Callable[[bytes, int], int] = lib.ketama_hash


def key_bytes(key: object, at: int | None = None) -> bytes:
    """Return a key as bytes; str is encoded as UTF-8.

    at: the key's position among several, from 0, for the error message.
    Raises TypeError for any other type, UnicodeEncodeError for lone surrogates.
    """
    if isinstance(key, str):
        try:
            return str.encode(key)
        except UnicodeEncodeError as error:
            if at is not None:
                error.reason += f", in keys[{at}]"
            raise
    # The contents, even if a subclass overrides __bytes__ or __getitem__.
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
    """Return a key's hash, 0 to 2**32 - 1: the first four bytes of its MD5, little-endian.

    Named after ketama_hashi of the 2007 libketama, which ends a key at a NUL byte.

    Raises TypeError for a key that is neither text nor bytes, or has a NUL byte.

    >>> hashi("test")
    3446378249
    """
    data = key.encode() if type(key) is str else key_bytes(key)
    if b"\0" in data:
        raise TypeError(NUL_MESSAGE)
    return _hash(data, len(data))


def md5_digest(key: Key) -> bytes:
    """Return the MD5 of a key, 16 bytes.

    key: as for `Continuum.lookup`; NUL bytes are part of it.
    Raises TypeError for a key that is neither text nor bytes.

    >>> md5_digest("test").hex()
    '098f6bcd4621d373cade4e832627b4f6'
    """
    data = key_bytes(key)
    digest = bytearray(16)
    lib.ketama_md5(data, len(data), ffi.from_buffer("unsigned char[]", digest))
    return bytes(digest)
