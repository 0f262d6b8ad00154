"""Measure lookups per second of one thread and of two, in batches: prints a row each.

A row: what, lookups per second of one thread, and of two together, tab-separated. Runs of
one and of two alternate; the best of each counts.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable

import fleets

import ketama

ROUNDS = 15
KEYS = 200_000


def rate(work: Callable[[], object], threads: int) -> float:
    """Return the lookups per second of that many threads, each with the full workload."""
    start = threading.Barrier(threads + 1)

    def run() -> None:
        start.wait()
        work()

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    start.wait()
    begin = time.perf_counter()
    for thread in running:
        thread.join()
    return threads * KEYS / (time.perf_counter() - begin)


def main() -> None:
    """Measure packed keys, and lists of str in large and in small batches."""
    continuum = ketama.Continuum(fleets.server_file(100))
    packed, keys = fleets.packed(20, KEYS), fleets.keys(20, KEYS)
    hundreds = [keys[at : at + 100] for at in range(0, KEYS, 100)]
    ways: dict[str, Callable[[], object]] = {
        "indexes, packed": lambda: continuum.indexes(packed, array("I", bytes(4 * KEYS))),
        "lookup_many of 200,000 str": lambda: continuum.lookup_many(keys),
        "lookup_many of 100 str": lambda: [continuum.lookup_many(some) for some in hundreds],
    }
    for name, work in ways.items():
        one = two = 0.0
        for _ in range(ROUNDS):
            one = max(one, rate(work, 1))
            two = max(two, rate(work, 2))
        print(name, round(one), round(two), sep="\t")


if __name__ == "__main__":
    main()
