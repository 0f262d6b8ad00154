"""Django's caches: which client they use, and what that puts before each key."""

from __future__ import annotations

from ketama.admin.imports.pools import Note, Source
from ketama.admin.imports.values import Code, Item


def is_cache(item: Item) -> bool:
    """Return whether this is a cache with servers."""
    return isinstance(item.value, dict) and "LOCATION" in item.value


def memcached_caches(item: Item) -> dict[str, Item]:
    """Return those of CACHES that have memcached servers; none if this is something else."""
    rows = item.value if isinstance(item.value, dict) else {}
    if not all(isinstance(row.value, dict) for row in rows.values()):
        return {}
    return {
        name: row
        for name, row in rows.items()
        if is_cache(row) and "memcache" in _backend(row.value).lower()
    }


def _backend(cache: dict[str, Item]) -> str:
    backend = cache["BACKEND"].value if "BACKEND" in cache else None
    return backend if isinstance(backend, str) else ""


def dialect(source: Source, cache: dict[str, Item]) -> tuple[dict[str, str], str]:
    """Return the options of a profile, and where there are none, why."""
    backend = _backend(cache).rpartition(".")[2]
    options = cache["OPTIONS"].value if "OPTIONS" in cache else {}
    options = options if isinstance(options, dict) else {}
    if backend == "PyMemcacheCache" and "hasher" in options:
        return {}, "the cache has a hasher of its own, which decides"
    if backend == "PyMemcacheCache":
        return {}, "pymemcache's HashClient is not ketama: keys will move"
    if backend == "MemcachedCache":
        return {}, "python-memcached is not ketama: keys will move"
    if backend == "PyLibMCCache":
        return _behaviors(source, options.get("behaviors", Item({}, None)))
    return {}, "the cache's backend is not known"


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
    return {}, "pylibmc without ketama or ketama_weighted is not ketama: keys will move"


def key_notes(source: Source, cache: dict[str, Item]) -> list[Note]:
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
