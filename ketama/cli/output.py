"""Print results: text for people, JSON for programs."""

from __future__ import annotations

import math
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

GAP = 3 * " "  # between columns
CUT = "..."  # stands for what was cut out; ASCII, as it is printed in any locale
CUT_MIN = 20  # columns that a text keeps


def printable(text: str) -> str:
    r"""Escape characters that do not print or control a terminal: a tab becomes \x09."""
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
    """Format a share as a percentage; one above 0 is never printed as 0."""
    text = f"{100 * share:.{digits}f} %"
    least = 10**-digits
    return f"<{least:.{digits}f} %" if 0 < 100 * share < least / 2 else text


def standard_deviation(parts: Sequence[float]) -> float:
    """Return the root of the mean square of deviations from the fair shares."""
    return math.sqrt(sum(part * part for part in parts) / len(parts))


def deviation(part: float) -> str:
    """Format a relative deviation as a percentage with its sign; 0 has none."""
    text = f"{100 * part:+.1f} %"
    return "0.0 %" if text in ("+0.0 %", "-0.0 %") else text


def counted(number: int, noun: str) -> str:
    """Format a number with its noun: 1 server, 1,280 points."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Format a duration in its largest unit."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            return counted(int(seconds // size), unit)
    return counted(max(0, int(seconds)), "second")


def user_name(user: int) -> str:
    """Return the name of a user; without one, the id."""
    from pwd import getpwuid

    try:
        return getpwuid(user).pw_name
    except KeyError:
        return str(user)


def local_time(seconds: float) -> str:
    """Format a time, seconds since 1970, for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def utc_time(seconds: float) -> str:
    """Format a time, seconds since 1970, for programs: RFC 3339."""
    whole, part = divmod(round(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{part:03}Z"


def print_json(value: Any, indent: int | None = 2) -> None:
    """Print a JSON document; with an indent of None one line, flushed."""
    import json

    print(json.dumps(value, indent=indent), flush=indent is None)


def print_styled(*parts: tuple[str, str]) -> None:
    """Print a line of (text, style) parts; in colour on a terminal unless NO_COLOR is set."""
    if not sys.stdout.isatty():
        print("".join(printable(text) for text, _ in parts))
        return
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(*((printable(text), style) for text, style in parts))
    Console(highlight=False, soft_wrap=True).print(line)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    styles: Sequence[str] = (),
    total: Sequence[str] = (),
) -> None:
    """Print rows in aligned columns.

    columns: their headings; ">" at the beginning aligns a column to the right, and "~" allows
        its texts to be cut in the middle where the table is too wide.
    styles: one per row.
    total: a last row.
    """
    body = [[printable(cell) for cell in row] for row in rows]
    lines = [
        [column.lstrip(">~") for column in columns],
        *body,
        *([total] if total else []),
    ]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    _cut_to_fit(columns, lines, widths)
    row_styles = ["bold", *(styles or [""] * len(body)), "bold"]
    for line, style in zip(lines, row_styles, strict=False):
        cells = [
            (width - _width(cell)) * " " + cell
            if column.startswith(">")
            else cell + (width - _width(cell)) * " "
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        print_styled((GAP.join(cells).rstrip(), style))


def _cut_to_fit(columns: Sequence[str], lines: list[Sequence[str]], widths: list[int]) -> None:
    """Cut texts in the columns that allow it, the widest first, until the lines fit."""
    from shutil import get_terminal_size

    limit = get_terminal_size((0, 0)).columns  # 0: neither a terminal nor $COLUMNS
    flexible = [i for i, column in enumerate(columns) if column.startswith("~")]
    room = limit - sum(widths) - len(GAP) * (len(widths) - 1)
    if not limit or room >= 0:
        return
    room += sum(widths[i] for i in flexible)
    flexible.sort(key=widths.__getitem__)
    for left, i in zip(range(len(flexible), 0, -1), flexible, strict=True):
        widths[i] = min(widths[i], max(CUT_MIN, room // left))
        room -= widths[i]
    for at, line in enumerate(lines):
        lines[at] = [
            shortened(cell, widths[i]) if i in flexible else cell for i, cell in enumerate(line)
        ]


def shortened(text: str, columns: int) -> str:
    """Cut a text that is wider in the middle: both its ends tell it from others."""
    kept = len(text)
    cut = text
    while _width(cut) > columns:
        kept = min(kept - 1, columns - len(CUT))
        cut = f"{text[: (kept + 1) // 2]}{CUT}{text[len(text) - kept // 2 :]}"
    return cut


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


@contextmanager
def progress(total: int | None, wanted: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal; yield a function to call after each step.

    total: how many steps there are; None where that is unknown.
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
