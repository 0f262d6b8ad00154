"""Measure how evenly methods spread keys, what changes move, and how fast they are.

Usage: balance.py PROGRAM: the compiled balance.c. Writes results/balance.tsv. Shares are the
same each time; of the times, the best of several passes is kept.
"""

from __future__ import annotations

import subprocess
import sys

import results

PASSES = results.rounds(3)
COLUMNS = (
    "method\tweights\tservers\tworst over fair in %\tmoved by join\tneedless\tmoved by leave\t"
    "needless\tmoved by weight x 2\tneedless\tns\tbytes"
)
NS = -2  # the column


def main(program: str) -> None:
    """Run all passes, and keep the best of each time."""
    found: dict[tuple[str, ...], list[str]] = {}
    for number in range(1, PASSES + 1):
        print(f"pass {number} of {PASSES}", file=sys.stderr, flush=True)
        ran = subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True)
        for line in ran.stdout.splitlines():
            row = line.split("\t")
            before = found.setdefault(tuple(row[:3]), row)
            before[NS] = min(before[NS], row[NS], key=float)
    results.save("balance", COLUMNS, found.values())


if __name__ == "__main__":
    main(sys.argv[1])
