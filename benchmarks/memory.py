"""Measure the private memory of one more worker process: prints a row per library.

A row: name, number of servers, bytes of private memory that the ring added, tab-separated.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fleets

import ketama

SERVERS = 1_000


def private_bytes() -> int:
    """Return the memory of this process that is not shared, in bytes."""
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    lines = [line.split() for line in rollup]
    return 1024 * sum(int(line[1]) for line in lines if line[0].startswith("Private_"))


def work(name: str) -> None:
    """Run as a worker: make the ring, look up some keys, and print the memory used."""
    if name == "uhashring":
        fleets.uhashring(2)
    else:
        ketama.Continuum(["a", "b"])
    keys = fleets.keys(20, 1_000)
    before = private_bytes()
    if name == "uhashring":
        ring = fleets.uhashring(SERVERS)
        for key in keys:
            ring.get_node(key)
    else:
        continuum = ketama.Continuum(fleets.server_file(SERVERS))
        if not continuum.shared:
            raise SystemExit("there is no shared memory here")
        for key in keys:
            continuum.get_server(key)
    print(name, SERVERS, private_bytes() - before, sep="\t")


def main() -> None:
    """Start a fresh process per library, after one that has published the image."""
    first = ketama.Continuum(fleets.server_file(SERVERS))
    for name in ("uhashring", "libketama"):
        subprocess.run([sys.executable, __file__, name], check=True)
    del first


if __name__ == "__main__":
    if len(sys.argv) == 2:
        work(sys.argv[1])
    else:
        main()
