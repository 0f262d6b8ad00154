"""Find what a server file's dialect does otherwise than the file may suggest."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ketama.addresses import Address, find_address
from ketama.admin.dialect import FileRules, file_rules, hashed_name
from ketama.admin.statement import BYTE_ORDER_MARK

if TYPE_CHECKING:
    from ketama.admin.check import Findings
    from ketama.admin.server_file import Line
    from ketama.continuum import Continuum


# A comment that was meant to state options; libketama takes no other spelling than "#ketama ".
_ALMOST = re.compile(
    rb"#(?!(?-i:ketama)[ \t])[ \t]*ketama\b[^\n]*\bprofile[ \t]*=", re.IGNORECASE
)
_RANGES = re.compile("-|[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*")


def check_statement(text: bytes, found: Findings) -> None:
    """Find a first line that looks as if it stated a profile, and is a comment."""
    if _ALMOST.match(text.removeprefix(BYTE_ORDER_MARK)):
        reason = (
            "this comment states nothing: begin the line with '#ketama ' to state a profile, "
            "such as '#ketama profile=libketama'"
        )
        found.add(1, "statement", reason)


def check_lost_statement(servers: list[Line], found: Findings) -> None:
    """Find a bucket map that is read as a list, because its first line is missing."""
    ranges: list[tuple[int, int]] = []
    for line in servers:
        name = line.name or ""
        if not _RANGES.fullmatch(name):
            return
        for part in name.split(",") if name != "-" else ():
            begin, _, end = part.partition("-")
            ranges.append((int(begin), int(end or begin)))
    count = 0
    for first, last in sorted(ranges):
        if first != count or last < first:
            return
        count = last + 1
    if count > 1 and count & (count - 1) == 0:
        reason = (
            f"the names are buckets 0 to {count - 1}, but without the first line '#ketama "
            f"profile=buckets buckets={count}', this is a ring"
        )
        found.add(servers[0].number, "statement", reason)


def check_dialect(continuum: Continuum, lines: list[Line], found: Findings) -> None:
    """Find what the dialect of a continuum ignores, or hashes in another form.

    lines: of its servers, in their order.
    """
    dialect = file_rules(continuum._now[0])
    if has_ignored_weights(dialect, lines):
        reason = (
            f'weights differ, but profile "{dialect.profile}" does not use them: each server '
            "has the same number of points"
        )
        found.add(None, "weights", reason)
    for line in lines:
        check_host(dialect, line, found)
    _check_port(dialect, lines, found)


def has_ignored_weights(dialect: FileRules, lines: list[Line]) -> bool:
    """Return whether servers have different weights, and the dialect does not use them."""
    return dialect.ignores_weights and len({line.weight for line in lines}) > 1


def hashed_names(continuum: Continuum, lines: list[Line], found: Findings) -> list[bytes]:
    """Return what is hashed for each server; find different addresses that are hashed alike."""
    handle = continuum._now[0]
    names = [hashed_name(handle, index) for index in range(len(lines))]
    first: dict[bytes, Line] = {}
    for line, name in zip(lines, names, strict=True):
        other = first.setdefault(name, line)
        if line.address != other.address:
            reason = (
                f"{line.address} is hashed like {other.address} on line {other.number}: both "
                "have the same points, so their weights do not add up"
            )
            found.add(line.number, "duplicate", reason)
    return names


def check_host(dialect: FileRules, line: Line, found: Findings) -> None:
    """Find a host name that is hashed, while the program hashes the IP address."""
    if dialect.ip_form is None or line.name:
        return
    address = find_address(line.address)
    if address is None or not address.host:
        return
    takes_both = "/" in dialect.ip_form
    if _is_ip(address.host) or (takes_both and "/" in address.host):
        return
    reason = (
        f'profile "{dialect.profile}" hashes the IP address of {address.host}'
        f"{', too' if takes_both else ''}: write {_written(dialect.ip_form, address)}"
    )
    found.add(line.number, "host", reason)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _written(form: str, address: Address) -> str:
    """Return how to write a server: its host name and port, and "ip" for its address."""
    form = form.replace("host", address.host)
    return form.replace(":port", "" if address.port is None else f":{address.port}")


def _check_port(dialect: FileRules, lines: list[Line], found: Findings) -> None:
    """Find servers on the port that this dialect leaves out of the hashed text."""
    if dialect.hidden_port is None:
        return
    addresses = (find_address(line.address) for line in lines if not line.name)
    if any(address and str(address.port) == dialect.hidden_port for address in addresses):
        reason = (
            f'profile "{dialect.profile}" does not hash port {dialect.hidden_port}, and other '
            "programs do: compare them with 'ketama agree'"
        )
        found.add(None, "default-port", reason, severity="note")
