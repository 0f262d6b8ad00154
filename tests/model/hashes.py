"""The hash functions of the dialects, from bytes to 32 bits, in plain Python."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from hashlib import md5 as _md5
from hashlib import sha1, sha384

from model.xxh3 import xxh3_64

Hash = Callable[[bytes], int]
MASK = 0xFFFFFFFF


def signed(byte: int) -> int:
    """Return a byte as x86's char, extended to 32 bits."""
    return byte if byte < 0x80 else (byte - 256) & MASK


def word(data: bytes, at: int = 0) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def rotated(x: int, by: int) -> int:
    return (x << by | x >> (32 - by)) & MASK


def md5(data: bytes) -> int:
    return word(_md5(data).digest())


def sha384_word(data: bytes) -> int:
    return word(sha384(data).digest())


def sha1_big_endian(data: bytes) -> int:
    return int.from_bytes(sha1(data).digest()[:4], "big")


def one_at_a_time(data: bytes) -> int:
    h = 0
    for byte in data:
        h = (h + signed(byte)) & MASK
        h = (h + (h << 10)) & MASK
        h ^= h >> 6
    h = (h + (h << 3)) & MASK
    h ^= h >> 11
    return (h + (h << 15)) & MASK


def fnv1(start: int, factor: int, extended: Callable[[int], int]) -> Hash:
    def function(data: bytes) -> int:
        h = start
        for byte in data:
            h = h * factor & MASK ^ extended(byte)
        return h

    return function


def fnv1a(start: int, factor: int, extended: Callable[[int], int]) -> Hash:
    def function(data: bytes) -> int:
        h = start
        for byte in data:
            h = (h ^ extended(byte)) * factor & MASK
        return h

    return function


# Start and factor of 32 bits, and the low halves of those of 64 bits.
BITS_32 = 2166136261, 16777619
BITS_64 = 0x84222325, 0x1B3


def crc(data: bytes) -> int:
    """Return libmemcached's CRC, of 15 bits."""
    return zlib.crc32(data) >> 16 & 0x7FFF


def crc16(data: bytes) -> int:
    """Return twemproxy's CRC-16, whose register is never cut to 16 bits."""
    c = 0
    for byte in data:
        entry = (c >> 8 ^ byte & 0xFF) << 8 & 0xFF00
        for _ in range(8):
            entry = (entry << 1 ^ (0x1021 if entry & 0x8000 else 0)) & 0xFFFF
        c = c << 8 & MASK ^ entry
    return c


def hsieh(data: bytes) -> int:
    h = 0
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        h = (h + word(data, at) % 2**16) & MASK
        h = (h << 16 ^ word(data, at) >> 16 << 11 ^ h) & MASK
        h = (h + (h >> 11)) & MASK
    tail = data[whole:]
    if len(tail) == 3:
        h = (h + word(tail[:2])) & MASK
        h = (h ^ h << 16 ^ signed(tail[2]) << 18) & MASK
        h = (h + (h >> 11)) & MASK
    elif len(tail) == 2:
        h = (h + word(tail)) & MASK
        h = (h ^ h << 11) & MASK
        h = (h + (h >> 17)) & MASK
    elif len(tail) == 1:
        h = (h + tail[0]) & MASK
        h = (h ^ h << 10) & MASK
        h = (h + (h >> 1)) & MASK
    for left, right in ((3, 5), (4, 17), (25, 6)):
        h = (h ^ h << left) & MASK
        h = (h + (h >> right)) & MASK
    return h


def murmur(data: bytes) -> int:
    """Return MurmurHash2."""
    m = 0x5BD1E995
    h = (0xDEADBEEF * len(data)) & MASK ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = word(data, at) * m & MASK
        k = (k ^ k >> 24) * m & MASK
        h = h * m & MASK ^ k
    if whole < len(data):
        h = (h ^ word(data, whole)) * m & MASK
    h = (h ^ h >> 13) * m & MASK
    return h ^ h >> 15


def murmur3(data: bytes) -> int:
    """Return MurmurHash3 x86_32."""
    h = 0xDEADBEEF * len(data) & MASK
    for at in range(0, len(data), 4):  # the last word may be short
        h ^= rotated(word(data, at) * 0xCC9E2D51 & MASK, 15) * 0x1B873593 & MASK
        if at + 4 <= len(data):
            h = (rotated(h, 13) * 5 + 0xE6546B64) & MASK
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & MASK
    return h ^ h >> 16


def jenkins(data: bytes) -> int:
    """Return lookup3's hashlittle."""
    a = b = c = (0xDEADBEEF + len(data) + 13) & MASK
    if not data:
        return c
    last = (len(data) - 1) // 12 * 12
    for at in range(0, last, 12):
        a = (a + word(data, at)) & MASK
        b = (b + word(data, at + 4)) & MASK
        c = (c + word(data, at + 8)) & MASK
        for by in (4, 6, 8, 16, 19, 4):  # the three words change places at each step
            a, c = (a - c) & MASK ^ rotated(c, by), (c + b) & MASK
            a, b, c = b, c, a
    a = (a + word(data, last)) & MASK
    b = (b + word(data, last + 4)) & MASK
    c = (c + word(data, last + 8)) & MASK
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - rotated(b, by)) & MASK
        a, b, c = b, c, a
    return b


def xxh3(data: bytes, seed: int = 0) -> int:
    return xxh3_64(data, seed) & MASK


HASHES: dict[str, Hash] = {
    "md5": md5,
    "one_at_a_time": one_at_a_time,
    "fnv1_32": fnv1(*BITS_32, signed),
    "fnv1a_32": fnv1a(*BITS_32, signed),
    "fnv1_64": fnv1(*BITS_64, signed),
    "fnv1a_64": fnv1a(*BITS_64, signed),
    "crc": crc,
    "crc32a": zlib.crc32,
    "crc16": crc16,
    "hsieh": hsieh,
    "murmur": murmur,
    "murmur3": murmur3,
    "jenkins": jenkins,
    "xxh3": xxh3,
    "sha384": sha384_word,
    "fnv1_32_unsigned": fnv1(*BITS_32, int),
    "fnv1a_32_unsigned": fnv1a(*BITS_32, int),
}
