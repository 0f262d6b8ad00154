"""How the answers are printed: text for people, JSON for programs."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from rich.console import Console


def printable(text: str) -> str:
    r"""Escape what would not print, or would command a terminal: a tab becomes \x09."""
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable()
        else char.encode("ascii", "backslashreplace").decode()
        if ord(char) > 0x7F
        else f"\\x{ord(char):02x}"
        for char in text
    )


def percent(share: float, digits: int = 2) -> str:
    """Give a share as a percentage; what is not 0 is not printed as 0."""
    text = f"{100 * share:.{digits}f} %"
    least = 10**-digits
    return f"<{least:.{digits}f} %" if 0 < 100 * share < least / 2 else text


def deviation(part: float) -> str:
    """Give how far something is off as a percentage with its sign; 0 has none."""
    text = f"{100 * part:+.1f} %"
    return "0.0 %" if text in ("+0.0 %", "-0.0 %") else text


def counted(number: int, noun: str) -> str:
    """Give a number with its noun: 1 server, 1,280 points."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Give a time in the one unit that says enough."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            return counted(int(seconds // size), unit)
    return counted(max(0, int(seconds)), "second")


def local_time(seconds: float) -> str:
    """Give a moment, seconds since 1970, for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def utc_time(seconds: float) -> str:
    """Give a moment, seconds since 1970, for programs: RFC 3339."""
    whole, part = divmod(round(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{part:03}Z"


def print_json(value: Any, indent: int | None = 2) -> None:
    """Print a JSON document, or with an indent of None a line of JSON, at once."""
    import json

    print(json.dumps(value, indent=indent), flush=indent is None)


def console() -> Console:
    """Give what prints colours where there is a terminal for them, and NO_COLOR is not set."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=10_000)


def print_styled(*parts: tuple[str, str]) -> None:
    """Print a line of parts: text, style."""
    from rich.text import Text

    console().print(Text.assemble(*((printable(text), style) for text, style in parts)))


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    styles: Sequence[str] = (),
    total: Sequence[str] | None = None,
) -> None:
    """Print rows in aligned columns.

    columns: their heads; one that begins with ">" is aligned to the right.
    styles: for each row.
    total: a last row, below a line.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in columns:
        head = Text(column.removeprefix(">"))
        right = column.startswith(">")
        table.add_column(head, justify="right" if right else "left", no_wrap=True)
    for number, row in enumerate(rows):
        style = styles[number] if styles else ""
        table.add_row(*(Text(printable(cell)) for cell in row), style=style)
    if total is not None:
        table.add_row(*(Text(cell) for cell in total), style="bold")
    out = console()
    with out.capture() as captured:
        out.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


@contextmanager
def progress(total: int | None, wanted: bool = True) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far long work has come; call what is given with each step.

    total: how many steps there are, None where that is unknown.
    """
    if not wanted or sys.stderr is None or not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    with Progress(
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda step: bar.advance(task, step)
