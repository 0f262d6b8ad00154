"""Find what only the 2007 libketama would misread in a server file, or cannot hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ketama.admin.dialect import DEFAULT, PROFILE, label_of, options_in, stated_in
from ketama.admin.statement import BYTE_ORDER_MARK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ketama.admin.check import Findings
    from ketama.admin.server_file import Line

COMPAT_ADDRESS_BYTES, COMPAT_SERVERS, COMPAT_LINE_BYTES = 21, 117, 126


def check_compat(text: bytes, servers: list[Line], found: Findings) -> None:
    """Find what the 2007 libketama would misread or cannot hold in these lines."""
    if text.startswith(BYTE_ORDER_MARK):
        reason = "byte order mark; the 2007 libketama would read it as a part of the line"
        found.add(1, "compat-byte-order-mark", reason)
    options = options_in(stated_in(text)[0])
    if options.get(PROFILE, DEFAULT) != DEFAULT:
        reason = (
            f"{label_of(options)} is stated; the 2007 libketama would ignore that, and build "
            "its own ring"
        )
        found.add(1, "compat-profile", reason)
    for line in servers:
        size = len(line.address.encode())
        if size > COMPAT_ADDRESS_BYTES:
            reason = (
                f"address has {size} bytes; the 2007 libketama holds at most "
                f"{COMPAT_ADDRESS_BYTES}"
            )
            found.add(line.number, "compat-address", reason)
        _check_line_end(line, found)
    _check_line_lengths(text, found)
    if len(servers) > COMPAT_SERVERS:
        reason = (
            f"{len(servers)} servers; the 2007 libketama crashes with more than "
            f"{COMPAT_SERVERS}"
        )
        found.add(None, "compat-servers", reason)


def _check_line_end(line: Line, found: Findings) -> None:
    """Find where the 2007 libketama would drop the last digit of the weight."""
    rest = line.text[line.weight_end :].removesuffix(line.line_break)
    if line.line_break and not rest:
        return
    if rest.strip(b" \t\r"):
        code, what = "compat-name", "text after the weight"
    elif rest:
        code, what = "compat-trailing-blank", "trailing space after the weight"
    else:
        code, what = "compat-last-line", "no newline at the end of the file"
    read = line.text[line.weight_at : line.weight_end - 1].decode() or "no weight"
    found.add(line.number, code, f"{what}; the 2007 libketama would read {read}")


def _check_line_lengths(text: bytes, found: Findings) -> None:
    """Find lines that the 2007 libketama would split or reject, comments included."""
    long = (
        match.span() for match in re.finditer(rb"[^\n]{%d,}" % (COMPAT_LINE_BYTES + 1), text)
    )
    for number, (start, end) in _numbered(text, long):
        reason = (
            f"line has {end - start} bytes; the 2007 libketama splits it after "
            f"{COMPAT_LINE_BYTES}"
        )
        found.add(number, "compat-long-line", reason)
    for number, _ in _numbered(text, _empty_crlf_lines(text)):
        reason = "empty line ends in CR LF; the 2007 libketama would reject it"
        found.add(number, "compat-empty-line", reason)


def _empty_crlf_lines(text: bytes) -> Iterator[tuple[int, int]]:
    if text.startswith(b"\r\n"):
        yield 0, 2
    at = -1
    while (at := text.find(b"\n\r\n", at + 1)) >= 0:
        yield at + 1, at + 3


def _numbered(
    text: bytes, spans: Iterator[tuple[int, int]]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield the number of each line with its span, which are in ascending order."""
    number, before = 1, 0
    for span in spans:
        number += text.count(b"\n", before, span[0])
        before = span[0]
        yield number, span
