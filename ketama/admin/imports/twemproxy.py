"""twemproxy's nutcracker.yml: pools of servers, in YAML."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ketama.admin.imports.pools import Listed, Note, Pool, Source

if TYPE_CHECKING:
    from yaml import Node

SERVER = re.compile(r"(?P<address>/[^\s:]+|\S+:\d+):(?P<weight>\d+)(?:\s+(?P<name>\S+))?")
# Tags that YAML gives to plain text; all others are asked for.
PLAIN = {
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")
}


def matches(text: str) -> bool:
    """Return whether a text is likely in this format."""
    return re.search(r"^[ \t]+servers[ \t]*:[ \t]*(#.*)?$", text, re.MULTILINE) is not None


def read(source: Source) -> Pool:
    """Return the servers of a pool."""
    pools = _mapping(source, _root(source), "the file")
    if not pools:
        raise source.error(None, "no pools")
    name = source.choose("pool", {name: _line(node) for name, node in pools.items()})
    values = _mapping(source, pools[name], f"pool {name!r:.80}")
    if "servers" not in values:
        raise source.error(_line(pools[name]), f"pool {name!r:.80} has no servers")
    options = {"profile": "twemproxy"}
    for option in ("hash", "hash_tag"):
        if option in values:
            options[option] = _scalar(source, values[option], option)
    return Pool(
        name,
        _line(pools[name]),
        [_server(source, node) for node in _sequence(source, values["servers"])],
        options,
        _notes(source, values),
    )


def _root(source: Source) -> Node | None:
    """Return the document as nodes, from which nothing is constructed."""
    import yaml

    try:
        return yaml.compose(source.text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise source.error(line, f"invalid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        reason = str(error).partition("\n")[0]
        raise source.error(None, f"invalid YAML: {reason}") from None
    except RecursionError:
        raise source.error(None, "invalid YAML: nested too deeply") from None


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _mapping(source: Source, node: Node | None, what: str) -> dict[str, Node]:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        line = _line(node) if node else None
        raise source.error(line, f"{what} must be a mapping of names to values")
    found: dict[str, Node] = {}
    for key, value in node.value:
        name = _scalar(source, key, "a name")
        if name in found:
            raise source.error(_line(key), f"{name!r:.80} is given twice")
        found[name] = value
    return found


def _sequence(source: Source, node: Node) -> list[Node]:
    import yaml

    if not isinstance(node, yaml.SequenceNode):
        raise source.error(_line(node), "servers must be a list of host:port:weight [name]")
    return list(node.value)


def _scalar(source: Source, node: Node, what: str) -> str:
    import yaml

    if not isinstance(node, yaml.ScalarNode):
        raise source.error(_line(node), f"{what} must be text; write it in quotes")
    if node.tag not in PLAIN:
        raise source.error(_line(node), f"unexpected {node.tag!r:.80}: {what} must be text")
    return str(node.value)


def _server(source: Source, node: Node) -> Listed:
    text = _scalar(source, node, "a server")
    found = SERVER.fullmatch(text)
    if not found:
        reason = f"invalid server {text!r:.80}: must be host:port:weight [name]"
        raise source.error(_line(node), reason)
    weight = source.weight(_line(node), found["weight"])
    return Listed(_line(node), found["address"], weight, found["name"])


def _notes(source: Source, values: dict[str, Node]) -> list[Note]:
    notes = []
    if "distribution" in values:
        node = values["distribution"]
        distribution = _scalar(source, node, "distribution")
        if distribution != "ketama":
            reason = f"distribution {distribution!r:.80} is not ketama: keys will move"
            notes.append(Note(_line(node), reason))
    if "auto_eject_hosts" in values:
        node = values["auto_eject_hosts"]
        if _scalar(source, node, "auto_eject_hosts") == "true":
            reason = "auto_eject_hosts: libketama's ring keeps servers that are down"
            notes.append(Note(_line(node), f"ignored: {reason}"))
    return notes
