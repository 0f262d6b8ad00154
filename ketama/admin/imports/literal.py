"""Lists as Python or JSON has them: for pymemcache, Django, pylibmc, PHP and others.

Python is parsed, never run: what is not a literal is an error where it is needed.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any, NamedTuple

from ketama.addresses import find_address
from ketama.admin.imports.plain import add, parse_server
from ketama.admin.imports.pools import Listed, Note, Pool, Source

UNKNOWN = (
    "the list does not say which program's it is (pymemcache's HashClient and python-memcached "
    "are no ketama: keys will move)"
)
DJANGO = ("LOCATION", "BACKEND")
FORM = "must be 'host:port', (host, port), (host, port, weight) or ('host:port', weight)"


class Item(NamedTuple):
    """A value, and its line; of a list or a dict, the values are items again."""

    value: Any
    line: int | None


class Code(NamedTuple):
    """What is not a literal."""

    text: str


def matches(text: str) -> bool:
    """Return whether a text is likely in this format: it is a list, or assigns one."""
    alone = r"""\s*(?:[({'"]|\[\s*[\['"(])"""
    assigned = r"""^[A-Za-z_]\w*[ \t]*(?::[^=\n]+)?=[ \t]*[\[({'"]"""
    return re.match(alone, text) is not None or (
        re.search(assigned, text, re.MULTILINE) is not None
    )


def read(source: Source) -> Pool:
    """Return the servers of a list, of a Django cache, or of one of its CACHES."""
    item = _read(source)
    name = None
    if _is_caches(item):
        caches = {key: row for key, row in item.value.items() if "LOCATION" in row.value}
        name = source.choose("cache", {key: row.line for key, row in caches.items()})
        item = caches[name]
    else:
        source.refuse_pool()
    options: dict[str, str] = {}
    notes: list[Note] = []
    unknown = UNKNOWN
    line = item.line
    if _is_cache(item):
        options, unknown = _dialect(source, item.value)
        notes += _key_notes(source, item.value)
        item = item.value["LOCATION"]
    servers: list[Listed] = []
    for server in _servers(source, item):
        add(servers, notes, server)
    return Pool(name, line, servers, options, notes, unknown)


# ---- text -> items


def _read(source: Source) -> Item:
    try:
        return _json_item(json.loads(source.text))
    except RecursionError:
        raise source.error(None, "nested too deeply") from None
    except ValueError:
        return _python_item(_expression(source))


def _json_item(value: Any) -> Item:
    if isinstance(value, dict):
        value = {key: _json_item(row) for key, row in value.items()}
    elif isinstance(value, list):
        value = [_json_item(row) for row in value]
    return Item(value, None)


def _expression(source: Source) -> ast.expr:
    """Return the only expression, the only value that is assigned, or that of CACHES."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes and such, in the user's code
            body = ast.parse(source.text).body
    except SyntaxError as error:
        raise source.error(error.lineno, f"invalid literal: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise source.error(None, "nested too deeply") from None
    assigned = [row for row in body if isinstance(row, (ast.Assign, ast.AnnAssign))]
    caches = [row for row in assigned if "CACHES" in _targets(row)]
    statements = caches[-1:] or body
    if len(statements) == 1:
        (statement,) = statements
        if isinstance(statement, (ast.Expr, ast.Assign, ast.AnnAssign)) and statement.value:
            return statement.value
    raise source.error(None, "must be one literal, or assign CACHES")


def _targets(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _python_item(node: ast.expr) -> Item:
    value: Any
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, (ast.List, ast.Tuple)):
        value = [_python_item(element) for element in node.elts]
    elif isinstance(node, ast.Dict) and all(
        isinstance(key, ast.Constant) and isinstance(key.value, str) for key in node.keys
    ):
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        value = dict(zip(keys, map(_python_item, node.values), strict=True))
    else:
        value = Code(type(node).__name__)
    return Item(value, node.lineno)


# ---- Django


def _is_cache(item: Item) -> bool:
    return isinstance(item.value, dict) and "LOCATION" in item.value


def _is_caches(item: Item) -> bool:
    """Return whether these are several caches, of which one has servers."""
    return (
        isinstance(item.value, dict)
        and all(isinstance(row.value, dict) for row in item.value.values())
        and any(map(_is_cache, item.value.values()))
    )


def _dialect(source: Source, cache: dict[str, Item]) -> tuple[dict[str, str], str]:
    """Return the options of a profile, and where there are none, why."""
    backend = cache["BACKEND"].value if "BACKEND" in cache else ""
    backend = backend.rpartition(".")[2] if isinstance(backend, str) else ""
    options = cache["OPTIONS"].value if "OPTIONS" in cache else {}
    options = options if isinstance(options, dict) else {}
    if backend == "PyMemcacheCache" and "hasher" in options:
        return {}, "the cache has a hasher of its own, which decides"
    if backend == "PyMemcacheCache":
        return {}, "pymemcache's HashClient is no ketama: keys will move"
    if backend == "MemcachedCache":
        return {}, "python-memcached is no ketama: keys will move"
    if backend == "PyLibMCCache":
        return _behaviors(source, options.get("behaviors", Item({}, None)))
    return {}, UNKNOWN


def _behaviors(source: Source, behaviors: Item) -> tuple[dict[str, str], str]:
    """Return the profile that pylibmc's behaviors come to."""
    if not isinstance(behaviors.value, dict):
        raise source.error(behaviors.line, "behaviors must be a literal")
    values = {name: item.value for name, item in behaviors.value.items()}
    if values.get("ketama_weighted"):
        return {"profile": "libmemcached"}, ""  # pylibmc sets the hash first, where it is lost
    if values.get("ketama") or values.get("distribution") == "consistent":
        hashed = values.get("hash", "default")
        chosen = {} if hashed in ("default", None) else {"hash": str(hashed)}
        return {"profile": "libmemcached-ketama", **chosen}, ""
    return {}, "pylibmc without ketama or ketama_weighted is no ketama: keys will move"


def _key_notes(source: Source, cache: dict[str, Item]) -> list[Note]:
    """Note what Django puts before each key."""
    if "KEY_FUNCTION" in cache:
        line = cache["KEY_FUNCTION"].line
        return [Note(line, "KEY_FUNCTION makes the keys: look up what it returns")]
    values = {
        name: cache[name].value if name in cache else default
        for name, default in (("KEY_PREFIX", ""), ("VERSION", 1))
    }
    if any(isinstance(value, Code) for value in values.values()):
        return [Note(None, "Django hashes KEY_PREFIX:VERSION:KEY: use 'ketama where --prefix'")]
    prefix = f"{values['KEY_PREFIX']}:{values['VERSION']}:"
    reason = f"Django hashes {prefix!r:.80} before each key: use 'ketama where --prefix'"
    return [Note(None, reason)]


# ---- servers


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
