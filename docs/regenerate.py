"""Run the commands in some pages of the documentation, and replace the output below them.

Usage: regenerate.py [--check]. With --check, nothing is written, and a difference is an error.
All commands of a page run in one shell, in a copy of examples/. Times, ages and paths, which
differ from run to run, are replaced by fixed ones.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "docs" / f"{name}.md"
    for name in (
        "buckets",
        "cli",
        "installation",
        "migrating",
        "mixed-fleet",
        "pool",
        "tutorial",
    )
]
BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)
PICTURES = ("shares.png", "friday.png")
SEPARATOR = "\0"
# As long as the real path of the folder, so that columns of tables stay aligned.
POOL = "/etc/memcached/shop-1"
AGE = r"\b\d+ (?:second|minute|hour|day)s?\b"
REPLACED = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "2026-11-20 17:05:00"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "2026-11-20T17:05:00.000Z"),
    (rf"(KiB|size) +{AGE}", r"\1   2 minutes"),
    (r"size +age", "size         age"),
    (r"(?<=for user )[^;]+", "deploy"),
    (AGE, "2 minutes"),
    (r"\b[0-9a-f]{32}-1\.(\d)\b", r"9e107d9d372bb6826bd81d3542a419d6-1.\1"),
)


# While a command runs in the background, wait until it has printed as many lines below the
# latest one as the page has there.
WAIT = """
wait_for_lines() {
    for _ in {1..600}; do
        [[ -z $(jobs -r) ]] && return
        (($(tail -c +$((BEGIN + 1)) "$OUTPUT" | wc -l) >= $1)) && return
        sleep 0.1
    done
}
"""


def answers(commands: list[tuple[str, int]], folder: Path) -> list[str]:
    """Return what each command prints, on standard output and standard error.

    commands: each with the number of lines that the page shows below it.
    """
    # With job control, so that background commands can be interrupted.
    script = f"set -m\n{WAIT}" + "printf '\\0'\n".join(
        f'BEGIN=$(stat -c %s "$OUTPUT")\n{command}\nwait_for_lines {lines}\n'
        for command, lines in commands
    )
    (folder / "shm").mkdir()
    pool = folder / "pool"
    shutil.copytree(ROOT / "examples", pool, ignore=lambda *_: ["tour.py"])
    environment = {
        **{name: value for name, value in os.environ.items() if name != "COLUMNS"},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KETAMA_SHM_DIR": str(folder / "shm"),
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "OUTPUT": str(folder / "output"),
    }
    with (folder / "output").open("ab") as output:
        run(script, pool, output, environment)
    printed = (folder / "output").read_text(encoding="utf-8")
    for there, here in (
        (str(pool), POOL),
        (str(folder / "shm" / f"libketama-{os.geteuid()}"), "/dev/shm/libketama-1000"),
    ):
        printed = printed.replace(there, here)
    for there, here in REPLACED:
        printed = re.sub(there, here, printed)
    return printed.split(SEPARATOR)


def run(script: str, pool: Path, output: BinaryIO, environment: dict[str, str]) -> None:
    """Run a bash script, with all its output in one file."""
    subprocess.run(
        ["bash", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=pool,
        # A background process ignores interrupts, and so would the commands of the page.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env=environment,
        check=False,
    )


def keep_pictures(folder: Path) -> None:
    """Copy the pictures; they are not compared, as their bytes depend on matplotlib."""
    for picture in PICTURES:
        if (drawn := folder / "pool" / picture).exists():
            shutil.copy(drawn, ROOT / "docs" / picture)


def commands_of(block: str) -> list[tuple[str, int]]:
    """Return the commands of a block, each with the number of lines below it."""
    parts = [part.splitlines() for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(lines[0], len(lines) - 1) for lines in parts]


def regenerated(page: str, pictures: bool) -> str:
    """Return the page with the present output of its commands."""
    commands = [commands_of(block) for block in BLOCK.findall(page)]
    with tempfile.TemporaryDirectory(prefix="tmp", dir="/tmp") as folder:
        printed = iter(answers(list(chain.from_iterable(commands)), Path(folder)))
        if pictures:
            keep_pictures(Path(folder))
    shown = iter(
        "".join(f"$ {command}\n{next(printed)}" for command, _ in block) for block in commands
    )
    return BLOCK.sub(lambda _: next(shown), page)


def main() -> None:
    """Regenerate the pages, or check that they are as they would be."""
    check = sys.argv[1:] == ["--check"]
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        new = regenerated(page, pictures=not check)
        name = str(path.relative_to(ROOT))
        if not check:
            path.write_text(new, encoding="utf-8")
        elif new != page:
            lines = page.splitlines(), new.splitlines()
            sys.exit("\n".join(difflib.unified_diff(*lines, name, "now", lineterm="")))


if __name__ == "__main__":
    main()
