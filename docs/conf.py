"""Configure Sphinx: the site is made from the pages of this folder by `make site`."""

from __future__ import annotations

import inspect
import os
import re
import textwrap
import zlib
from itertools import chain
from pathlib import Path
from typing import Any

import tomllib
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

# Lookups written in Python have docstrings and signatures; those of the accelerator have none.
os.environ["KETAMA_SPEEDUPS"] = "0"
import ketama

ROOT = Path(__file__).resolve().parents[1]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]

project = "libketama"
copyright = "the libketama authors"  # noqa: A001
release = version = ketama.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
]
exclude_patterns = ["build"]
default_role = "code"
nitpicky = True
smartquotes = False  # messages are searched for as they are printed

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
# What is shown with prompts is input and output, and only the former is copied.
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = f"libketama {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {
    "source_repository": URLS["Source"],
    "source_branch": "main",
    "source_directory": "docs/",
}

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 80

# The links to Python's documentation need no network: these are the names that signatures have.
PYTHON = {
    "library/functions.html": "bool bytearray bytes dict float frozenset int list memoryview "
    "object set str tuple type",
    "library/exceptions.html": "BaseException Exception OSError RuntimeError TypeError "
    "ValueError",
    "library/array.html": "array",
    "library/collections.html": "Counter",
    "library/collections.abc.html": "Awaitable Buffer Callable Container Iterable "
    "Iterator Mapping Sequence",
    "library/contextlib.html": "AbstractContextManager",
    "library/os.html": "PathLike",
    "library/typing.html": "Any NamedTuple TypedDict SupportsIndex",
    "library/ssl.html": "SSLContext",
    "library/types.html": "ModuleType",
}


def python_inventory() -> str:
    """Write the inventory of PYTHON, as intersphinx reads it, and return its path."""
    rows = []
    for page, names in PYTHON.items():
        module = page.removeprefix("library/").removesuffix(".html")
        for name in names.split():
            full = name if module in {"functions", "exceptions"} else f"{module}.{name}"
            kind = "exception" if module == "exceptions" else "class"
            rows.append(f"{full} py:{kind} 1 {page}#{full} -\n")
    head = "# Sphinx inventory version 2\n# Project: Python\n# Version: 3\n"
    head += "# The remainder of this file is compressed using zlib.\n"
    path = ROOT / "build" / "python.inv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(head.encode() + zlib.compress("".join(rows).encode()))
    return str(path)


intersphinx_mapping = {"python": ("https://docs.python.org/3", python_inventory())}

# Annotations name what is not documented here: type variables, and classes of other packages.
nitpick_ignore_regex = [
    ("py:.*", r"ketama\.clients\..*"),
    ("py:.*", r"(emcache|memcachio|meta_memcache|pymemcache)\..*"),
    ("py:class", "array|Out|Prepare"),
]

# Files of the root that are pages here, too.
PAGES = {
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "SECURITY.md": "security",
}


class RepositoryLinks(SphinxTransform):
    """Let relative links to files outside of this folder lead to the repository."""

    default_priority = 5  # before Sphinx collects them as downloads

    def apply(self, **_: Any) -> None:
        """Replace them in a page."""
        for kind in (addnodes.download_reference, addnodes.pending_xref):
            for node in [*self.document.findall(kind)]:
                path = self.path_of(node) if node.get("reftype") == "myst" else None
                if path is None:
                    continue
                if page := PAGES.get(str(path.relative_to(ROOT))):
                    anchor = node["reftarget"].partition("#")[2] or node.get("reftargetid")
                    link = addnodes.pending_xref("", *node.children, **node.attributes)
                    link["refdomain"], link["reftarget"] = "doc", page
                    link["reftargetid"] = anchor or None
                else:
                    link = nodes.reference("", "", *node.children, refuri=repository_url(path))
                node.replace_self(link)

    def path_of(self, node: nodes.Element) -> Path | None:
        """Return the file or folder outside of docs/ that a link leads to, if it does."""
        target = node["reftarget"].partition("#")[0]
        # MyST takes what ends in .md for a page. In pages that include a file of the root,
        # links are relative to the root.
        suffix = ".md" if node.get("refdomain") == "doc" else ""
        for folder in (ROOT / "docs" / self.env.docname).parent, ROOT:
            path = (folder / (target + suffix)).resolve()
            if target and path.exists() and path.is_relative_to(ROOT):
                return None if path.is_relative_to(ROOT / "docs") else path
        return None


def repository_url(path: Path) -> str:
    """Return where a file or folder of the repository is on the web."""
    kind = "tree" if path.is_dir() else "blob"
    return f"{URLS['Source']}/{kind}/main/{path.relative_to(ROOT)}"


ARGUMENTS = re.compile(r"(\w+(?:, \w+)*): (.*)")


def mark_arguments(
    _app: Sphinx, _what: str, _name: str, shown: Any, _options: Any, lines: list[str]
) -> None:
    """Make definitions of the lines of a docstring that say what an argument is.

    Such as "key: text or bytes.", or "probes, calm: as for Liveness.": a paragraph of them, in
    which further lines of one are indented.
    """
    text = "\n".join(lines).replace("Attributes:\n", "Attributes:\n\n")
    lines[:] = chain.from_iterable(
        [*definitions(paragraph.splitlines(), names_in(shown)), ""]
        for paragraph in re.split(r"\n{2,}", text)
    )


def names_in(shown: Any) -> set[str]:
    """Return the names that a docstring may describe as arguments or attributes."""
    try:
        return {*inspect.signature(shown).parameters, "options", "LOCATION", "OPTIONS"}
    except (TypeError, ValueError):
        return set()


def definitions(paragraph: list[str], names: set[str]) -> list[str]:
    """Return a paragraph, as a list of definitions if it describes these names."""
    first = ARGUMENTS.match(textwrap.dedent("\n".join(paragraph)))
    if not first or not names & {*first[1].split(", ")}:
        return paragraph
    out: list[str] = []
    for line in textwrap.dedent("\n".join(paragraph)).splitlines():
        if found := ARGUMENTS.match(line):
            terms = ", ".join(f"``{name}``" for name in found[1].split(", "))
            out += [terms, f"    {found[2]}"]
        else:
            out += [line] if line.startswith(" ") else ["", line]
    return out


def end_with_the_code(_app: Sphinx, _page: str, text: list[str]) -> None:
    """Drop the empty line that ends the output of a doctest before the end of its block."""
    text[0] = text[0].replace("\n\n```\n", "\n```\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Add what this file has to Sphinx."""
    app.add_transform(RepositoryLinks)
    app.connect("source-read", end_with_the_code)
    app.connect("autodoc-process-docstring", mark_arguments)
    return {"parallel_read_safe": True}
