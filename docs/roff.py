"""Turn pages of the documentation into man(7): headings, paragraphs, lists and code."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ESCAPES = str.maketrans(
    {
        "\\": r"\e",
        "-": r"\-",
        "\N{MINUS SIGN}": r"\-",
        "'": r"\(aq",
        "`": r"\(ga",
        "^": r"\(ha",
        "~": r"\(ti",
    }
)
FONTS = {"strong_open": r"\fB", "em_open": r"\fI", "strong_close": r"\fR", "em_close": r"\fR"}


def escaped(text: str) -> str:
    """Escape what roff would take for its own."""
    text = text.translate(ESCAPES)
    return r"\&" + text if text.startswith(".") else text


def filled(text: str) -> list[str]:
    """Return the lines of a text that roff fills."""
    return [escaped(line) for line in textwrap.wrap(text, 72, break_on_hyphens=False)]


def literal(text: str) -> Iterator[str]:
    """Yield lines that are set as they are, indented."""
    yield from (".PP", ".in +4n", ".EX", *map(escaped, text.splitlines()), ".EE", ".in")


def sections(page: Path) -> Iterator[str]:
    """Yield a page of Markdown after its title; what precedes the first heading describes.

    MyST's directives are left out, and of links the text is kept.
    """
    yield ".SH DESCRIPTION"
    tokens = iter(MarkdownIt().parse(page.read_text(encoding="utf-8")))
    after_heading = True
    for token in tokens:
        if token.type == "heading_open":
            title = next(tokens).content
            next(tokens)
            if token.tag != "h1":
                yield f".SH {escaped(title.upper())}"
            after_heading = True
            continue
        lines = [*block(token, tokens)]
        yield from lines[lines[:1] == [".PP"] and after_heading :]
        after_heading = after_heading and not lines


def block(token: Token, tokens: Iterator[Token]) -> Iterator[str]:
    """Yield a paragraph, a list or code."""
    if token.type == "paragraph_open":
        yield ".PP"
        yield from inline(next(tokens))
        next(tokens)
    elif token.type == "bullet_list_open":
        yield from items(tokens)
    elif token.type in {"code_block", "fence"}:
        if not token.info.startswith("{"):
            yield from literal(token.content)
    else:
        raise ValueError(f"{token.type} has no form in a manual page yet")


def items(tokens: Iterator[Token]) -> Iterator[str]:
    """Yield the items of a list, of one paragraph each."""
    for token in tokens:
        if token.type == "bullet_list_close":
            return
        if token.type == "inline":
            yield r".IP \(bu 2"
            yield from inline(token)


def inline(token: Token) -> list[str]:
    """Return the lines of a text with fonts; blanks in code do not break."""
    text = ""
    for child in token.children or []:
        if child.type == "code_inline":
            text += rf"\fB{child.content.translate(ESCAPES).replace(' ', chr(0))}\fR"
        elif child.type == "softbreak":
            text += " "
        else:
            text += FONTS.get(child.type, "") + child.content.translate(ESCAPES)
    lines = textwrap.wrap(text, 72, break_on_hyphens=False, break_long_words=False)
    return [
        (r"\&" if line.startswith(".") else "") + line.replace(chr(0), r"\ ") for line in lines
    ]
