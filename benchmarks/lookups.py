"""Measure lookups and builds in Python, and those of other libraries, with pyperf.

A benchmark's name is "what, number of servers, bytes per key" (0: a mix of lengths).
"""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import fleets
import pyperf

import ketama

MILLION = 1_000_000
Ask = Callable[[str], object]
# The largest fleet to measure, and what returns the function to measure. PyPI's ketama
# crashes above about 117 servers, uhashring needs minutes to build 10,000, and rendezvous
# hashing takes time proportional to the number of servers.
ONE: dict[str, tuple[int, Callable[[int], Ask]]] = {
    "PyPI ketama get_server": (100, lambda n: fleets.pypi_ketama(n).get_server),
    "uhashring get_node": (1_000, lambda n: fleets.uhashring(n).get_node),
    "pymemcache rendezvous get_node": (100, lambda n: fleets.rendezvous(n).get_node),
    "libmc get_host_by_key": (10_000, lambda n: fleets.libmc(n).get_host_by_key),
    "get_server": (10_000, lambda n: ketama.Continuum(fleets.server_file(n)).get_server),
    "lookup": (10_000, lambda n: ketama.Continuum(fleets.server_file(n)).lookup),
}


def grouped(ask: Ask) -> Callable[[list[str]], object]:
    """Return a function that groups keys in a loop, without group_by_server."""

    def group(keys: list[str]) -> object:
        groups: dict[object, list[str]] = {}
        for key in keys:
            groups.setdefault(ask(key), []).append(key)
        return groups

    return group


def grouped_second(ask: Callable[[str], Any]) -> Callable[[list[str]], object]:
    """Return a function that groups keys by the second item of each result."""

    def group(keys: list[str]) -> object:
        groups: dict[object, list[str]] = {}
        for key in keys:
            groups.setdefault(ask(key)[1], []).append(key)
        return groups

    return group


def ours(servers: int) -> ketama.Continuum:
    """Return a ketama.Continuum."""
    return ketama.Continuum(fleets.server_file(servers))


Batch = Callable[[list[str]], object]
MANY: dict[str, tuple[int, Callable[[int], Batch]]] = {
    "PyPI ketama grouped in a loop": (
        100,
        lambda n: grouped_second(ONE["PyPI ketama get_server"][1](n)),
    ),
    "uhashring grouped in a loop": (1_000, lambda n: grouped(ONE["uhashring get_node"][1](n))),
    "lookup_many of 100": (10_000, lambda n: ours(n).lookup_many),
    "group_by_server of 100": (10_000, lambda n: ours(n).group_by_server),
}


BUILD: dict[str, Callable[[list[str]], object]] = {
    "build uhashring": lambda nodes: fleets.peer("uhashring").HashRing(
        nodes=nodes, hash_fn="ketama"
    ),
    "build": ketama.Continuum,
}


def time_each(loops: int, prepare: Callable[[], tuple[Ask, list[str]]]) -> float:
    """Look up 100 keys one by one; return the seconds for all."""
    ask, keys = prepare()
    begin = time.perf_counter()
    for _ in range(loops):
        for key in keys:
            ask(key)
    return time.perf_counter() - begin


def time_batch(loops: int, prepare: Callable[[], tuple[Batch, list[str]]]) -> float:
    """Look up all keys at once; return the seconds."""
    ask, keys = prepare()
    begin = time.perf_counter()
    for _ in range(loops):
        ask(keys)
    return time.perf_counter() - begin


def time_million(loops: int, servers: int, length: int) -> float:
    """Look up a million packed keys; return the seconds."""
    continuum, keys = ours(servers), fleets.packed(length, MILLION)
    out = array("I", bytes(4 * MILLION))
    begin = time.perf_counter()
    for _ in range(loops):
        continuum.indexes(keys, out)
    return time.perf_counter() - begin


def time_md5(loops: int, length: int) -> float:
    """Hash the keys one by one with hashlib; return the seconds."""
    keys = [key.encode() for key in fleets.keys(length)]
    md5 = hashlib.md5
    begin = time.perf_counter()
    for _ in range(loops):
        for key in keys:
            md5(key).digest()
    return time.perf_counter() - begin


def time_build(loops: int, build: Callable[[list[str]], object], servers: int) -> float:
    """Build a ring from a list of addresses; return the seconds."""
    nodes = fleets.addresses(servers)
    begin = time.perf_counter()
    for _ in range(loops):
        build(nodes)
    return time.perf_counter() - begin


def grid() -> Iterator[tuple[int, int]]:
    """Yield all key lengths in one fleet, and one length in all fleets."""
    yield from ((100, length) for length in (*fleets.LENGTHS, fleets.MIXED))
    yield from ((servers, 20) for servers in fleets.FLEETS if servers != 100)


def main() -> None:
    """Run all benchmarks, or those that the command line selects."""
    runner = pyperf.Runner()
    for servers, length in grid():
        where = f"{servers}, {length}"
        keys = fleets.keys(length)
        for name, (most, make) in ONE.items():
            if servers > most or ("rendezvous" in name and length != 20):
                continue
            few = keys[:4] if "rendezvous" in name else keys
            runner.bench_time_func(
                f"{name}, {where}",
                time_each,
                lambda make=make, servers=servers, few=few: (make(servers), few),
                inner_loops=len(few),
            )
        for name, (most, batch) in MANY.items():
            if servers <= most and (most > 1_000 or length == 20):
                runner.bench_time_func(
                    f"{name}, {where}",
                    time_batch,
                    lambda batch=batch, servers=servers, keys=keys: (batch(servers), keys),
                    inner_loops=len(keys),
                )
        if length in (20, fleets.MIXED):
            runner.bench_time_func(
                f"indexes of a million packed, {where}",
                time_million,
                servers,
                length,
                inner_loops=MILLION,
            )
        if servers == 100:
            runner.bench_time_func(
                f"hashlib.md5, {where}", time_md5, length, inner_loops=len(keys)
            )
    for servers in (100, 1_000):
        for name, build in BUILD.items():
            runner.bench_time_func(f"{name}, {servers}, 0", time_build, build, servers)


if __name__ == "__main__":
    main()
