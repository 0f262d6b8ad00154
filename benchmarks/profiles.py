"""Measure each profile's lookups beside its hash alone, and beside the real clients'.

Usage: profiles.py PROGRAM [LIBMEMCACHED]: the compiled profiles.c and libmemcached.c. Writes
results/profiles.tsv and peers.tsv. Everything is measured in several passes, in turn, and the
best of each figure is kept.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import fleets
import results

import ketama

PASSES = results.rounds(5)
LOOPS = 50
SERVERS = [f"10.0.0.{number}:11211" for number in range(1, 9)]
KEYS = [f"session:{number * 2654435761 % 2**32:08x}:usr" for number in range(1000)]
PEERS: dict[str, Callable[[], Callable[[str], object]]] = {
    "uhashring": lambda: fleets.peer("uhashring").HashRing(SERVERS, hash_fn="ketama").get_node,
    "libmc": lambda: fleets.peer("libmc").Client(SERVERS).get_host_by_key,
}
Figures = dict[tuple[str, ...], list[float]]


def rows(program: str) -> list[list[str]]:
    """Run a program, and return the rows that it prints."""
    ran = subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True)
    return [line.split("\t") for line in ran.stdout.splitlines()]


def keep(figures: Figures, name: tuple[str, ...], values: list[float]) -> None:
    """Keep the best of each figure."""
    figures[name] = [*map(min, values, figures.get(name, values))]


def time_each(ask: Callable[[str], object]) -> float:
    """Return the nanoseconds per key of asking one by one."""
    begin = time.perf_counter()
    for key in KEYS:
        ask(key)
    return (time.perf_counter() - begin) / len(KEYS) * 1e9


def in_python(figures: Figures) -> None:
    """Measure the Python clients, and ours in their profiles."""
    for profile, make in PEERS.items():
        ours, theirs = ketama.Continuum(SERVERS, profile=profile).lookup, make()
        for _ in range(LOOPS):
            keep(figures, (profile,), [time_each(theirs), time_each(ours)])


def main(program: str, libmemcached: str | None = None) -> None:
    """Run all passes, and keep the best of each figure."""
    lookups: Figures = {}
    peers: Figures = {}
    for number in range(1, PASSES + 1):
        print(f"pass {number} of {PASSES}", file=sys.stderr, flush=True)
        for profile, hashed, *values in rows(program):
            keep(lookups, (profile, hashed), [*map(float, values)])
        for profile, ns in rows(libmemcached) if libmemcached else []:
            # Its default hash is the profile's first.
            ours = next(row[2] for name, row in lookups.items() if name[0] == profile)
            keep(peers, (f"libmemcached, in C: `{profile}`",), [float(ns), ours])
        in_python(peers)
    for name, columns, figures in (
        ("profiles", "profile\tkey hash\thash\tsearch\tsingle\tbatch", lookups),
        ("peers", "client\tits lookup\tours", peers),
    ):
        found = ((*what, *(f"{ns:.1f}" for ns in row)) for what, row in figures.items())
        results.save(name, columns, found)


if __name__ == "__main__":
    main(*sys.argv[1:])
