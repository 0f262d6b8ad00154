"""Runs the commands that are shown in docs/cli.md, and puts what they print below them.

Usage: regenerate.py [--check]. With --check nothing is written, and what differs is an error.
The commands of the whole page run in one shell, in a folder with a copy of examples/. Times,
ages and the names of folders are replaced, for they are others each time.
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

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cli.md"
BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)
PICTURES = ("ring.png", "friday.png")
SEPARATOR = "\0"
# As long as the folder's real name, for the columns of a table.
POOL = "/etc/memcached/shop-1"
REPLACED = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "2026-11-20 17:05:00"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "2026-11-20T17:05:00.000Z"),
    (r"\b\d+ (second|minute|hour|day)s?\b", "2 minutes"),
    (r"\b[0-9a-f]{32}-1\.2\b", "9e107d9d372bb6826bd81d3542a419d6-1.2"),
)


def answers(commands: list[str], folder: Path) -> list[str]:
    """Give what each command prints, on whichever output."""
    # With jobs of their own, which can be interrupted.
    script = "set -m\n" + "printf '\\0'\n".join(f"{command}\n" for command in commands)
    (folder / "shm").mkdir()
    pool = folder / "pool"
    shutil.copytree(ROOT / "examples", pool, ignore=lambda *_: ["tour.py"])
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KETAMA_SHM_DIR": str(folder / "shm"),
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        ["bash", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=pool,
        # Who runs this in the background would make it deaf to the interrupt that is shown.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env=environment,
        text=True,
        check=False,
    )
    printed = done.stdout
    for there, here in (
        (str(pool), POOL),
        (str(folder / "shm" / f"libketama-{os.geteuid()}"), "/dev/shm/libketama-1000"),
    ):
        printed = printed.replace(there, here)
    for there, here in REPLACED:
        printed = re.sub(there, here, printed)
    return printed.split(SEPARATOR)


def keep_pictures(folder: Path) -> None:
    """Take over what was plotted: a picture's bytes are those of a version of matplotlib."""
    for picture in PICTURES:
        shutil.copy(folder / "pool" / picture, PAGE.with_name(picture))


def regenerated(page: str, pictures: bool) -> str:
    """Give the page with what the commands print now."""
    blocks = BLOCK.findall(page)
    commands = [
        [line[2:] for line in block.splitlines() if line.startswith("$ ")] for block in blocks
    ]
    with tempfile.TemporaryDirectory(prefix="tmp", dir="/tmp") as folder:
        printed = iter(answers(list(chain.from_iterable(commands)), Path(folder)))
        if pictures:
            keep_pictures(Path(folder))
    shown = iter(
        "".join(f"$ {command}\n{next(printed)}" for command in block) for block in commands
    )
    return BLOCK.sub(lambda _: next(shown), page)


def main() -> None:
    """Regenerate the page, or check that it is as it would be."""
    page = PAGE.read_text(encoding="utf-8")
    check = sys.argv[1:] == ["--check"]
    new = regenerated(page, pictures=not check)
    if not check:
        PAGE.write_text(new, encoding="utf-8")
    elif new != page:
        lines = page.splitlines(), new.splitlines()
        sys.exit("\n".join(difflib.unified_diff(*lines, "docs/cli.md", "now", lineterm="")))


if __name__ == "__main__":
    main()
