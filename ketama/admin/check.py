"""Find errors and likely mistakes in a server file."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import NamedTuple

import ketama
from ketama._ketama import lib
from ketama.addresses import parse_address
from ketama.admin import server_file
from ketama.admin.server_file import Line
from ketama.continuum import Continuum, Path, continuum_of_text
from ketama.errors import ServersError
from ketama.settings import settings_text

SHARE_TOLERANCE = 0.10  # how far a server's share may be off its weight
LISTED_MAX = 1000  # findings of one code
# What the 2007 libketama can hold and read.
COMPAT_ADDRESS_BYTES, COMPAT_SERVERS, COMPAT_LINE_BYTES = 21, 117, 126

_ERRORS = {
    lib.KETAMA_ELINE: "line",
    lib.KETAMA_EADDRESS: "address",
    lib.KETAMA_ENAME: "name",
    lib.KETAMA_EWEIGHT: "weight",
    lib.KETAMA_ENOSERVERS: "no-servers",
    lib.KETAMA_ETOOMANY: "too-many",
}


NOTES = ("share",)  # of the keys, more than 10 % off the weight's: usual on a ring
WARNINGS = (
    "no-points",  # the weight is too small for a point
    "duplicate",  # the same address on two lines
    "port",
    "control",  # characters that do not print
)
COMPAT = (  # what the 2007 libketama would misread, or cannot hold: warnings, too
    "compat-address",
    "compat-servers",
    "compat-last-line",
    "compat-trailing-blank",
    "compat-name",
    "compat-empty-line",
    "compat-long-line",
)


class Finding(NamedTuple):
    """An error, a likely mistake, or something worth knowing in a server file.

    line: the line of the file, from 1; None for the file as a whole.
    severity: "error": the file cannot be used. "warning": it can, but hardly as intended.
        "note": usual, and no reason to refuse the file.
    code: the kind. Errors: "line", "address", "weight", "name", "no-servers",
        "too-many", "profile".
        Warnings: "no-points", "duplicate", "port", "control", and those that concern only the
        2007 libketama: "compat-address", "compat-servers", "compat-last-line",
        "compat-trailing-blank", "compat-name", "compat-empty-line", "compat-long-line".
        Notes: "share".
    reason: what is wrong, in words.
    """

    line: int | None
    severity: str
    code: str
    reason: str


def check(
    path: Path,
    *,
    compat: bool = False,
    profile: str | None = None,
    **options: str | int | None,
) -> list[Finding]:
    """Return all errors and likely mistakes in a server file, in the order of its lines.

    If there are errors, `Continuum(path)` raises the first one; here all are listed. Warnings:
    a server without points; a duplicate; an invalid port; control characters. Notes: a share
    of the keys more than 10 % off its weight, which is usual on a ring. At most 1,000 findings
    are listed per code; one more counts the rest. Findings about the whole file come last.

    compat: also warn of what the 2007 libketama would misread or cannot hold, for a file that
        it reads as well.
    profile, options: the dialect of the programs that read the file, if it does not state it,
        as for `Continuum`.
    Raises KetamaOSError if the file cannot be read; ProfileError, as `Continuum` does.
    """
    settings = settings_text({"profile": profile, **options})
    read = partial(server_file.read_file, os.fspath(path))
    return examine(read, compat=compat, settings=settings).in_order()


def examine(read: Callable[[], bytes], *, compat: bool, settings: bytes = b"") -> Findings:
    """Return what `check` finds in the text that a function reads, or why it has no text.

    settings: the options of a profile as libketama reads them.
    """
    found = Findings(compat=compat, settings=settings)
    try:
        text = read()
    except ServersError as error:
        found.add(None, "too-many", error.reason, severity="error")
    else:
        _check_text(text, found)
    return found


def _check_text(text: bytes, found: Findings) -> None:
    servers: list[Line] = []
    valid, end = [], 0  # the text with invalid lines empty
    for line in server_file.scan(text):
        if line.reason:
            found.add(line.number, _ERRORS[line.status], line.reason, severity="error")
            valid += [text[end : line.start], b"\n"]
            end = line.start + len(line.text)
        elif len(servers) <= lib.KETAMA_SERVERS_MAX:  # one more is an error
            servers.append(line)
    found.servers = len(servers)
    _check_servers(servers, found)
    if found.compat:
        _check_compat(text, servers, found)
    _check_ring(b"".join((*valid, text[end:])), servers, found)


class Findings:
    """Collects findings, at most LISTED_MAX of each code.

    counts: how many there are of each severity and code, listed or not.
    servers: how many valid lines with a server the file has.
    compat: whether to warn of what concerns only the 2007 libketama.
    settings: the options of a profile as libketama reads them.
    """

    def __init__(self, *, compat: bool = False, settings: bytes = b"") -> None:
        self.settings = settings
        self.compat = compat
        self.servers = 0
        self.names_clash = False
        self.counts: Counter[tuple[str, str]] = Counter()
        self._listed: list[Finding] = []

    def add(
        self, line: int | None, code: str, reason: str, *, severity: str = "warning"
    ) -> None:
        """Add a finding; only the first ones of its kind are listed."""
        self.counts[severity, code] += 1
        if self.counts[severity, code] <= LISTED_MAX:
            self._listed.append(Finding(line, severity, code, reason))

    def ignore(self, codes: Collection[str]) -> None:
        """Drop the findings with these codes that are not errors."""
        for severity, code in [*self.counts]:
            if severity != "error" and code in codes:
                del self.counts[severity, code]
        self._listed = [row for row in self._listed if (row.severity, row.code) in self.counts]

    def count(self, severity: str) -> int:
        """Return how many findings of a severity there are, listed or not."""
        return sum(count for key, count in self.counts.items() if key[0] == severity)

    def in_order(self) -> list[Finding]:
        """Return those that are listed in the order of their lines, the whole file's last."""
        found = sorted(self._listed, key=lambda finding: (finding.line is None, finding.line))
        for (severity, code), count in self.counts.items():
            if count > LISTED_MAX:
                reason = f"{count - LISTED_MAX:,} more lines like these"
                found.append(Finding(None, severity, code, reason))
        return found


def check_added(editing: ketama.Edit, address: str) -> list[Finding]:
    """Return the warnings about a server that an edit adds: "port", "control", "no-points".

    Raises ServersError if `editing.after` does.
    """
    found = Findings()
    servers = iter(editing.after.servers)
    number = 1  # of the line
    for line in editing._lines:
        server = next(servers) if line.address else None
        if server is not None and server.address == address:
            _check_texts(line._replace(number=number), found)
            if server.points == 0:
                total = sum(weight for _, weight, _ in editing.servers)
                found.add(number, "no-points", _no_points(server.weight, total))
        number += line.text.count(b"\n")
    return found.in_order()


def _label(line: Line) -> str:
    """Return the text that a server's points are made from: two with one label coincide."""
    return line.name or line.address


def _check_servers(servers: list[Line], found: Findings) -> None:
    first: dict[str, Line] = {}
    for line in servers:
        label = _label(line)
        other = first.setdefault(label, line)
        if other is not line and (line.name or other.name):
            reason = f"name {label} is also on line {other.number}: names must be unique"
            found.add(line.number, "name", reason, severity="error")
            found.names_clash = True
        elif other is not line:
            reason = (
                f"{label} is also on line {other.number}: both have the same points, so their "
                "weights do not add up"
            )
            found.add(line.number, "duplicate", reason)
        _check_texts(line, found)


def _check_compat(text: bytes, servers: list[Line], found: Findings) -> None:
    """Find what the 2007 libketama would misread or cannot hold."""
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


def _check_texts(line: Line, found: Findings) -> None:
    try:
        parse_address(line.address)
    except ValueError as error:
        found.add(line.number, "port", str(error))
    for what, text in (("address", line.address), ("name", line.name or "")):
        if not text.isprintable():
            reason = f"{what} {text!a} contains characters that do not print"
            found.add(line.number, "control", reason)


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


def _check_ring(text: bytes, servers: list[Line], found: Findings) -> None:
    """Find what is wrong with the servers as a whole, and shares that are off."""
    try:
        continuum = continuum_of_text(text, "", found.settings)
    except ServersError as error:
        # No line is invalid by itself: there are too many, or none.
        if error.lineno is not None and not found.names_clash:
            code = "too-many" if error.reason.startswith("too ") else "profile"
            found.add(error.lineno, code, error.reason, severity="error")
        elif not found.count("error"):
            found.add(None, "no-servers", error.reason, severity="error")
        return
    if not found.count("error"):
        _check_shares(servers, continuum, found)


def _no_points(weight: int, total: int) -> str:
    return f"weight {weight} of {total} is too small: the server gets no keys"


def _check_shares(lines: list[Line], continuum: Continuum, found: Findings) -> None:
    total = sum(line.weight for line in lines)
    # By label: if two coincide, only the first one has keys.
    weights: Counter[str] = Counter()
    shares: dict[str, float] = {}
    first: dict[str, Line] = {}
    for line, server in zip(lines, continuum.servers, strict=True):
        if server.points == 0:
            found.add(line.number, "no-points", _no_points(server.weight, total))
            continue
        label = _label(line)
        first.setdefault(label, line)
        weights[label] += server.weight
        shares[label] = shares.get(label, 0.0) + server.share
    for label, weight in weights.items():
        due, share = weight / total, shares[label]
        off = share / due - 1
        if abs(off) > SHARE_TOLERANCE:
            reason = (
                f"{label} has {100 * share:.4g} % of the keys and {100 * due:.4g} % of the "
                f"weight: {100 * abs(off):.0f} % {'above' if off > 0 else 'below'} its fair "
                "share"
            )
            found.add(first[label].number, "share", reason, severity="note")
