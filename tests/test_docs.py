"""What the documentation shows is what the commands print, and its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from needs import need

ROOT = Path(__file__).resolve().parents[1]


def test_the_commands() -> None:
    """Each command that a page shows, run now, prints what is shown below it."""
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


PAGES = {
    "docs/ketama.1": "NAME SYNOPSIS DESCRIPTION COMMANDS FILES ENVIRONMENT EXIT_STATUS "
    "EXAMPLES",
    "libketama/ketama.3": "NAME SYNOPSIS DESCRIPTION THE_HEADERS HOW_IT_WORKS RETURN_VALUE "
    "ENVIRONMENT",
    "libketama/ketama.servers.5": "NAME DESCRIPTION LINES THE_FIRST_LINE BUCKET_MAPS LIMITS "
    "REPLACING_IT ERRORS COMPATIBILITY",
}


def test_the_manual_pages_are_current() -> None:
    """They are what make docs writes."""
    command = [sys.executable, str(ROOT / "docs" / "manual.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", PAGES)
def test_a_manual_page(name: str) -> None:
    """It has all sections, and is correct man(7)."""
    page = (ROOT / name).read_text()
    titles = re.findall(r"^\.SH (.+)$", page, re.MULTILINE)
    assert titles == [title.replace("_", " ") for title in f"{PAGES[name]} SEE_ALSO".split()]
    lint = subprocess.run(
        [need("mandoc"), "-T", "lint", ROOT / name], capture_output=True, text=True
    )
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")
    shown = subprocess.run(
        [need("man"), "--warnings", "-l", ROOT / name],
        capture_output=True,
        text=True,
        env={**os.environ, "MANWIDTH": "80"},
    )
    assert (shown.returncode, shown.stderr) == (0, "")


def test_the_exit_codes_in_the_manual() -> None:
    """ketama(1) has all of them."""
    codes = (ROOT / "docs" / "ketama.1").read_text().partition(".SH EXIT STATUS")[2]
    codes = codes.partition(".SH")[0]
    assert re.findall(r"^\\fB(\d+)\\fR$", codes, re.MULTILINE) == ["0", "1", "2", "3", "130"]


def functions_in(text: str) -> set[str]:
    """Return the functions of this library that C code or its manual page has."""
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return {*re.findall(r"\bketama_\w+(?=\()", code)}


def test_the_library_page_has_all_functions() -> None:
    """ketama(3) declares what the library exports, but for what other headers declare."""
    folder = ROOT / "libketama"
    page = (folder / "ketama.3").read_text()
    symbols = (folder / "tests" / "symbols.txt").read_text()
    others = [(folder / name).read_text() for name in ("ketama_admin.h", "ketama_health.h")]
    assert functions_in(page.partition(".SH DESCRIPTION")[0]) == {
        *re.findall(r"^(ketama_\w+)@", symbols, re.MULTILINE)
    } - functions_in("".join(others))


# Not with tomllib, which CPython 3.10 does not have.
URLS = dict(
    re.findall(r'^(\w+) = "(https://.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST name them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}


def test_links_of_the_readme() -> None:
    """PyPI shows it, too, so all are absolute; those to this project lead to what is there."""
    text = (ROOT / "README.md").read_text()
    used = re.findall(r"\]\[([^\]]+)\]", text)
    defined = dict(re.findall(r"^\[(.+)\]: (.+)$", text, re.MULTILINE))
    assert {*used} == {*defined}
    assert "](" not in text
    site, source = URLS["Documentation"], URLS["Source"]
    raw = source.replace("github.com", "raw.githubusercontent.com") + "/main/"
    for link in defined.values():
        path, _, anchor = link.partition("#")
        if path.startswith(site):
            page = ROOT / "docs" / path.removeprefix(site).replace(".html", ".md")
            assert page.exists(), link
            assert not anchor or anchor in anchors(page), link
        elif path.startswith((raw, source)):
            name = re.sub(
                r"^(blob|tree)/main/", "", path.removeprefix(raw).removeprefix(f"{source}/")
            )
            assert (ROOT / name).exists(), link
        else:
            assert path.startswith("https://"), link


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
