"""Lists as Python or JSON has them: for pymemcache, Django, pylibmc, PHP and others.

Python is parsed, never run: what is not a literal is an error where it is needed.
"""

from __future__ import annotations

import re

from ketama.addresses import find_address
from ketama.admin.imports.django import dialect, is_cache, key_notes, memcached_caches
from ketama.admin.imports.plain import add, parse_server
from ketama.admin.imports.pools import Listed, Note, Pool, Source
from ketama.admin.imports.values import Code, Item, parse

UNKNOWN = (
    "the list does not say which program's it is (pymemcache's HashClient and python-memcached "
    "are not ketama: keys will move)"
)
FORM = "must be 'host:port', (host, port), (host, port, weight) or ('host:port', weight)"


def matches(text: str) -> bool:
    """Return whether a text is likely in this format: it is a list, or assigns one."""
    alone = r"""\s*(?:[({'"]|\[\s*[\['"(])"""
    assigned = r"""^[A-Za-z_]\w*[ \t]*(?::[^=\n]+)?=[ \t]*[\[({'"]"""
    return re.match(alone, text) is not None or (
        re.search(assigned, text, re.MULTILINE) is not None
    )


def read(source: Source) -> Pool:
    """Return the servers of a list, of a Django cache, or of one of its CACHES."""
    item = parse(source)
    name = None
    if caches := memcached_caches(item):
        name = source.choose("cache", {key: row.line for key, row in caches.items()})
        item = caches[name]
    else:
        source.refuse_pool()
    options: dict[str, str] = {}
    notes: list[Note] = []
    unknown = UNKNOWN
    line = item.line
    if is_cache(item):
        options, unknown = dialect(source, item.value)
        notes += key_notes(source, item.value)
        item = item.value["LOCATION"]
    servers: list[Listed] = []
    for server in _servers(source, item):
        add(servers, notes, server)
    return Pool(name, line, servers, options, notes, unknown)


def _servers(source: Source, item: Item) -> list[Listed]:
    value = item.value
    if isinstance(value, str):  # as Django splits LOCATION
        return [_text(source, Item(part, item.line)) for part in re.split("[;,]", value)]
    if isinstance(value, dict):
        pairs = [Item([Item(key, row.line), row], row.line) for key, row in value.items()]
        return [_entry(source, pair) for pair in pairs]
    if not isinstance(value, list):
        raise _refused(source, item)
    if len(value) in (2, 3) and isinstance(value[1].value, int):  # one server
        return [_entry(source, item)]
    return [_entry(source, row) for row in value]


def _text(source: Source, item: Item) -> Listed:
    """Return the server of a text, with libmc's name if there is one."""
    words = re.split("[ \t]+", item.value.strip())
    if len(words) not in (1, 2):
        raise _refused(source, item)
    server = parse_server(source, item.line, words[0])
    return Listed(item.line, *server, *words[1:])


def _entry(source: Source, item: Item) -> Listed:
    if isinstance(item.value, str):
        return _text(source, item)
    values = [row.value for row in item.value] if isinstance(item.value, list) else []
    if not 2 <= len(values) <= 3 or not isinstance(values[0], str):
        raise _refused(source, item)
    if not all(type(number) is int and number >= 0 for number in values[1:]):
        raise _refused(source, item)
    host, *numbers = values
    address = find_address(host)
    if len(numbers) == 1 and address and (address.path or address.port):
        return _text(source, Item(host, item.line))._replace(weight=numbers[0])
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    server = parse_server(source, item.line, f"{host}:{numbers[0]}")
    return Listed(item.line, server.address, *numbers[1:])


def _refused(source: Source, item: Item) -> Exception:
    if isinstance(item.value, Code):
        what = f"{item.value.text} is not a literal, and nothing is run"
    else:
        what = f"invalid server: {FORM}"
    return source.error(item.line, what)
