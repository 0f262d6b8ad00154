"""The stored results of benchmarks: a file of tab-separated rows each, with its machine."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import ketama

FOLDER = Path(__file__).resolve().with_name("results")
Rows = list[list[str]]


def rounds(usual: int) -> int:
    """Return how often to measure: as usual, or once with QUICK=1, to see that it works."""
    return 1 if os.environ.get("QUICK") == "1" else usual


def machine() -> str:
    """Return a description of this machine."""
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    vectors = [name for name in ("avx512f", "avx2", "sse2") if f" {name} " in text]
    processor = found.group(1) if found else platform.machine()
    return (
        f"{processor} ({', '.join(vectors[:1])}), {os.cpu_count()} cores, "
        f"CPython {platform.python_version()}, {platform.system()}, "
        f"libketama {ketama.__version__}"
    )


def save(name: str, columns: str, rows: Iterable[Iterable[object]]) -> None:
    """Write results/NAME.tsv. columns: their names, separated by tabs."""
    lines = [f"# {machine()}", columns, *("\t".join(map(str, row)) for row in rows)]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.tsv").write_text("\n".join(lines) + "\n")


def load(name: str) -> tuple[str, Rows]:
    """Return the machine, and the rows."""
    first, _, *lines = (FOLDER / f"{name}.tsv").read_text().splitlines()
    return first.removeprefix("# "), [line.split("\t") for line in lines]
