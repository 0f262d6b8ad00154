"""What docs/cli.md shows is what the commands print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_of_the_command() -> None:
    """Each command that is shown, run now, prints what is shown below it."""
    command = [sys.executable, str(ROOT / "docs" / "regenerate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for picture in ("shares.png", "friday.png"):
        assert (ROOT / "docs" / picture).read_bytes().startswith(b"\x89PNG")
