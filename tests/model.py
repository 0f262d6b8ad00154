"""The ring of docs/algorithm.md in plain Python, as a reference for the library."""

from __future__ import annotations

from fractions import Fraction
from hashlib import md5


def float32(x: Fraction | int) -> Fraction:
    """Return a non-negative number rounded to single precision, half to even."""
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
    """Return the number of MD5 digests, of four points each, that a server gets."""
    part = float32(float32(weight) / float32(total))
    return int(float32(Fraction(float(part) * 40.0 * float(float32(servers)))))


def hash_of(key: bytes) -> int:
    return int.from_bytes(md5(key).digest()[:4], "little")


class Ring:
    """A ring of (address, weight) pairs, in file order."""

    def __init__(self, servers: list[tuple[str, int]]) -> None:
        total = sum(weight for _, weight in servers)
        self.points: list[tuple[int, int]] = []
        for index, (address, weight) in enumerate(servers):
            for k in range(digests(weight, total, len(servers))):
                digest = md5(f"{address}-{k}".encode()).digest()
                for i in range(0, 16, 4):
                    self.points.append((int.from_bytes(digest[i : i + 4], "little"), index))
        self.points.sort(key=lambda point: point[0])  # stable: equal points stay in file order

    def find(self, h: int) -> tuple[int, int]:
        """Return the first point at or after a hash, and its server's index."""
        return next((point for point in self.points if point[0] >= h), self.points[0])

    def servers_from(self, h: int) -> list[int]:
        """Return the server's index of each point in ring order from a hash on."""
        later = [server for point, server in self.points if point >= h]
        return later + [server for point, server in self.points if point < h]

    def arcs(self, servers: int) -> list[int]:
        """Return how many of the 2**32 hashes each server owns."""
        owned = [0] * servers
        for (point, server), (before, _) in zip(
            self.points, [self.points[-1], *self.points], strict=False
        ):
            owned[server] += (point - before) % 2**32
        return owned


def at_or_after(points: list[int], h: int) -> int:
    """Return the server of the first point >= h, or of the smallest if there is none.

    points[i] is the point of server i. Of equal points, that of the first server counts.
    """
    return min(range(len(points)), key=lambda i: (points[i] - h) % 2**32)


def after(points: list[int], h: int) -> int:
    """Return the server of the first point > h, or of the smallest if there is none."""
    return min(range(len(points)), key=lambda i: (points[i] - h - 1) % 2**32)


def at_or_before(points: list[int], h: int) -> int:
    """Return the server of the last point <= h, or of the largest if there is none."""
    return min(range(len(points)), key=lambda i: (h - points[i]) % 2**32)


SEARCHES = {">=": at_or_after, ">": after, "<=": at_or_before}
