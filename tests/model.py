"""The ring of docs/algorithm.md in plain Python, to compare the library with."""

from __future__ import annotations

from fractions import Fraction
from hashlib import md5


def float32(x: Fraction | int) -> Fraction:
    """Round a non-negative number to the nearest single-precision one, half to even."""
    x = Fraction(x)
    if x == 0:
        return x
    exponent = x.numerator.bit_length() - x.denominator.bit_length() - 24
    while x >= Fraction(2) ** (exponent + 24):
        exponent += 1
    while x < Fraction(2) ** (exponent + 23):
        exponent -= 1
    return round(x / Fraction(2) ** exponent) * Fraction(2) ** exponent


def digests(weight: int, total: int, servers: int) -> int:
    """How many MD5 digests, of four points each, a server gets."""
    part = float32(float32(weight) / float32(total))
    return int(float32(Fraction(float(part) * 40.0 * float(float32(servers)))))


def hash_of(key: bytes) -> int:
    return int.from_bytes(md5(key).digest()[:4], "little")


class Ring:
    """servers: (address, weight) in the order of the file."""

    def __init__(self, servers: list[tuple[str, int]]) -> None:
        total = sum(weight for _, weight in servers)
        self.points: list[tuple[int, int]] = []
        for index, (address, weight) in enumerate(servers):
            for k in range(digests(weight, total, len(servers))):
                digest = md5(f"{address}-{k}".encode()).digest()
                for i in range(0, 16, 4):
                    self.points.append((int.from_bytes(digest[i : i + 4], "little"), index))
        self.points.sort(key=lambda point: point[0])  # stable: ties stay in the file's order

    def find(self, h: int) -> tuple[int, int]:
        """The first point at or after a hash, and its server's index."""
        return next((point for point in self.points if point[0] >= h), self.points[0])

    def servers_from(self, h: int) -> list[int]:
        """The servers' indexes in the order of the points from a hash on, with repetitions."""
        later = [server for point, server in self.points if point >= h]
        return later + [server for point, server in self.points if point < h]

    def arcs(self, servers: int) -> list[int]:
        """How many of the 2**32 hashes each server owns."""
        owned = [0] * servers
        for (point, server), (before, _) in zip(
            self.points, [self.points[-1], *self.points], strict=False
        ):
            owned[server] += (point - before) % 2**32
        return owned


def at_or_after(points: list[int], h: int) -> int:
    """The server of the first point >= h, past the last one of the smallest.

    points[i] is the point of server i. Of equal points, that of the first server counts.
    """
    return min(range(len(points)), key=lambda i: (points[i] - h) % 2**32)


def after(points: list[int], h: int) -> int:
    """The server of the first point > h, past the last one of the smallest."""
    return min(range(len(points)), key=lambda i: (points[i] - h - 1) % 2**32)


def at_or_before(points: list[int], h: int) -> int:
    """The server of the last point <= h, below the smallest of the largest."""
    return min(range(len(points)), key=lambda i: (h - points[i]) % 2**32)


SEARCHES = {">=": at_or_after, ">": after, "<=": at_or_before}
