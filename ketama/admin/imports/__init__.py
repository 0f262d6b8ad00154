"""Server lists as other programs write them -> a server file.

One module per format; each has `matches`, whether a text is likely in it, and `read`, which
returns the servers of one ring and its dialect. Parsers are imported where they are used.
"""

from __future__ import annotations

from typing import NamedTuple

from ketama.admin.imports import libmemcached, literal, nginx, plain, twemproxy
from ketama.admin.imports.pools import Listed, Note, Pool, Source
from ketama.admin.server_file import check_server
from ketama.continuum import Continuum, continuum_of_text
from ketama.errors import ServersError
from ketama.settings import settings_text

FORMATS = {
    "twemproxy": twemproxy,
    "libmemcached": libmemcached,
    "nginx": nginx,
    "literal": literal,
    "list": plain,
}
SIZE_MAX = 4 << 20  # bytes: some parsers take a second for each 300 KB


class Imported(NamedTuple):
    """A server file made of another program's configuration.

    format: the one that was read. pool: the pool's name; None where the format has none.
    servers: in their order.
    settings: the profile and its options, as after #ketama; "" if they are not known.
    notes: what could not be carried over.
    text: of the server file.
    """

    format: str
    pool: str | None
    servers: tuple[Listed, ...]
    settings: str
    notes: tuple[Note, ...]
    text: bytes


def import_servers(
    text: bytes,
    filename: str,
    *,
    format: str | None = None,  # noqa: A002 - as the command has it
    pool: str | None = None,
    settings: bytes = b"",
) -> Imported:
    """Return a server file with the servers of another program's configuration.

    text: the configuration. filename: its name in messages.
    format: one of FORMATS; None: find out. pool: the one that is wanted of several.
    settings: options as libketama reads them. A profile replaces that of the configuration;
        other options are added to it.
    Raises ServersError, with the configuration's line, if it is invalid, has several pools and
    none is named, or lists what libketama does not accept; ProfileError if the settings are
    invalid; KetamaOSError if a temporary file cannot be written; ModuleNotFoundError if the
    parser of the format is not installed.
    """
    source = Source(_decoded(text, filename), filename, pool)
    format = format or _detect(source)  # noqa: A001
    found = FORMATS[format].read(source)
    if not found.servers:
        raise source.error(found.line, "no servers")
    _check(source, found)
    chosen, notes = _settings(source, found, settings.decode())
    if settings:  # an error in these is not the configuration's
        _opened(source, found, "", chosen)
    made = _server_file(source, found, chosen)
    return Imported(
        format, found.name, tuple(found.servers), chosen, (*found.notes, *notes), made
    )


def _decoded(text: bytes, filename: str) -> str:
    if len(text) > SIZE_MAX:
        raise ServersError(filename, None, f"too large: more than {SIZE_MAX} bytes")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise ServersError(filename, line, "not UTF-8 text") from None
    if "\0" in decoded:
        line = text.count(b"\n", 0, text.index(b"\0")) + 1
        raise ServersError(filename, line, "not text: has a NUL byte")
    return decoded


def _detect(source: Source) -> str:
    found = [name for name, module in FORMATS.items() if module.matches(source.text)]
    if len(found) == 1:
        return found[0]
    why = f"may be {' or '.join(found)}" if found else "unknown format"
    raise source.error(None, f"{why}: choose one with --format: {', '.join(FORMATS)}")


def _settings(source: Source, found: Pool, chosen: str) -> tuple[str, list[Note]]:
    """Return the options to state, and what is to be said about them."""
    for name, value in found.options.items():
        if not value.isprintable():  # nor can a line state it: escapes make any character
            reason = f"invalid {name} {value!a:.80}: has characters that do not print"
            raise source.error(found.line, reason)
    own = settings_text(found.options).decode()
    if not chosen.startswith("profile="):
        joined = " ".join(filter(None, (own, chosen)))
        if own:
            return joined, []
        reason = f"{found.unknown}; the default profile is assumed: choose one with --profile"
        return joined, [Note(None, reason)]
    if not own or chosen.split()[0] == own.split()[0]:
        return chosen, []
    return chosen, [Note(None, f"the configuration says {own}, not {chosen}: keys will move")]


def _check(source: Source, found: Pool) -> None:
    """Check that each server can be one, before they become a text."""
    for server in found.servers:
        try:
            check_server(server.address, server.weight, server.name)
        except ServersError as error:
            raise source.error(server.line, error.reason) from None


def _server_file(source: Source, found: Pool, settings: str) -> bytes:
    """Return the text of a server file, as libketama has read it."""
    header = f"#ketama {settings}\n" if settings else ""
    read = _opened(source, found, header, "").servers
    for server, row in zip(found.servers, read, strict=True):
        if server[1:] != (row.address, row.weight, row.name):
            reason = f"a server file cannot begin with the address {server.address!a:.80}"
            raise source.error(server.line, reason)
    return (header + _table(found.servers)).encode()


def _opened(source: Source, found: Pool, header: str, settings: str) -> Continuum:
    """Return the ring of the servers; its errors are those of the configuration."""
    text = header + _table(found.servers)
    try:
        return continuum_of_text(text.encode(), source.filename, settings.encode())
    except ServersError as error:
        line = error.lineno
        if line is None or (header and line == 1):
            raise source.error(found.line, error.reason) from None
        raise source.error(found.servers[line - 1 - bool(header)].line, error.reason) from None


def _table(servers: list[Listed]) -> str:
    address = max(len(server.address) for server in servers)
    weight = max(len(str(server.weight)) for server in servers)
    return "".join(
        f"{row.address:<{address}}   {row.weight:>{weight}}   {row.name or ''}".rstrip() + "\n"
        for row in servers
    )
