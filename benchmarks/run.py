"""Measure lookups, builds, threads and memory; write results/lookups.tsv: make bench.

Everything is measured in several passes, and the best of each figure is kept: other load on
the machine can only add time.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyperf
import results

HERE = Path(__file__).resolve().parent
PASSES = results.rounds(4)
QUICK = ["--processes=1", "--values=3", "--warmups=1", "--min-time=0.02", "--quiet"]
# (what, number of servers, bytes per key) -> nanoseconds per key, or as the name says
Figures = dict[tuple[str, int, int], float]


def rows(*command: str | Path) -> list[list[str]]:
    """Run a program, and return the rows that it prints."""
    ran = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
    return [line.split("\t") for line in ran.stdout.splitlines()]


def main(lookups_in_c: str) -> None:
    """Run all passes, and keep the best of each figure."""
    raw = results.FOLDER / "lookups.json"
    raw.unlink(missing_ok=True)
    figures: Figures = {}

    def keep(what: str, servers: str, length: str, value: float) -> None:
        where = what, int(servers), int(length)
        figures[where] = min(value, figures.get(where, value))

    for number in range(1, PASSES + 1):
        print(f"pass {number} of {PASSES}", file=sys.stderr, flush=True)
        subprocess.run(
            [sys.executable, HERE / "lookups.py", "--append", raw, *QUICK],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for what, servers, length, ns in rows(lookups_in_c):
            keep(f"C: {what}", servers, length, float(ns))
        for name, one, two in rows(sys.executable, HERE / "threads.py"):
            # As time per key, so that lower is better here as well.
            keep(f"one thread: {name}", "100", "20", 1e9 / float(one))
            keep(f"two threads: {name}", "100", "20", 1e9 / float(two))
    for name, servers, count in rows(sys.executable, HERE / "memory.py"):
        keep(f"private bytes: {name}", servers, "0", float(count))
    for benchmark in pyperf.BenchmarkSuite.load(str(raw)):
        what, servers, length = benchmark.get_name().split(", ")
        keep(what, servers, length, 1e9 * min(benchmark.get_values()))
    raw.unlink()
    rows_found = ((*where, f"{value:.5g}") for where, value in sorted(figures.items()))
    results.save("lookups", "what\tservers\tbytes in a key\tvalue", rows_found)


if __name__ == "__main__":
    main(sys.argv[1])
