"""Python examples of the documentation, on real servers; test_recipes.py has the rest."""

from __future__ import annotations

import ast
import asyncio
import re
from typing import Any

import pytest
from needs import need_module

from clients.memcached import Fleet
from clients.pages import DOCS, EXAMPLES, Example

# The sections whose examples run, and the modules that they need.
SECTIONS = {
    "libketama": ["django", "pymemcache"],
    "6. Store a value": ["pymemcache"],
    "pylibmc": ["pymemcache"],
    "pymemcache": ["pymemcache"],
    "Django": ["django", "pymemcache"],
    "Hasher": ["pymemcache"],
    "asyncio": ["aiomcache"],
    "aiomcache": ["aiomcache", "aiocache", "fastapi_cache"],
    "emcache": ["emcache"],
    "memcachio": ["memcachio"],
}
HERE = [
    pytest.param(example, id=f"{example.page.stem}-{example.line}")
    for example in EXAMPLES
    if example.title in SECTIONS
]


def run(fleet: Fleet, example: Example) -> dict[str, Any]:
    """Run an example, which may await; close its client, and return its names."""
    names: dict[str, Any] = {}
    code, page = example.code_for(fleet.path), str(example.page)
    compiled = compile(
        code, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )

    async def run_and_close() -> None:
        if awaited := eval(compiled, names):
            await awaited
        if "client" in names and (awaited := names["client"].close()):
            await awaited

    asyncio.run(run_and_close())
    return names


@pytest.mark.parametrize("example", HERE)
def test_an_example(four: Fleet, example: Example) -> None:
    """It uses the server file of the page, which here is that of four servers."""
    for name in SECTIONS[example.title]:
        need_module(name)
    names = run(four, example)
    if "CACHES" in names:
        from django.core.cache import CacheHandler

        from ketama.clients import django as adapter

        cache = CacheHandler(names["CACHES"])["default"]
        cache.set("user:42", "Ada")
        assert cache.get("user:42") == "Ada"
        adapter._clients.clear()


def test_every_section_has_one() -> None:
    """The sections of clients are those in which examples are found."""
    assert {*SECTIONS} <= {example.title for example in EXAMPLES}


def test_the_end_of_the_tutorial(fleet: Fleet) -> None:
    """Where one of two servers is stopped, its key is missing, and can be stored again."""
    need_module("pymemcache")
    fleet.start(2)
    fleet.write({server.address: 100 for server in fleet.servers})
    (example,) = (one for one in EXAMPLES if one.page.stem == "tutorial")
    names: dict[str, Any] = {}
    exec(example.code_for(fleet.path), names)
    with names["client"] as client:
        (home,) = fleet.holders("user:42")
        home.kill()
        assert client.get("user:42") is None
        assert client.set("user:42", "Ada")
        assert client.get("user:42") == b"Ada"


def test_the_table_of_hashed_bytes(four: Fleet) -> None:
    """What the page says that is sent and hashed is so, for the clients of this package."""
    need_module("django")
    from django.core.cache import CacheHandler

    import ketama
    from ketama.clients import django as adapter
    from ketama.clients.pymemcache import HashClient

    page = (DOCS / "clients.md").read_text()
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \| `(.+?)` \|$", page, re.MULTILINE)
    stated = {client: (sent, hashed) for client, sent, hashed in rows}

    def cache(**settings: Any) -> Any:
        backend = "ketama.clients.django.KetamaCache"
        return CacheHandler(
            {"default": {"BACKEND": backend, "LOCATION": four.path, **settings}}
        )["default"]

    prefixed: Any = {"key_prefix": "shop:"}
    real = {
        "pymemcache, `HashClient` here": HashClient(four.path),
        'with `key_prefix="shop:"`': HashClient(four.path, **prefixed),
        'here, with `key_prefix="shop:", hashed_key="as sent"`': HashClient(
            four.path, **prefixed, hashed_key="as sent"
        ),
        "Django, `KetamaCache` here": cache(),
        'with `KEY_PREFIX="shop"` and `VERSION=2`': cache(KEY_PREFIX="shop", VERSION=2),
    }
    ring = ketama.Continuum(four.path)
    for name, client in real.items():
        sent, hashed = stated[name]
        for number in range(40, 60):
            key = f"user:{number}"
            client.set(key, "v")
            holders = [s.address for s in four.holders(sent.replace("user:42", key))]
            assert holders == [ring[hashed.replace("user:42", key)]], name
            client.delete(key)
    adapter._clients.clear()


def test_servers_in_place_of_a_file(four: Fleet) -> None:
    """As the page says, a list or a mapping, as for Continuum."""
    need_module("pymemcache")
    import ketama
    from ketama.clients.hasher import Hasher
    from ketama.clients.pymemcache import HashClient

    ring = ketama.Continuum(four.path)
    sources: list[ketama.Servers] = [
        {server.address: server.weight for server in ring.servers},
        [(server.address, server.weight) for server in ring.servers],
    ]
    for source in sources:
        with HashClient(source) as client:
            assert client.set("user:42", "v")
            assert [s.address for s in four.holders("user:42")] == [ring["user:42"]]
            client.delete("user:42")
        assert Hasher(source)().get_node("user:42") is None
