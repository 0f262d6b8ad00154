"""The ways to search a ring, among unordered points; points[i] is the point of server i.

Of equal points, that of the first server counts.
"""

from __future__ import annotations


def at_or_after(points: list[int], h: int) -> int:
    """Return the server of the first point >= h, or of the smallest if there is none."""
    return min(range(len(points)), key=lambda i: (points[i] - h) % 2**32)


def after(points: list[int], h: int) -> int:
    """Return the server of the first point > h, or of the smallest if there is none."""
    return min(range(len(points)), key=lambda i: (points[i] - h - 1) % 2**32)


def at_or_before(points: list[int], h: int) -> int:
    """Return the server of the last point <= h, or of the largest if there is none."""
    return min(range(len(points)), key=lambda i: (h - points[i]) % 2**32)


SEARCHES = {">=": at_or_after, ">": after, "<=": at_or_before}
