"""Run the compiled sharing.c, and write results/sharing.tsv: make bench.

Usage: sharing.py PROGRAM.
"""

from __future__ import annotations

import subprocess
import sys

import results

COLUMNS = "servers\trefresh\troll\tattach\tbuild\tpublish\tbytes of the image"


def main(program: str) -> None:
    """Run it, and save what it prints."""
    ran = subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True)
    results.save("sharing", COLUMNS, [line.split("\t") for line in ran.stdout.splitlines()])


if __name__ == "__main__":
    main(sys.argv[1])
