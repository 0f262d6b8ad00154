"""Find errors and likely mistakes in a server file."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

import ketama
from ketama._ketama import lib
from ketama.addresses import parse_address
from ketama.admin import server_file
from ketama.admin.check_compat import check_compat
from ketama.admin.check_dialect import (
    check_dialect,
    check_host,
    check_lost_statement,
    check_statement,
    has_ignored_weights,
    hashed_names,
)
from ketama.admin.dialect import file_rules
from ketama.admin.owners import needed
from ketama.admin.server_file import Line
from ketama.continuum import Continuum, Path, continuum_of_text
from ketama.errors import ServersError
from ketama.settings import settings_text

SHARE_TOLERANCE = 0.10  # how far a server's share may be off its weight
LISTED_MAX = 1000  # findings of one code

_ERRORS = {
    lib.KETAMA_ELINE: "line",
    lib.KETAMA_EADDRESS: "address",
    lib.KETAMA_ENAME: "name",
    lib.KETAMA_EWEIGHT: "weight",
    lib.KETAMA_ENOSERVERS: "no-servers",
    lib.KETAMA_ETOOMANY: "too-many",
}
_OF_BUCKETS = re.compile(r"invalid (buckets|range) |bucket \d|\d+ of \d+ buckets ")
ONCE = "this profile takes each server once"  # how the reason ends if it is on two lines


NOTES = (
    "share",  # of the keys, more than 10 % off the weight's: usual on a ring
    "default-port",  # the dialect does not hash it, others do
    "coarse",  # a bucket map, with too few buckets for its weights
)
WARNINGS = (
    "no-points",  # the weight is too small for a point
    "duplicate",  # two lines with the same points
    "statement",  # a comment that nearly states a profile, or a map that has lost it
    "port",
    "control",  # characters that do not print
    "weights",  # the dialect does not use them, and they differ
    "host",  # a name, where the dialect hashes the IP address
)
COMPAT = (  # what the 2007 libketama would misread, or cannot hold: warnings, too
    "compat-address",
    "compat-servers",
    "compat-profile",
    "compat-byte-order-mark",
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
        "too-many", "profile", "buckets".
        Warnings: "no-points", "duplicate", "statement", "port", "control"; those that
        concern only some dialects: "weights", "host"; and those that concern only the
        2007 libketama: "compat-address", "compat-servers", "compat-profile",
        "compat-byte-order-mark", "compat-last-line", "compat-trailing-blank", "compat-name",
        "compat-empty-line", "compat-long-line".
        Notes: "share", "default-port", "coarse".
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
    a server without points; a duplicate; an invalid port; control characters; in dialects that
    mind, different weights where they are not used, and a host name where the IP address is
    hashed. Notes: a share of the keys more than 10 % off its weight, which is usual on a ring;
    servers on a port that the dialect leaves out of the hashed text; a bucket map with too few
    buckets for its weights. At most 1,000 findings are
    listed per code; one more counts the rest. Findings about the whole file come last.

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
    has_ranges = server_file.is_map(text, found.settings)
    for line in server_file.scan(text, has_ranges=has_ranges):
        if line.reason:
            found.add(line.number, _ERRORS[line.status], line.reason, severity="error")
            valid += [text[end : line.start], b"\n"]
            end = line.start + len(line.text)
        elif len(servers) <= lib.KETAMA_SERVERS_MAX:  # one more is an error
            servers.append(line)
    found.servers = len(servers)
    _check_servers(servers, found)
    check_statement(text, found)
    if not has_ranges and not found.count("error"):
        check_lost_statement(servers, found)
    if found.compat:
        check_compat(text, servers, found)
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
        self.clashes: list[tuple[int, str]] = []  # lines that repeat a name, and why
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
    """Return the warnings about a server that an edit adds, as far as its line has them.

    Raises ServersError if `editing.after` does.
    """
    found = Findings()
    dialect = file_rules(editing.after._now[0])
    servers = iter(editing.after.servers)
    number = 1  # of the line
    for line in editing._lines:
        server = next(servers) if line.address else None
        if server is not None and server.address == address:
            _check_texts(line._replace(number=number), found)
            check_host(dialect, line._replace(number=number), found)
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
            found.clashes.append((line.number, reason))
        elif other is not line:
            reason = (
                f"{label} is also on line {other.number}: both have the same points, so their "
                "weights do not add up"
            )
            found.add(line.number, "duplicate", reason)
        _check_texts(line, found)


def _check_texts(line: Line, found: Findings) -> None:
    try:
        parse_address(line.address)
    except ValueError as error:
        found.add(line.number, "port", str(error))
    for what, text in (("address", line.address), ("name", line.name or "")):
        if not text.isprintable():
            reason = f"{what} {text!a} contains characters that do not print"
            found.add(line.number, "control", reason)


def _check_ring(text: bytes, servers: list[Line], found: Findings) -> None:
    """Find what is wrong with the servers as a whole, and shares that are off."""
    try:
        continuum = continuum_of_text(text, "", found.settings)
    except ServersError as error:
        # No line is invalid by itself: there are too many, or none; or names that clash.
        for number, reason in found.clashes:
            found.add(number, "name", reason, severity="error")
        if error.reason.endswith(ONCE):
            found.ignore(["duplicate"])  # which says what it would mean elsewhere
        if (error.lineno is not None and not found.clashes) or not found.count("error"):
            found.add(error.lineno, _code_of(error), error.reason, severity="error")
        return
    if found.count("error"):
        return
    check_dialect(continuum, servers, found)
    names = hashed_names(continuum, servers, found)
    if any(line.ranges_end for line in servers):
        _check_buckets(continuum, found)
    if not has_ignored_weights(file_rules(continuum._now[0]), servers):
        _check_shares(servers, names, continuum, found)


def _check_buckets(continuum: Continuum, found: Findings) -> None:
    """Find whether a share is off because there are too few buckets."""
    servers = [(server.address, server.weight) for server in continuum.servers]
    count = sum(server.points for server in continuum.servers)
    total = sum(weight for _, weight in servers)
    off = max(abs(row.share * total / row.weight - 1) for row in continuum.servers)
    enough = needed(servers, SHARE_TOLERANCE)
    if off <= SHARE_TOLERANCE or (enough is not None and enough <= count):
        return
    fine = needed(servers, 0.01)
    least = min(weight for _, weight in servers)
    remedy = "write larger weights for small servers" if fine is None else f"{fine:,} do"
    reason = (
        f"{count:,} buckets cannot keep the server with the weight {least} within 1 % of its "
        f"fair share: {remedy}"
    )
    found.add(None, "coarse", reason, severity="note")


def _code_of(error: ServersError) -> str:
    """Return the code of what is wrong with the servers as a whole."""
    if error._status == lib.KETAMA_ELINE and _OF_BUCKETS.match(error.reason):
        return "buckets"
    if error._status in (lib.KETAMA_ENOSERVERS, lib.KETAMA_ETOOMANY):
        return _ERRORS[error._status]
    return "name" if error.reason.endswith("names must be unique") else "profile"


def _no_points(weight: int, total: int) -> str:
    return f"weight {weight} of {total} is too small: the server gets no keys"


def _check_shares(
    lines: list[Line], names: list[bytes], continuum: Continuum, found: Findings
) -> None:
    """Find servers whose share of the keys is off; names: what is hashed for each."""
    total = sum(line.weight for line in lines)
    # By name: if two coincide, only one of them has keys.
    weights: Counter[bytes] = Counter()
    shares: dict[bytes, float] = {}
    first: dict[bytes, Line] = {}
    for line, name, server in zip(lines, names, continuum.servers, strict=True):
        if server.points == 0:
            found.add(line.number, "no-points", _no_points(server.weight, total))
            continue
        first.setdefault(name, line)
        weights[name] += server.weight
        shares[name] = shares.get(name, 0.0) + server.share
    for name, weight in weights.items():
        due, share = weight / total, shares[name]
        off = share / due - 1
        if abs(off) > SHARE_TOLERANCE:
            reason = (
                f"{_label(first[name])} has {100 * share:.4g} % of the keys and "
                f"{100 * due:.4g} % of the weight: {100 * abs(off):.0f} % "
                f"{'above' if off > 0 else 'below'} its fair share"
            )
            found.add(first[name].number, "share", reason, severity="note")
