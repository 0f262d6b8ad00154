"""The cache backend of Django, on real servers, by itself and under gunicorn and uvicorn."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from needs import need_module
from threads import forks_beside_threads
from waiting import wait_for

import ketama

for module in ("django", "gunicorn", "uvicorn"):
    need_module(module)

from asgiref.local import Local
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.cache import CacheHandler
from django.core.exceptions import ImproperlyConfigured

from clients import web
from clients.checks import HUNG, KEYS, UNICODE, VICTIM, Load, expect_placed, in_children
from clients.memcached import Fleet
from ketama.clients import django as adapter

BACKEND = "ketama.clients.django.KetamaCache"
DAY = 24 * 60 * 60
PATIENT = {"timeout": 60, "connect_timeout": 60}  # seconds that no server takes


@pytest.fixture(autouse=True)
def _no_client_is_left() -> Iterator[None]:
    """Close the clients of a test, which the process would keep."""
    yield
    for _, _, client in adapter._clients:
        client.close()
    adapter._clients.clear()


def caches_of(fleet: Fleet, **settings: Any) -> CacheHandler:
    """Return what django.core.cache.caches is with these settings of the default cache."""
    default = {"BACKEND": BACKEND, "LOCATION": str(fleet.path), **settings}
    return CacheHandler({"default": default})


@pytest.fixture
def cache(four: Fleet) -> Any:
    """The cache of a site on four servers, which are never too slow."""
    return caches_of(four, OPTIONS=PATIENT)["default"]


# ---- Settings


def test_one_line_of_settings(four: Fleet) -> None:
    """The class and the path are enough."""
    handler = CacheHandler({"default": {"BACKEND": BACKEND, "LOCATION": str(four.path)}})
    handler["default"].set("user:42", {"name": "Ada"})
    assert handler["default"].get("user:42") == {"name": "Ada"}
    home = ketama.Continuum(four.path)[":1:user:42"]
    assert [server.address for server in four.holders(":1:user:42")] == [home]


@pytest.mark.parametrize(
    "name", ["a,b.servers", "a;b.servers", "10.0.0.1:11211,10.0.0.2:11211"]
)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_location_is_a_path(four: Fleet, name: str, kind: type) -> None:
    """Also one that Django would split, and one of pathlib."""
    four.path = four.path.with_name(name)
    four.write()
    cache = caches_of(four, LOCATION=kind(four.path), OPTIONS=PATIENT)["default"]
    cache.set_many(dict.fromkeys(KEYS, "v"))
    expect_placed(four, ketama.Continuum(four.path), map(cache.make_key, KEYS))


@pytest.mark.parametrize(
    "location",
    [
        "",
        None,
        "10.0.0.1:11211",
        "10.0.0.1:11211,10.0.0.2:11211",
        "cache1:11211;cache2:11211",
        "unix:/run/memcached.sock",
        ["10.0.0.1:11211", "10.0.0.2:11211"],
        ("/etc/ketama.servers", "/etc/other.servers"),
    ],
)
def test_a_location_that_is_none(four: Fleet, location: object) -> None:
    """It is refused at once, with the remedy."""
    with pytest.raises(
        ImproperlyConfigured,
        match=r"^LOCATION of KetamaCache must be the path of a server file, not .*: write one "
        "server per line into a file.*ketama import",
    ):
        _ = caches_of(four, LOCATION=location)["default"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"hasher": 1, "use_pooling": 1},
            "KetamaCache: unknown option 'hasher', 'use_pooling'; ",
        ),
        (
            {"continuum": {"dialect": "x"}},
            r"\[\"continuum\"\] of .*: unknown option 'dialect'; ",
        ),
        (
            {"continuum": "twemproxy"},
            r"\[\"continuum\"\] of KetamaCache must be a dict, not str",
        ),
        ({3: 4}, "unknown option 3; there are allow_unicode_keys, connect_timeout"),
    ],
)
def test_unknown_options(four: Fleet, options: dict[Any, Any], message: str) -> None:
    """All are named at once, and those that there are."""
    with pytest.raises(ImproperlyConfigured, match=f"^OPTIONS.*{message}"):
        _ = caches_of(four, OPTIONS=options)["default"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "invalid on_error 'ignore': must be one of raise, miss"),
        ({"failover_ttl": "60"}, "'<=' not supported"),
        ({"continuum": {"profile": "twemprox"}}, "twemprox"),
    ],
)
def test_wrong_options(four: Fleet, options: dict[str, Any], message: str) -> None:
    """The message has the option and the remedy."""
    with pytest.raises(ImproperlyConfigured, match=f"^OPTIONS of KetamaCache: .*{message}"):
        caches_of(four, OPTIONS=options)["default"].get("key")


def test_a_server_file_that_cannot_be_used(four: Fleet) -> None:
    """It is an error that names the file, not an empty cache."""
    with pytest.raises(ketama.KetamaOSError, match=r"gone\.servers"):
        caches_of(four, LOCATION="/etc/gone.servers")["default"].get("key")
    four.path.write_text("10.0.0.1:11211 many\n")
    with pytest.raises(ketama.ServersError, match=f'{four.path}:1: invalid weight "many"'):
        caches_of(four)["default"].get("key")


def test_a_profile(four: Fleet) -> None:
    """OPTIONS["continuum"] chooses whose ring it is."""
    options = {**PATIENT, "continuum": {"profile": "twemproxy"}}
    cache = caches_of(four, OPTIONS=options)["default"]
    cache.set_many(dict.fromkeys(KEYS, "v"))
    ring = ketama.Continuum(four.path, profile="twemproxy")
    expect_placed(four, ring, map(cache.make_key, KEYS))
    default = ketama.Continuum(four.path)
    keys = [cache.make_key(key) for key in KEYS]
    assert ring.lookup_many(keys) != default.lookup_many(keys)


# ---- Placement, and what is returned


@pytest.mark.parametrize("prefix", ["", "shop"])
def test_each_key_is_on_its_server(four: Fleet, prefix: str) -> None:
    """450 keys: what is hashed is Django's whole key, with its prefix and version."""
    cache = caches_of(four, OPTIONS=PATIENT, KEY_PREFIX=prefix)["default"]
    assert cache.set_many(dict.fromkeys([*KEYS[:75], *UNICODE[:75]], "v")) == []
    for key in (*KEYS[75:], *UNICODE[75:]):
        cache.set(key, "v")
    assert cache.set_many(dict.fromkeys(KEYS, "v"), version=2) == []
    sent = [f"{prefix}:1:{key}" for key in (*KEYS, *UNICODE)]
    sent += [f"{prefix}:2:{key}" for key in KEYS]
    assert len(sent) == 450
    expect_placed(four, ketama.Continuum(four.path), sent)


# Each is done with our cache and with Django's own.
CALLS: dict[str, Callable[[Any], object]] = {
    "get, missing": lambda c: c.get("key"),
    "get, default": lambda c: c.get("key", "default"),
    "set": lambda c: c.set("key", {"a": [1, "ü", b"\0", 2.5, None]}),
    "get": lambda c: c.get("key"),
    "has_key": lambda c: (c.has_key("key"), "key" in c, "none" in c),
    "add, there": lambda c: c.add("key", 1),
    "add": lambda c: c.add("added", 1),
    "None": lambda c: (c.set("none", None), c.get("none", "default"), c.get_many(["none"])),
    "touch": lambda c: (c.touch("key"), c.touch("gone"), c.touch("key", 50)),
    "touch, None": lambda c: c.touch("key", None),
    "touch, 0": lambda c: (c.set("touched", 1), c.touch("touched", 0), c.get("touched")),
    "delete": lambda c: (c.delete("key"), c.delete("key"), c.get("key")),
    "set_many": lambda c: c.set_many({f"many:{n}": n for n in range(50)}),
    "set_many, none": lambda c: c.set_many({}),
    "get_many": lambda c: c.get_many([f"many:{n}" for n in range(40, 60)]),
    "get_many, none": lambda c: c.get_many([]),
    "delete_many": lambda c: c.delete_many([f"many:{n}" for n in range(45)]),
    "delete_many, none": lambda c: c.delete_many([]),
    "what is left": lambda c: c.get_many([f"many:{n}" for n in range(50)]),
    "incr, missing": lambda c: c.incr("number"),
    "decr, missing": lambda c: c.decr("number"),
    "a number": lambda c: c.set("number", 5),
    "incr": lambda c: (c.incr("number"), c.incr("number", 10), c.get("number")),
    "decr": lambda c: (c.decr("number"), c.decr("number", 100), c.get("number")),
    "by a negative number": lambda c: (c.incr("number", -3), c.decr("number", -3)),
    "incr of text": lambda c: (c.set("text", "ab"), c.incr("text")),
    "get_or_set": lambda c: (c.get_or_set("made", lambda: 5), c.get_or_set("made", 6)),
    "timeout None": lambda c: (c.set("ever", 1, None), c.get("ever")),
    "timeout 0": lambda c: (c.set("ever", 1, 0), c.get("ever"), c.add("never", 1, 0)),
    "timeout -1": lambda c: (c.set("number", 1, -1), c.get("number")),
    "many, 0": lambda c: (c.set_many({"a": 1, "b": 2}, 0), c.get_many(["a", "b"])),
    "40 days": lambda c: (c.set("long", 1, 40 * DAY), c.get("long")),
    "many, 40 days": lambda c: (c.set_many({"longer": 1}, 40 * DAY), c.get("longer")),
    "versions": lambda c: (c.set("v", 1), c.get("v", version=2), c.incr_version("v"),
                           c.get("v"), c.get("v", version=2), c.decr_version("v", version=2)),
    "incr_version, missing": lambda c: c.incr_version("gone"),
    "other types": lambda c: (c.set("t", True), c.get("t"), c.set("b", b"\xff"), c.get("b"),
                              c.set("s", "1"), c.get("s"), c.set("f", 1.0), c.get("f")),
    "UTF-8": lambda c: (c.set("ключ", "знач"), c.get_many(["ключ"]), c.delete("ключ")),
    "a blank in the key": lambda c: c.set("a b", 1),
    "a key that is too long": lambda c: c.get("x" * 250),
    "an invalid key of many": lambda c: c.get_many(["a", "b\n"]),
    "a longer key in UTF-8": lambda c: c.get("ü" * 125),
    "close": lambda c: (c.close(), c.get("text")),
    "clear": lambda c: (c.clear(), c.get_many(["text", "ever", "made"])),
    "aset": lambda c: asyncio.run(c.aset("key", [1])),
    "aget": lambda c: asyncio.run(c.aget("key")),
    "aadd": lambda c: asyncio.run(c.aadd("key", 1)),
    "aset_many": lambda c: asyncio.run(c.aset_many({"a": 1, "b": 2})),
    "aget_many": lambda c: asyncio.run(c.aget_many(["a", "b", "c"])),
    "aincr": lambda c: (asyncio.run(c.aincr("a", 2)), asyncio.run(c.adecr("a"))),
    "aget_or_set": lambda c: asyncio.run(c.aget_or_set("d", 4)),
    "atouch": lambda c: asyncio.run(c.atouch("d", 60)),
    "adelete": lambda c: (asyncio.run(c.adelete("a")), asyncio.run(c.adelete("a"))),
    "adelete_many": lambda c: asyncio.run(c.adelete_many(["b", "d"])),
    "ahas_key": lambda c: asyncio.run(c.ahas_key("b")),
    "aclear": lambda c: (asyncio.run(c.aclear()), asyncio.run(c.aclose())),
}  # fmt: skip


def outcome(call: Callable[[Any], object], cache: Any) -> object:
    """Return what a call returns, or what it raises."""
    try:
        return call(cache)
    except Exception as error:  # noqa: BLE001  # to compare it
        return type(error), str(error)


def test_the_whole_interface(fleet: Fleet) -> None:
    """Each call returns, or raises, what it does with Django's PyMemcacheCache."""
    theirs_servers = fleet.start(2)
    own = fleet.start(2)
    fleet.write({server.address: 100 for server in own})
    ours = caches_of(fleet, OPTIONS=PATIENT)["default"]
    theirs = caches_of(
        fleet,
        BACKEND="django.core.cache.backends.memcached.PyMemcacheCache",
        LOCATION=[server.address for server in theirs_servers],
    )["default"]
    for name, call in CALLS.items():
        assert outcome(call, ours) == outcome(call, theirs), name
        if name == "many, 40 days":
            for key in (":1:long", ":1:longer"):
                for server in fleet.holders(key):
                    # A point in time, and the server's clock may be late by a second.
                    assert 39 * DAY < (server.ttl(key) or 0) <= 40 * DAY + 2
                assert len(fleet.holders(key)) == 2
            assert [server.ttl(":1:text") for server in fleet.holders(":1:text")] > [0, 0]
    theirs.close()


def test_a_value_that_is_too_large(cache: Any, four: Fleet) -> None:
    """It replaces the old value by none, and no other of several is lost."""
    cache.set("key", "old")
    cache.set("key", "x" * 2_000_000)
    assert cache.get("key") is None
    cache.set("key", "old")
    values = {**dict.fromkeys(KEYS, "v"), "key": "x" * 2_000_000}
    assert cache.set_many(values) == ["key"]
    assert cache.get_many(values) == dict.fromkeys(KEYS, "v")


def test_the_file_is_followed(four: Fleet) -> None:
    """A server that is added is used, and one that is removed is not, without a restart."""
    options = {**PATIENT, "continuum": {"auto_roll": 1e-9}}
    cache = caches_of(four, OPTIONS=options)["default"]
    cache.set("key", "v")
    fifth = four.start()[0]
    four.write({fifth.address: 100})
    wait_for(lambda: cache.set("new", "v") or fifth.get(":1:new"))
    cache.set_many(dict.fromkeys(KEYS, "v"))
    expect_placed(four, ketama.Continuum(four.path), map(cache.make_key, KEYS))


# ---- When servers are down


def test_an_outage_is_a_miss(four: Fleet) -> None:
    """With all servers down, nothing raises, and what was not stored is named."""
    cache = caches_of(four)["default"]
    cache.set("key", 1)
    for server in four.servers:
        server.kill()
    assert cache.get("key", "default") == "default"
    assert cache.set("key", 1) is None
    assert cache.set_many({"a": 1, "b": 2}) == ["a", "b"]
    assert cache.get_many(["a", "b"]) == {}
    assert cache.add("key", 1) is False
    assert cache.touch("key") is False
    assert cache.delete("key") is False
    assert cache.get_or_set("key", 5) == 5
    cache.delete_many(["a", "b"])
    cache.clear()
    with pytest.raises(ValueError, match="Key ':1:key' not found"):
        cache.incr("key")


def test_errors_if_they_are_wanted(four: Fleet) -> None:
    """OPTIONS["on_error"] brings them back."""
    cache = caches_of(four, OPTIONS={"on_error": "raise"})["default"]
    for server in four.servers:
        server.kill()
    with pytest.raises(ConnectionRefusedError):
        cache.get("key")


# ---- One client for a process


def test_connections_outlive_requests(cache: Any, four: Fleet) -> None:
    """After 50 requests there are as many as after the first, and they are the same."""
    cache.set_many(dict.fromkeys(KEYS, "v"))
    made = [server.stat("total_connections") for server in four.servers]
    for _ in range(50):
        assert cache.get_many(KEYS) == dict.fromkeys(KEYS, "v")
        cache.close()  # as Django does when a request is finished
    # One more each, which asked.
    assert [server.stat("total_connections") for server in four.servers] == [
        n + 1 for n in made
    ]


def test_one_client_for_each_configuration(four: Fleet) -> None:
    """Two aliases with the same settings share one; other options or files have their own."""
    path = str(four.path)
    link = four.path.with_name("link")
    link.symlink_to(path)
    handler = CacheHandler({
        "default": {"BACKEND": BACKEND, "LOCATION": path},
        "same": {"BACKEND": BACKEND, "LOCATION": four.path, "KEY_PREFIX": "same", "TIMEOUT": 5},
        "options": {"BACKEND": BACKEND, "LOCATION": path, "OPTIONS": {"timeout": 2}},
        "profile": {"BACKEND": BACKEND, "LOCATION": path,
                    "OPTIONS": {"continuum": {"profile": "twemproxy"}}},
        "path": {"BACKEND": BACKEND, "LOCATION": str(link)},
    })  # fmt: skip
    clients = {alias: handler[alias]._cache for alias in handler}
    assert clients["default"] is clients["same"]
    assert len({*map(id, clients.values())}) == 4
    assert len(adapter._clients) == 4


def test_threads_share_a_client(four: Fleet) -> None:
    """Django makes a cache for each thread; all have the client that is first."""
    handler = caches_of(four)
    together = threading.Barrier(8)
    found: list[tuple[object, object]] = []

    def look() -> None:
        together.wait()
        found.append((handler["default"], handler["default"]._cache))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):
            adapter._clients.clear()
            found.clear()
            threads = [threading.Thread(target=look) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            caches, clients = zip(*found, strict=True)
            assert len({*map(id, caches)}) == 8
            assert len({*map(id, clients)}) == 1
    finally:
        sys.setswitchinterval(before)


def test_contexts_share_a_client(four: Fleet) -> None:
    """Django makes a cache for each asgiref context, so for each request under ASGI."""
    handler = caches_of(four, OPTIONS=PATIENT)
    assert isinstance(handler._connections, Local)

    async def request(number: int) -> tuple[Any, Any, Any]:
        async with ThreadSensitiveContext():
            cache = handler["default"]
            await cache.aset(f"key:{number}", number)
            assert await cache.aget(f"key:{number}") == number
            in_thread = await sync_to_async(lambda: handler["default"]._cache)()
            return cache, cache._cache, in_thread

    async def requests() -> list[tuple[Any, Any, Any]]:
        return await asyncio.gather(*map(request, range(30)))

    caches, clients, in_threads = zip(*asyncio.run(requests()), strict=True)
    assert len({*map(id, caches)}) == 30
    assert len({*map(id, (*clients, *in_threads))}) == 1
    # 30 threads at most have used a connection at the same time.
    for server in four.servers:
        assert server.connections() <= 30


@forks_beside_threads
def test_children_that_are_forked(cache: Any) -> None:
    """An open cache gives parent and children the right values, and each has one client."""
    values = {key: f"{key}!" for key in KEYS}
    assert cache.set_many(values) == []

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(100):
            keys = chance.sample(KEYS, 3)
            assert cache.get_many(keys) == {key: values[key] for key in keys}
            assert cache.get(keys[0]) == values[keys[0]]
        assert len(adapter._clients) == 1

    parent = threading.Thread(target=work, args=[-1])
    parent.start()
    in_children(3, work)
    parent.join()


# ---- Web servers


def made(fleet: Fleet) -> list[int]:
    """Return how many connections others have made to each server, and one more of this."""
    return [server.stat("total_connections") for server in fleet.servers]


def test_gunicorn_with_preload(four: Fleet, tmp_path: Path) -> None:
    """The open client that workers inherit is used by none; each thread has a connection."""
    workers, threads = 2, 4
    before = made(four)
    options = ("--preload", "--workers", str(workers), "--threads", str(threads))
    with web.run(four, tmp_path, *web.GUNICORN, *options, **PATIENT) as site:
        pids: set[int] = set()
        with Load(lambda chance: pids.add(site.finds_all(chance)), threads=12) as load:
            wait_for(load.has_gone_on(40))
        assert len(pids) == workers
        # One more is that of the process that loaded the site.
        most = workers * threads + 1
        for now, then in zip(made(four), before, strict=True):
            assert now - then - 1 <= most


def test_gunicorn_while_the_file_is_invalid(four: Fleet, tmp_path: Path) -> None:
    """Workers that start then go on with the last valid version, which was published."""
    four.path.touch()
    options = ("--workers", "2", "--threads", "2", "--max-requests", "10")
    with web.run(four, tmp_path, *web.GUNICORN, *options, **PATIENT) as site:
        chance = random.Random(1)
        first = {site.finds_all(chance) for _ in range(5)}
        four.path.write_text("10.0.0.1:11211 many\n")
        later: set[int] = set()

        def enough_are_new() -> bool:
            later.add(site.finds_all(chance))
            return len(later - first) >= 6

        wait_for(enough_are_new)


@pytest.mark.parametrize("view", ["sync", "async"])
def test_uvicorn(four: Fleet, tmp_path: Path, view: str) -> None:
    """360 of 360 requests are right, and none hangs; the cache was used at import."""
    before = made(four)
    at_once = 12
    with web.run(four, tmp_path, *web.UVICORN, **PATIENT) as site:
        asked = iter(range(360))
        right: list[int] = []

        def ask(number: int) -> None:
            chance = random.Random(number)
            for _ in asked:
                right.append(site.finds_all(chance, view))

        threads = [threading.Thread(target=ask, args=[number]) for number in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(right) == 360
        # Django gives each request a thread, and one connection each was made at import.
        for now, then in zip(made(four), before, strict=True):
            assert now - then - 1 <= at_once + 1


def test_a_server_killed_and_one_hung_under_load(fleet: Fleet, tmp_path: Path) -> None:
    """No request fails; soon all of them find all of their values again."""
    fleet.start(5)
    fleet.write()
    killed, hung = fleet.servers[0], fleet.servers[VICTIM]
    options = ("--workers", "2", "--threads", "4")
    with web.run(fleet, tmp_path, *web.GUNICORN, *options, timeout=HUNG) as site:
        wait_for(lambda: site.ask(random.Random(1)))
        found: list[int] = []
        with Load(lambda chance: found.append(site.ask(chance)[1]), threads=8) as load:

            def all_are_found() -> bool:
                return len(found) >= 40 and found[-40:] == [web.VALUES] * 40

            wait_for(load.has_gone_on(10))
            killed.kill()
            wait_for(load.has_gone_on(10))
            hung.hang()
            wait_for(load.has_gone_on(10))
            wait_for(all_are_found)
            hung.resume()
            killed.start()
            counts = [server.stat("cmd_set") for server in (killed, hung)]
            for server, count in zip((killed, hung), counts, strict=True):
                wait_for(lambda s=server, n=count: s.stat("cmd_set") > n)  # type: ignore[misc]
            wait_for(load.has_gone_on(10))
