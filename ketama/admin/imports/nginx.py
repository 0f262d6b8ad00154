"""nginx's upstream blocks."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from ketama.admin.imports.pools import Listed, Note, Pool, Source
from ketama.errors import KetamaOSError

# Other ways to choose a server, of nginx and of its modules.
METHODS = {
    "consistent_hash", "fair", "hash_method", "ip_hash", "least_conn", "least_time", "random",
    "sticky",
}  # fmt: skip

# Parameters of a server: with these, nginx gives it no keys of its own;
UNUSED = {"backup", "down", "drain"}
# these change its address; and these change nothing.
RESOLVING = {"resolve", "service"}
IRRELEVANT = {"fail_timeout", "id", "max_conns", "max_fails", "route", "slow_start"}

NESTING_MAX = 200  # crossplane parses a block within a block by recursion

Directive = dict[str, Any]  # as crossplane has it


def matches(text: str) -> bool:
    """Return whether a text is likely in this format."""
    return re.search(r"^[ \t]*upstream[ \t]+\S+\s*\{", text, re.MULTILINE) is not None


def read(source: Source) -> Pool:
    """Return the servers of an upstream block."""
    tree = _parsed(source)
    upstreams: dict[str, Directive] = {}
    for directive in _upstreams(tree):
        name = " ".join(directive["args"])
        if name in upstreams:
            raise source.error(directive["line"], f"upstream {name!r:.80} is given twice")
        upstreams[name] = directive
    if not upstreams:
        included = any(directive["directive"] == "include" for directive in _all(tree))
        hint = ": include directives are not followed" if included else ""
        raise source.error(None, f"no upstream block{hint}")
    name = source.choose("upstream", {name: row["line"] for name, row in upstreams.items()})
    return _pool(source, name, upstreams[name])


def _parsed(source: Source) -> list[Directive]:
    """Return the directives, of this text alone: crossplane reads from files only."""
    import crossplane

    steps = ({"{": 1, "}": -1}.get(character, 0) for character in source.text)
    if max(accumulate(steps, initial=0)) > NESTING_MAX:
        raise source.error(None, "nested too deeply")
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "nginx.conf")
            path.write_text(source.text, encoding="utf-8", newline="")
            # A part of a configuration will do, and modules have directives of their own, so
            # contexts and arguments are not checked. No include is read.
            payload = crossplane.parse(
                str(path), single=True, check_ctx=False, check_args=False
            )
    except OSError as error:
        reason = f"cannot copy it to a temporary directory: {error.strerror}"
        raise KetamaOSError(error.errno, reason, source.filename) from None
    for found in payload["errors"]:
        reason = re.sub(r" in \S+nginx\.conf(:\d+)?$", "", found["error"])
        # crossplane gives no reason where a text ends within a directive.
        reason = reason or 'unexpected end of file, expecting ";"'
        raise source.error(found["line"], f"invalid configuration: {reason:.200}")
    parsed: list[Directive] = payload["config"][0]["parsed"]
    return parsed


def _all(tree: list[Directive]) -> Iterator[Directive]:
    for directive in tree:
        yield directive
        yield from _all(directive.get("block", []))


def _upstreams(tree: list[Directive]) -> Iterator[Directive]:
    for directive in _all(tree):
        if directive["directive"] == "upstream" and "block" in directive:
            yield directive


def _pool(source: Source, name: str, upstream: Directive) -> Pool:
    servers: list[Listed] = []
    notes: list[Note] = []
    hashed = False
    for directive in upstream["block"]:
        kind, args, line = (directive[key] for key in ("directive", "args", "line"))
        if kind == "server":
            servers += _server(source, directive, notes)
        elif kind == "include":
            reason = "include in an upstream block: put the servers that it has here"
            raise source.error(line, reason)
        elif kind == "hash":
            hashed = True
            _check_hash(args, line, notes)
        elif kind in METHODS:
            notes.append(Note(line, f"{kind} is not ketama: keys will move"))
    if not hashed:
        reason = "there is no 'hash KEY consistent', so this is not ketama: keys will move"
        notes.append(Note(upstream["line"], reason))
    return Pool(name, upstream["line"], servers, {"profile": "nginx"}, notes)


def _check_hash(args: list[str], line: int, notes: list[Note]) -> None:
    key = args[0] if args else ""
    if args[1:] != ["consistent"]:
        notes.append(Note(line, "hash without consistent is not ketama: keys will move"))
    if not re.fullmatch(r"\$\w+|\$\{\w+\}", key):
        notes.append(Note(line, f"nginx hashes {key!r:.80}, so that is the key to look up"))


def _server(source: Source, directive: Directive, notes: list[Note]) -> list[Listed]:
    """Return the server of a directive, if nginx uses it."""
    line, args = directive["line"], directive["args"]
    if not args:
        raise source.error(line, "server without an address")
    address, *parameters = args
    weight = 1
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        if name == "weight" and equals:
            weight = source.weight(line, value)
        elif parameter in UNUSED:
            notes.append(Note(line, f"left out: {address:.80} is marked {parameter}"))
            return []
        elif name in RESOLVING:
            notes.append(Note(line, f"ignored: {parameter:.80} of {address:.80}"))
        elif name not in IRRELEVANT:
            raise source.error(line, f"unexpected {parameter!r:.80} of server {address!r:.80}")
    return [Listed(line, address, weight)]
