"""The Python examples of the documentation that need servers; `>>>` examples are doctests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[2] / "docs"
# What examples have in place of the path of the test's server file.
FILES = ('"/etc/ketama.servers"', '"ketama.servers"')


class Example(NamedTuple):
    """An example: its page, the title of its section, its first line there, its code."""

    page: Path
    title: str
    line: int
    code: str

    def code_for(self, path: Path) -> str:
        """Return the code with another server file."""
        assert any(file in self.code for file in FILES), self
        code = self.code
        for file in FILES:
            code = code.replace(file, repr(str(path)))
        return "\n" * (self.line - 1) + code


def examples_of(page: Path) -> list[Example]:
    """Return the examples of a page."""
    found: list[Example] = []
    title, line = "", 1
    for part in re.split(r"^(##? .+|```python\n[^`]*```)$", page.read_text(), flags=re.M):
        if part.startswith("#"):
            title = part.lstrip("# ")
        elif part.startswith("```python") and ">>>" not in part:
            code = part.removeprefix("```python\n").removesuffix("```")
            found.append(Example(page, title, line + 1, code))
        line += part.count("\n")
    return found


# Tested in tests/test_comet.py and tests/fleet/test_push.py.
OF_FLEETS = DOCS / "comet.md", DOCS / "api" / "fleet.md"
EXAMPLES = [
    example
    for page in sorted(DOCS.rglob("*.md"))
    if page not in OF_FLEETS
    for example in examples_of(page)
]
