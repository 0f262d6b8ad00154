"""The points of a server, from its name and its number of labels."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from hashlib import md5, sha384

from model.hashes import word

Layout = Callable[[str, int], Iterable[int]]


def words(digest: bytes, count: int) -> list[int]:
    return [word(digest, 4 * i) for i in range(count)]


def md5_words(label: bytes, count: int = 4) -> list[int]:
    return words(md5(label).digest(), count)


def sha384_words(label: bytes) -> list[int]:
    return words(sha384(label).digest(), 4)


def hashed_labels(points_of: Callable[[bytes], list[int]], joint: str = "-") -> Layout:
    """Return the layout of hashed labels: name, joint, and a number in decimal."""

    def layout(name: str, count: int) -> Iterable[int]:
        for k in range(count):
            yield from points_of(f"{name}{joint}{k}".encode())

    return layout


def one_point(function: Callable[[bytes], int]) -> Layout:
    return hashed_labels(lambda label: [function(label)])


def crc_chain(name: str, count: int) -> Iterable[int]:
    """Yield a server's points in nginx, where each one is made from the one before."""
    base, point = zlib.crc32(name.encode()), 0
    for _ in range(count):
        point = zlib.crc32(point.to_bytes(4, "little"), base)
        yield point


md5_labels = hashed_labels(md5_words)
