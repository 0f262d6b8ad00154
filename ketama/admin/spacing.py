"""Write a server's line of a server file, spaced like the other lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ketama.admin.server_file import Line

GAP = b"   "  # before the first name of a file


def line_like(servers: list[Line], address: str, weight: int, name: str | None) -> bytes:
    """Return a new server's line, without a line break, spaced like the last of the servers."""
    last = servers[-1]
    text = last.text[: last.address_at] + address.encode()
    text += _gap(_after_address(last), _columns(servers, "weight_at"), text)
    text += str(weight).encode()
    return (
        text if name is None else text + _gap_before_name(None, servers, text) + name.encode()
    )


def gap_before_ranges(servers: list[Line], text: bytes) -> bytes:
    """Return what is between a server of a map, whose text ends there, and its buckets."""
    listed = [line for line in servers if line.ranges_end]
    if not listed:
        return GAP
    gap = listed[-1].text[listed[-1].name_end or listed[-1].weight_end : listed[-1].ranges_at]
    return _gap(gap, _columns(listed, "ranges_at"), text)


def readdressed(line: Line, servers: list[Line], address: str, name: str) -> bytes:
    """Return the line of one of the servers with another address and a name.

    Its comment and its line break stay.
    """
    text = line.text[: line.address_at] + address.encode()
    text += _gap(_after_address(line), _columns(servers, "weight_at"), text)
    text += line.text[line.weight_at : line.weight_end]
    text += _gap_before_name(line, servers, text) + name.encode()
    return text + line.text[line.name_end or line.weight_end :]


def _after_address(line: Line) -> bytes:
    return line.text[line.address_at + len(line.address.encode()) : line.weight_at]


def _gap_before_name(line: Line | None, servers: list[Line], text: bytes) -> bytes:
    """Return what is between a weight and a name in a line, or else in the last named."""
    named = [server for server in servers if server.name]
    model = line if line is not None and line.name else (named[-1] if named else None)
    if model is None:
        gap = _after_address(servers[-1])
        return gap if gap.strip(b" ") else GAP
    gap = model.text[model.weight_end : model.name_at]
    return _gap(gap, _columns(named, "name_at"), text)


def _columns(lines: Iterable[Line], what: str) -> set[int]:
    """Return where weights or names begin in their lines, characters."""
    return {_width(line.text[: getattr(line, what)]) for line in lines}


def _gap(model: bytes, columns: set[int], text: bytes) -> bytes:
    """Return a gap like another one, or up to the column if there is just one."""
    if len(columns) == 1 and not model.strip(b" "):
        return b" " * max(1, min(columns) - _width(text))
    return model


def _width(text: bytes) -> int:
    return len(text.decode())
