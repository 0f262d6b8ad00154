"""Check the links between the pages of the built site, with their anchors.

Usage: links.py FOLDER. Sphinx's linkcheck leaves out links within a site. Those to other sites
are not followed, but those to the repository must lead to a file that is there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import tomllib

ROOT = Path(__file__).resolve().parents[1]
SOURCE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"]
# Files that Sphinx makes for its search, without links of their own.
IGNORED = {"genindex.html", "search.html"}


class Page(HTMLParser):
    """What a page links to, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag's links and anchors."""
        for name, value in attrs:
            if name in {"id", "name"} and value:
                self.anchors.add(value)
            elif name in {"href", "src"} and value and tag != "link":
                self.links.append(value)


def broken(folder: Path) -> Iterator[str]:
    """Yield each broken link, after the page that has it."""
    pages = {path.resolve(): Page(path) for path in folder.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            if not leads_somewhere(link, path, pages):
                yield f"{path.relative_to(folder.resolve())}: broken link {link}"


def leads_somewhere(link: str, path: Path, pages: dict[Path, Page]) -> bool:
    """Return whether a link of a page leads to a file, and to an anchor if it names one."""
    for kind in ("blob", "tree", "edit"):
        if link.startswith(f"{SOURCE}/{kind}/main/"):
            name = urlsplit(link).path.partition("/main/")[2]
            return (ROOT / name).exists()
    if urlsplit(link).scheme or link.startswith("data:"):
        return True
    target, anchor = urldefrag(link)
    file = (path.parent / unquote(urlsplit(target).path)).resolve() if target else path
    if file not in pages:
        return file.is_file()
    return not anchor or unquote(anchor) in pages[file].anchors or file.name in IGNORED


def main() -> None:
    """Print the broken links, and fail if there are any."""
    found = sorted({*broken(Path(sys.argv[1]))})
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
