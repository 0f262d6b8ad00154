"""libmemcached's configuration strings: --SERVER=host:port/?weight --DISTRIBUTION=..."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ketama.admin.imports.pools import Listed, Note, Pool, Source

WORD = re.compile(
    r"""\s+ | \#.*
    | --(?P<option>[A-Za-z_-]+) (?: = (?P<value> "[^"\n]*" [^\s"]* | [^\s"]+ ))? (?=\s|$)
    | (?P<command> INCLUDE | RESET | ERROR | END) \b
    """,
    re.VERBOSE | re.IGNORECASE,
)
SERVER = re.compile(r"(?P<address>[^/\s]+)(?:/\?(?P<weight>\d+))?")
SOCKET = re.compile(r'"(?P<address>/[^"]*)"(?:/\?(?P<weight>\d+))?')
# Options that have no part in finding a key's server.
IRRELEVANT = {
    "BINARY-PROTOCOL", "BUFFER-REQUESTS", "CONNECT-TIMEOUT", "FETCH-VERSION",
    "IO-BYTES-WATERMARK", "IO-KEY-PREFETCH", "IO-MSG-WATERMARK", "NOREPLY",
    "NUMBER-OF-REPLICAS", "POLL-TIMEOUT", "POOL-MAX", "POOL-MIN", "RANDOMIZE-REPLICA-READ",
    "RCV-TIMEOUT", "RETRY-TIMEOUT", "SND-TIMEOUT", "SOCKET-RECV-SIZE", "SOCKET-SEND-SIZE",
    "SUPPORT-CAS", "TCP-KEEPALIVE", "TCP-NODELAY", "USER-DATA", "USE-UDP", "VERIFY-KEY",
}  # fmt: skip
DROPPED = {
    "SORT-HOSTS": "it decides which of equal points wins",
    "REMOVE-FAILED-SERVERS": "libketama's ring keeps servers that are down",
    "SERVER-FAILURE-LIMIT": "libketama's ring keeps servers that are down",
}


class Option(NamedTuple):
    """An option of the string: its name in capitals, its value, and its line."""

    name: str
    value: str
    line: int


def matches(text: str) -> bool:
    """Return whether a text is likely in this format."""
    return re.search(r"(?:^|\s)--(?:SERVER|SOCKET)=", text, re.IGNORECASE) is not None


def read(source: Source) -> Pool:
    """Return the servers of a string."""
    source.refuse_pool()
    found = _Client(source)
    for option in _options(source):
        found.take(option)
    return found.pool()


def _options(source: Source) -> Iterator[Option]:
    at, line = 0, 1
    while at < len(source.text):
        word = WORD.match(source.text, at)
        if word is None:
            raise source.error(line, f"unexpected {source.text[at:].split()[0]!r:.80}")
        if word["option"]:
            name = word["option"].upper().replace("_", "-")
            yield Option(name, word["value"] or "", line)
        elif word["command"]:
            if word["command"].upper() == "END":
                return
            yield Option(word["command"].upper(), "", line)
        line += word[0].count("\n")
        at = word.end()


class _Client:
    """What libmemcached does with each option, in their order, for that counts."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.servers: list[Listed] = []
        self.notes: list[Note] = []
        self.distribution = "modula"
        self.hash = self.ring_hash = ""  # of keys, and of the points
        self.weighted = False
        self.namespace = ""
        self.hashes_namespace = False

    def take(self, option: Option) -> None:
        """Apply an option."""
        name, value, line = option
        if name in ("SERVER", "SOCKET"):
            self._add(option)
        elif name == "DISTRIBUTION":
            self._distribute(option)
        elif name == "HASH":
            self.hash = value.lower()
        elif name == "NAMESPACE":
            self.namespace = value.strip('"')
        elif name == "HASH-WITH-NAMESPACE":
            self.hashes_namespace = True
        elif name in ("CONFIGURE-FILE", "INCLUDE"):
            reason = f"{name} reads another file: import that one, or put its options here"
            raise self.source.error(line, reason)
        elif name in ("RESET", "ERROR"):
            raise self.source.error(line, f"unexpected {name}")
        elif name not in IRRELEVANT:
            self.notes.append(Note(line, f"ignored: --{name}: {DROPPED.get(name, 'unknown')}"))

    def _add(self, option: Option) -> None:
        name, value, line = option
        found = (SERVER if name == "SERVER" else SOCKET).fullmatch(value)
        if not found:
            form = "host:port/?weight" if name == "SERVER" else '"/path"/?weight'
            reason = f"invalid --{name} {value!r:.80}: must be {form}"
            raise self.source.error(line, reason)
        weight = max(1, self.source.weight(line, found["weight"] or "1"))  # 0 counts as 1
        self.servers.append(Listed(line, found["address"], weight))
        if re.search(r"/\?\d+$", found["address"]):
            reason = f"{value:.80} has no weight: libmemcached reads it after the quotes only"
            self.notes.append(Note(line, reason))
        if self.distribution == "consistent":
            self.ring_hash = self.hash
            self.weighted = self.weighted or weight > 1

    def _distribute(self, option: Option) -> None:
        # The hash after a comma has no effect.
        self.distribution = option.value.lower().partition(",")[0]
        self.ring_hash = self.hash
        if self.distribution not in ("consistent", "modula", "random"):
            reason = f"invalid --DISTRIBUTION {option.value!r:.80}: must be consistent, modula "
            raise self.source.error(option.line, reason + "or random")

    def pool(self) -> Pool:
        """Return the servers and the dialect that they come to."""
        self._explain()
        options = {"profile": "libmemcached-ketama"}
        if self.hash:
            options["hash"] = self.hash
        return Pool(None, None, self.servers, options, self.notes)

    def _explain(self) -> None:
        """Note what libketama would do in another way, and what weights come to."""
        if self.distribution != "consistent":
            reason = f"the distribution is {self.distribution}, not consistent: keys will move"
            self.notes.append(Note(None, reason))
            return
        if not self.weighted and self.hash != self.ring_hash:
            reason = (
                "--HASH comes last, so libmemcached hashes keys by it and not the points: "
                "keys will move"
            )
            self.notes.append(Note(None, reason))
        if not self.weighted and any(server.weight > 1 for server in self.servers):
            reason = (
                "ignored: weights, as libmemcached does: no server after "
                "--DISTRIBUTION=consistent has one above 1"
            )
            self.notes.append(Note(None, reason))
            self.servers = [server._replace(weight=1) for server in self.servers]
        if self.namespace and self.hashes_namespace:
            reason = (
                f"{self.namespace!r:.80} is hashed before each key: use 'ketama where --prefix'"
            )
            self.notes.append(Note(None, reason))
