"""Plain lists: host:port:weight, separated by commas, blanks or line breaks."""

from __future__ import annotations

import re
from typing import NamedTuple

from ketama.admin.imports.pools import Listed, Note, Pool, Source

# dalli, spymemcached, PHP's session.save_path and others.
SERVER = re.compile(
    r"""(?P<address> (?: unix: )? /[^\s,:]+ | (?: \[[0-9A-Fa-f:.%]+\] | [^\s,:/\[\]()"'{}=\#]+ )
        (?: :\d+ )? )
    (?: : (?P<weight> \d+ ))?""",
    re.VERBOSE,
)
UNKNOWN = "a plain list does not say which program's it is"


class Parsed(NamedTuple):
    """A server, as a list has it."""

    address: str
    weight: int


def matches(text: str) -> bool:
    """Return whether a text is likely in this format: each word has a port or is a path."""
    words = [word for _, word in _words(text)]
    return bool(words) and all(
        SERVER.fullmatch(word) and (":" in word or word.startswith("/")) for word in words
    )


def read(source: Source) -> Pool:
    """Return the servers of a list."""
    source.refuse_pool()
    servers: list[Listed] = []
    notes: list[Note] = []
    for line, word in _words(source.text):
        server = parse_server(source, line, word)
        add(servers, notes, Listed(line, *server))
    return Pool(None, None, servers, {}, notes, UNKNOWN)


def _words(text: str) -> list[tuple[int, str]]:
    lines = enumerate(text.splitlines(), 1)
    return [
        (number, word)
        for number, line in lines
        for word in re.split(r"[\s,;]+", line.partition("#")[0])
        if word
    ]


def parse_server(source: Source, line: int | None, text: str) -> Parsed:
    """Return the server that a text is: host, host:port, host:port:weight, /path:weight."""
    found = SERVER.fullmatch(text)
    if not found or text.isdigit():
        reason = f"invalid server {text!r:.80}: must be host:port or host:port:weight"
        if text.isdigit():
            reason += "; is this a server file of libketama already?"
        elif text.count(":") > 2:
            reason += ", with an IPv6 address in brackets"
        raise source.error(line, reason)
    weight = source.weight(line, found["weight"]) if found["weight"] else 1
    return Parsed(found["address"], weight)


def add(servers: list[Listed], notes: list[Note], server: Listed) -> None:
    """Add a server, unless its weight is 0: it has no keys then."""
    if server.weight:
        servers.append(server)
    else:
        reason = f"left out: {server.address:.80} has weight 0; others may get other points"
        notes.append(Note(server.line, reason))
