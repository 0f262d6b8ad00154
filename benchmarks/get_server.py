"""One lookup from Python, beside PyPI's ketama 0.1.1, in one run: make bench."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyperf

import ketama

ROOT = Path(__file__).resolve().parents[1]
SERVERS = ROOT / "tests" / "vectors" / "classic8" / "ketama.servers"
KEY = "user:1234567890:name"


def peer() -> Any:
    """Load PyPI's ketama, which has our import name, from the folder where it is alone."""
    (path,) = (Path(sys.prefix) / "peers").glob("ketama.*.so")
    spec = importlib.util.spec_from_file_location("ketama", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ten_times(loops: int, ask: Callable[[str], object]) -> float:
    """Ask ten times in each loop, so that the loop itself does not count; seconds."""
    key = KEY
    begin = time.perf_counter()
    for _ in range(loops):
        ask(key), ask(key), ask(key), ask(key), ask(key)
        ask(key), ask(key), ask(key), ask(key), ask(key)
    return time.perf_counter() - begin


def main() -> None:
    """Measure, and print each figure beside the peer's."""
    ours, theirs = ketama.Continuum(SERVERS), peer().Ketama(str(SERVERS))
    if ours.get_server(KEY) != theirs.get_server(KEY):
        raise SystemExit("the two disagree: there is nothing to measure")
    runner = pyperf.Runner()
    runner.metadata["description"] = f"one lookup of {KEY!r} in {SERVERS.name} of classic8"
    results = [
        (name, runner.bench_time_func(name, ten_times, ask, inner_loops=10))
        for name, ask in (
            ("PyPI's ketama 0.1.1, get_server", theirs.get_server),
            ("libketama, get_server", ours.get_server),
            ("libketama, lookup", ours.lookup),
        )
    ]
    if runner.args.worker:
        return
    base = results[0][1].mean()
    print(f"\n{'':<34}{'ns':>6}{'ratio':>8}")
    for name, result in results:
        print(f"{name:<34}{1e9 * result.mean():>6.0f}{result.mean() / base:>8.2f}")


if __name__ == "__main__":
    main()
