"""What is wrong with a server file, and what is doubtful about it."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, NamedTuple

from ketama._ketama import lib
from ketama.admin import server_file
from ketama.errors import ServersError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ketama.admin.server_file import Line
    from ketama.continuum import Continuum, Path

UNEVEN = 0.10  # how far a share may be off its weight
# What libketama of 2007 can hold and read.
OLD_ADDRESS_BYTES, OLD_SERVERS, OLD_LINE_BYTES = 21, 117, 126
PORTS = 65535

_ERRORS = {
    lib.KETAMA_ELINE: "line",
    lib.KETAMA_EADDRESS: "address",
    lib.KETAMA_ENAME: "name",
    lib.KETAMA_EWEIGHT: "weight",
    lib.KETAMA_ENOSERVERS: "no-servers",
    lib.KETAMA_ETOOMANY: "too-many",
}


WARNINGS = (
    "share",  # of the keys, more than 10 % off the weight's
    "no-points",  # a weight too small for any
    "duplicate",  # an address that is there twice
    "port",  # that is none
    "control",  # characters that do not print
    # What the libketama of 2007 would misread, or can't hold.
    "old-address",
    "old-servers",
    "old-last-line",
    "old-trailing-blank",
    "old-empty-line",
    "old-long-line",
)


class Finding(NamedTuple):
    """Something wrong, or doubtful, in a server file.

    line: the line of the file, from 1; None where it is not in one place.
    severity: "error": no continuum can be made of the file; or "warning".
    code: the kind. Errors: "line", "address", "weight", "no-servers", "too-many". Warnings:
        "share", "no-points", "duplicate", "port", "control", and, which concern the
        libketama of 2007 alone, "old-address", "old-servers", "old-last-line",
        "old-trailing-blank", "old-empty-line", "old-long-line".
    reason: a sentence.
    """

    line: int | None
    severity: str
    code: str
    reason: str


def check(path: Path) -> list[Finding]:
    """Find everything that is wrong with a server file or doubtful about it.

    Errors are what makes `Continuum(path)` raise, and here all of them are given. Warnings:
    a server without a point, a share of the keys more than 10 % off its weight, an address
    that is there twice, has no port where one is begun, or control characters; and what the
    libketama of 2007 would misread or can't hold.

    Gives the findings by their lines; those of the whole file come last.
    Raises KetamaOSError where the file can't be read.
    """
    try:
        text = server_file.read_file(os.fspath(path))
    except ServersError as error:
        return [Finding(None, "error", "too-many", error.reason)]
    return check_text(text)


def check_text(text: bytes) -> list[Finding]:
    """Find what `check` finds in the text of a server file."""
    parsed = server_file.parse(text)
    found = [*_errors(parsed), *_doubts_by_line(parsed), *_doubts_of_the_whole(parsed)]
    wrong = any(finding.severity == "error" for finding in found)
    good = [line for line in parsed if not line.fault]
    try:
        continuum = server_file.continuum(good, "")
    except ServersError as error:
        # No line is wrong by itself, so there are none, or too much of them.
        if error.lineno is not None:
            found.append(Finding(error.lineno, "error", "too-many", error.reason))
        elif not wrong:
            found.append(Finding(None, "error", "no-servers", error.reason))
    else:
        found += [] if wrong else _doubts_of_shares(parsed, continuum)
    found.sort(key=lambda finding: (finding.line is None, finding.line or 0))
    return found


def _errors(parsed: list[Line]) -> Iterator[Finding]:
    for line in parsed:
        if line.fault:
            yield Finding(line.number, "error", _ERRORS[line.status], line.fault)


def _doubts_by_line(parsed: list[Line]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for line in parsed:
        if len(line.text.rstrip(b"\n")) > OLD_LINE_BYTES:
            yield _doubt(
                line,
                "old-long-line",
                f"libketama reads a line of more than {OLD_LINE_BYTES} bytes as two",
            )
        if line.text == b"\r\n":
            yield _doubt(line, "old-empty-line", "libketama refuses an empty line of CR LF")
        if not line.address:
            continue
        if line.address in first:
            reason = (
                f"{line.address} stands in line {first[line.address]} as well: both have the "
                "same points, so their weights do not add up"
            )
            yield _doubt(line, "duplicate", reason)
        first.setdefault(line.address, line.number)
        if fault := port_fault(line.address):
            yield _doubt(line, "port", fault)
        if not line.address.isprintable():
            yield _doubt(
                line, "control", f"address {line.address!a} has characters that do not print"
            )
        size = len(line.address.encode())
        if size > OLD_ADDRESS_BYTES:
            reason = f"the address has {size} bytes, and libketama holds {OLD_ADDRESS_BYTES}"
            yield _doubt(line, "old-address", reason)
        yield from _doubts_of_the_end(line)


def _doubts_of_the_end(line: Line) -> Iterator[Finding]:
    """Find where libketama takes the last digit for the line's end."""
    rest = line.text[line.weight_at :]
    digits = rest.strip(b" \t\r\n").decode()
    misread = f"libketama reads {digits[:-1] or 'nothing'} for {digits}"
    if not line.end:
        yield _doubt(line, "old-last-line", f"the last line has no end, so {misread}")
    elif rest != digits.encode() + line.end:
        yield _doubt(line, "old-trailing-blank", f"a blank stands behind the weight: {misread}")


def _doubts_of_the_whole(parsed: list[Line]) -> Iterator[Finding]:
    servers = sum(bool(line.address) for line in parsed)
    if servers > OLD_SERVERS:
        reason = f"there are {servers} servers, and libketama crashes above {OLD_SERVERS}"
        yield Finding(None, "warning", "old-servers", reason)


def _doubts_of_shares(parsed: list[Line], continuum: Continuum) -> Iterator[Finding]:
    servers = continuum.servers
    total = sum(server.weight for server in servers)
    # By address: of two that are equal, only the first one has keys.
    weights: dict[str, int] = {}
    shares: dict[str, float] = {}
    first: dict[str, Line] = {}
    for line, server in zip((line for line in parsed if line.address), servers, strict=True):
        if server.points == 0:
            reason = f"weight {server.weight} of {total} is too small for a point"
            yield _doubt(line, "no-points", reason)
            continue
        first.setdefault(server.address, line)
        weights[server.address] = weights.get(server.address, 0) + server.weight
        shares[server.address] = shares.get(server.address, 0.0) + server.share
    for address, weight in weights.items():
        due, share = weight / total, shares[address]
        off = share / due - 1
        if abs(off) > UNEVEN:
            reason = (
                f"{address} has {100 * share:.4g} % of the keys and {100 * due:.4g} % of the "
                f"weight: {100 * abs(off):.0f} % {'more' if off > 0 else 'less'} than its due"
            )
            yield _doubt(first[address], "share", reason)


def _doubt(line: Line, code: str, reason: str) -> Finding:
    return Finding(line.number, "warning", code, reason)


def port_fault(address: str) -> str | None:
    """Say what is wrong with an address's port, where it seems to have one; else None.

    host:port, [IPv6]:port and host alone are good, and so are paths of Unix sockets and an
    IPv6 address without a port.
    """
    if "/" in address or ":" not in address:
        return None
    if address.startswith("["):
        port = address.partition("]")[2]
        if not port:
            return None
        port = port.removeprefix(":")
    else:
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            port = address.rpartition(":")[2]
        else:
            return None
    if port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= PORTS:
        return None
    return f"{port!a} in {address!a} is no port, which is a number from 1 to {PORTS}"
