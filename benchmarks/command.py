"""Measure the command's start-up time, and the keys per second it looks up: make bench.

Usage: command.py [MILLIONS of keys, 10]. Writes results/start.tsv and streams.tsv. Each figure
is the best of three runs; the commands take turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import results

ROOT = Path(__file__).resolve().parents[1]
SERVERS = ROOT / "tests" / "vectors" / "classic8" / "ketama.servers"
KETAMA = f"{sys.executable} -m ketama"
ROUNDS = results.rounds(3)
Figures = dict[str, tuple[float, float]]
# The script that a user would write instead.
LOOP = f"""{sys.executable} -c '
import sys, ketama
continuum = ketama.Continuum(sys.argv[1])
for line in sys.stdin:
    key = line.rstrip("\\n")
    print(key, continuum.lookup(key), sep="\\t")
' SERVERS"""

STARTS = {
    "python -c pass": f"{sys.executable} -c pass",
    "python -c 'import ketama, click'": f"{sys.executable} -c 'import ketama, click'",
    "ketama where FILE user:42": f"{KETAMA} where SERVERS user:42",
    "ketama show FILE": f"{KETAMA} show SERVERS",
    "ketama diff FILE FILE": f"{KETAMA} diff SERVERS SERVERS",
}
STREAMS = {
    "cat <KEYS": "cat <KEYS",
    "a loop over lookup() in Python": f"{LOOP} <KEYS",
    "ketama where FILE <KEYS": f"{KETAMA} where SERVERS <KEYS",
    "cat KEYS | ketama where FILE | cat": f"cat KEYS | {KETAMA} where SERVERS | cat",
    "ketama where --json FILE <KEYS": f"{KETAMA} where --json SERVERS <KEYS",
    "ketama where -v FILE <KEYS, a tenth of them": f"{KETAMA} where -v SERVERS <TENTH",
    "ketama diff --keys KEYS FILE FILE": f"{KETAMA} diff --keys KEYS SERVERS SERVERS",
}


def run(line: str, out: Path) -> tuple[float, float]:
    """Run a shell command; return its seconds, and the peak memory of a process in MiB."""
    shell = ["/bin/sh", "-c", line if "|" in line else f"exec {line}"]
    environment = {name: value for name, value in os.environ.items() if "PYTHON" not in name}
    with out.open("wb") as stdout:
        begin = time.perf_counter()
        process = subprocess.Popen(shell, stdout=stdout, env=environment)
        _, code, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
    if code != 0:
        raise SystemExit(f"{line}: {code}")
    return seconds, usage.ru_maxrss / 1024


def best(lines: dict[str, str], out: Path, names: dict[str, Path]) -> Figures:
    """Run all commands in turn, several times, and return the best figures of each."""
    found: Figures = {}
    for _ in range(ROUNDS):
        for name, line in lines.items():
            for word, path in names.items():
                line = line.replace(word, str(path))
            figures = run(line, out)
            found[name] = min(found.get(name, figures), figures)
    return found


def main() -> None:
    """Measure, and save the figures."""
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    count = int(millions * 1e6)
    with tempfile.TemporaryDirectory() as folder:
        names = {name: Path(folder) / name for name in ("KEYS", "TENTH")} | {"SERVERS": SERVERS}
        for name, keys in (("KEYS", count), ("TENTH", count // 10)):
            with names[name].open("w") as file:
                file.writelines(f"user:{i:015d}\n" for i in range(keys))
        starts = best(STARTS, Path(folder) / "out", names)
        streams = best(STREAMS, Path(folder) / "out", names)
    started = ((name, f"{1e3 * seconds:.0f}") for name, (seconds, _) in starts.items())
    results.save("start", "command\tms", started)
    rows = []
    for name, (seconds, mib) in streams.items():
        keys = count // 10 if "tenth" in name else count
        rows.append((name, f"{seconds:.2f}", f"{keys / seconds:.0f}", f"{mib:.0f}"))
    results.save("streams", "command\ts\tkeys per second\tMiB", rows)


if __name__ == "__main__":
    main()
