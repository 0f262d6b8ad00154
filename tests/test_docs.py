"""What docs/cli.md shows is what the commands print."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from needs import need

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_of_the_command() -> None:
    """Each command that is shown, run now, prints what is shown below it."""
    command = [sys.executable, str(ROOT / "docs" / "regenerate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for picture in ("shares.png", "friday.png"):
        assert (ROOT / "docs" / picture).read_bytes().startswith(b"\x89PNG")


def test_the_page_of_profiles() -> None:
    """It has the library's table."""
    command = [sys.executable, str(ROOT / "docs" / "profiles.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


MANUAL = ROOT / "docs" / "ketama.1"


def test_the_manual_page() -> None:
    """ketama(1) is what make docs writes, has all sections, and is correct man(7)."""
    command = [sys.executable, str(ROOT / "docs" / "manual.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    page = MANUAL.read_text()
    assert (done.returncode, done.stdout, done.stderr) == (0, page, "")
    sections = (
        "NAME SYNOPSIS DESCRIPTION COMMANDS FILES ENVIRONMENT EXIT_STATUS EXAMPLES SEE_ALSO"
    )
    assert re.findall(r"^\.SH (.+)$", page, re.MULTILINE) == [
        title.replace("_", " ") for title in sections.split()
    ]
    codes = page.partition(".SH EXIT STATUS")[2].partition(".SH")[0]
    assert re.findall(r"^\\fB(\d+)\\fR$", codes, re.MULTILINE) == ["0", "1", "2", "3", "130"]
    lint = subprocess.run(
        [need("mandoc"), "-T", "lint", MANUAL], capture_output=True, text=True
    )
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")


def test_hints_name_the_distribution() -> None:
    """What a hint says to install is libketama: PyPI's ketama is another project."""
    folders = [ROOT / name for name in ("docs", "examples", "ketama", "libketama", "tests")]
    files = [path for folder in folders for path in folder.rglob("*")] + [*ROOT.glob("*.*")]
    files = [path for path in files if "build" not in path.parts]
    hint = re.compile(r"pip3? install (?:--?\w\S* )*['\"]?(\w+)")
    extras = re.compile(r"(?<![$\w])(\w+)\[(?:cli|plot|import|test|dev|bench)\b")
    names: list[str] = []
    for path in files:
        if path.suffix in {".md", ".py", ".toml", ".c", ".h", ".sh", ".1", ".3"}:
            text = path.read_text()
            names += hint.findall(text) + extras.findall(text)
    assert "libketama" in names
    assert {*names} == {"libketama"}
