"""The lines of a bucket map, which list the buckets of each server."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from ketama.admin.dialect import options_in, stated_in
from ketama.admin.owners import NOBODY, assign, owners, ranges
from ketama.admin.server_file import Line
from ketama.admin.statement import BYTE_ORDER_MARK
from ketama.continuum import Continuum
from ketama.errors import ServersError

GAP = 3  # blanks before the buckets


def without_statement(text: bytes) -> bytes:
    """Return a server file's text without the line that states options, or a mark."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    return text if stated_in(text)[1] is text else text.partition(b"\n")[2]


def with_ranges(lines: list[Line], owned: Sequence[int]) -> list[Line]:
    """Return the lines of a server file, those of servers with the buckets that they own.

    owned: the index of each bucket's server, counted along the lines.
    """
    servers = [line for line in lines if line.address]
    column = max(map(_end, servers), default=0) + GAP
    listed = iter(ranges(owned, len(servers)))
    return [
        _with_ranges(line, next(listed).encode(), column) if line.address else line
        for line in lines
    ]


def _end(line: Line) -> int:
    """Return where the columns before the buckets end, characters."""
    return len(line.text[: line.name_end or line.weight_end].decode())


def _with_ranges(line: Line, listed: bytes, column: int) -> Line:
    """Return a line with other buckets, at a column if it had none."""
    start, end = line.ranges_at, line.ranges_end
    if not end:
        end = line.name_end or line.weight_end
        gap = b" " * (column - _end(line))
        return line._replace(
            text=line.text[:end] + gap + listed + line.text[end:],
            ranges_at=end + len(gap),
            ranges_end=end + len(gap) + len(listed),
        )
    return line._replace(
        text=line.text[:start] + listed + line.text[end:], ranges_end=start + len(listed)
    )


def same_servers(old: list[Line], new: list[Line]) -> dict[str, int]:
    """Return, by address, the numbers of the old lines of servers that are in new lines.

    A server is the same if its name is, or else its address.
    """
    servers = [line for line in old if line.address]
    by_name = {line.name or line.address: line.number for line in servers}
    by_address = {line.address: line.number for line in servers}
    found: dict[str, int] = {}
    taken: set[int] = set()
    for known, by in ((by_name, True), (by_address, False)):
        for line in new:
            number = known.get(line.name or line.address if by else line.address)
            if number is not None and number not in taken and line.address not in found:
                found[line.address] = number
                taken.add(number)
    return found


def balanced(lines: list[Line], old: list[Line], before: Continuum | None) -> list[Line]:
    """Return the lines of a map with fair shares, and the fewest moves from the map before.

    lines: a line with the number of one of the old lines is the same server.
    old: all lines of the map before; None: nobody has any bucket yet.
    """
    servers = [line for line in lines if line.address]
    listed = [(line.address, line.weight, line.name) for line in servers]
    count = buckets_of(lines)
    now = None
    if before is not None:
        numbers = [line.number for line in old if line.address]
        index = {line.number: i for i, line in enumerate(servers) if line.number}
        owner = [index.get(number, NOBODY) for number in numbers]
        now = array("I", map(owner.__getitem__, owners(before, count)))
    return with_ranges(lines, assign(listed, count, now))


def buckets_of(lines: list[Line]) -> int:
    """Return how many buckets the lines of a map state.

    Raises ServersError if they state none, though the map was opened as one.
    """
    stated, _ = stated_in(b"".join(line.text for line in lines[:1]))
    options = options_in(stated)
    if options.get("profile") != "buckets" or "buckets" not in options:
        reason = (
            "a map that is edited must state what it is: begin it with the line '#ketama "
            "profile=buckets buckets=N'"
        )
        raise ServersError(None, None, reason)
    return int(options["buckets"])
