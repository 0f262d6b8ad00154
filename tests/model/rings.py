"""A ring of servers, and the key's server on it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import Any

from model.names import RefusedError
from model.profiles import Row, row_of

HASHES = 2**32
POINTS_MAX = 2**31 - 1
Listed = tuple[str, int] | tuple[str, int, str | None]


def position(points: list[int], search: str, h: int) -> int:
    """Return the position of the point that a hash finds among ascending points.

    Of equal points, the first one is found.
    """
    if search == "last <=":
        return bisect_left(points, points[bisect_right(points, h) - 1])
    if search == ">":
        return bisect_right(points, h) % len(points)
    if search == ">=, or the largest below all" and h < points[0]:
        return bisect_left(points, points[-1])
    return bisect_left(points, h) % len(points)


class Ring:
    """A ring of (address, weight) or (address, weight, name), in file order.

    Raises RefusedError where the profile's program could not use the list.
    """

    def __init__(
        self, servers: list[Any], profile: str = "libketama", **options: str | int | None
    ) -> None:
        listed = [(*server, None)[:3] for server in servers]
        self.row = row_of(profile, options, any(weight > 1 for _, weight, _ in listed))
        names = names_of(listed, self.row)
        total = sum(weight for _, weight, _ in listed)
        counts = [self.row.count(weight, total, len(listed)) for _, weight, _ in listed]
        if sum(counts) * self.row.points_per_label > POINTS_MAX:
            raise RefusedError("too many points")
        self.points: list[tuple[int, int]] = []
        for index in sorted(range(len(names)), key=lambda i: self.row.order(i, names[i])):
            self.points += [(p, index) for p in self.row.layout(names[index], counts[index])]
        self.points.sort(key=lambda point: point[0])  # stable: equal points stay in that order
        if self.row.takes_turns:
            self.points = in_turns(self.points)
        self.ascending = [point for point, _ in self.points]

    def find(self, h: int) -> tuple[int, int]:
        """Return the point that a hash finds, and its server's index."""
        return self.points[position(self.ascending, self.row.search, h)]

    def hash_key(self, key: bytes) -> int:
        """Return a key's hash, which is that of a part of it in some dialects."""
        return self.row.hash(self.row.part(key))

    def find_key(self, key: bytes) -> int:
        """Return the index of a key's server."""
        return self.find(self.hash_key(key))[1]

    def servers_from(self, h: int) -> list[int]:
        """Return the server's index of each point in ring order from a hash on."""
        at = bisect_left(self.ascending, h)
        return [server for _, server in self.points[at:] + self.points[:at]]

    def arcs(self, servers: int) -> list[int]:
        """Return how many of the 2**32 hashes each server owns."""
        begins = sorted(
            {0, *self.ascending, *((point + 1) % HASHES for point in self.ascending)}
        )
        owned = [0] * servers
        for begin, end in zip(begins, [*begins[1:], HASHES], strict=True):
            owned[self.find(begin)[1]] += end - begin
        return owned


def names_of(servers: list[tuple[str, int, str | None]], row: Row) -> list[str]:
    """Return what stands for each server in labels."""
    if row.is_unnamed and any(name is not None for _, _, name in servers):
        raise RefusedError("a name of no use")
    names = [row.name(a) if name is None else name for a, _, name in servers]
    for _, _, name in servers:
        if name is not None and names.count(name) > 1:
            raise RefusedError(f"{name}: a name that is taken")
    if row.has_unique_names and len(set(names)) < len(names):
        raise RefusedError("two servers have one name")
    return names


def in_turns(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return points of which m equal ones begin with number (point mod m), not the first."""
    turned = points.copy()
    ascending = [point for point, _ in points]
    for point in {point for point, after in pairwise(ascending) if point == after}:
        equal = slice(bisect_left(ascending, point), bisect_right(ascending, point))
        servers = list(dict.fromkeys(server for _, server in points[equal]))
        found = servers[point % len(servers)]
        turned[equal] = sorted(points[equal], key=lambda at: at[1] != found)
    return turned
