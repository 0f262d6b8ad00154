"""ketama.clients.aiomcache, alone and below aiocache and fastapi-cache2."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from needs import need_module

from clients.memcached import Fleet
from clients.promises import KEYS, AllServers, Asked
from ketama import Continuum
from ketama.health import Liveness

aiomcache = need_module("aiomcache")
ours = need_module("ketama.clients.aiomcache")


class Asking(Asked):
    """Our client of aiomcache."""

    connections_option = "pool_size"

    def make(self, source: Any, **options: Any) -> Any:
        """Return the client."""
        return ours.Client(source, **options)

    async def set(self, key: str, value: str, expiry: int = 0) -> bool:
        """Store a value."""
        return bool(await self.client.set(key.encode(), value.encode(), expiry))

    async def get(self, key: str) -> str | None:
        """Return a value."""
        value = await self.client.get(key.encode())
        return None if value is None else value.decode()

    async def get_many(self, keys: Iterable[str]) -> dict[str, str]:
        """Return values."""
        keys = [*keys]
        values = await self.client.multi_get(*[key.encode() for key in keys])
        return {k: v.decode() for k, v in zip(keys, values, strict=True) if v is not None}

    async def incr(self, key: str) -> int | None:
        """Add 1."""
        number: int | None = await self.client.incr(key.encode())
        return number


class TestAiomcache(AllServers):
    """What all promise."""

    asked = Asking
    module = ours
    unavailable = aiomcache.ClientException
    refusal = aiomcache.ClientException
    all_commands = ("version", "stats", "flush_all")

    def test_a_number_of_a_server_that_is_down(self, four: Fleet) -> None:
        """It is sent to no other server, whose number of another value it could be."""
        victim = four.servers[3]
        continuum = Continuum(four.path)
        key = next(key for key in KEYS if continuum.lookup(key) == victim.address)

        async def main() -> None:
            async with Asking(four.path) as asking:
                client = asking.client
                await client.set(key.encode(), b"old")
                _, number = await client.gets(key.encode())
                victim.kill()
                assert await client.get(key.encode()) is None
                for other in four.servers[:3]:
                    other.set(key, b"another")
                for guess in (number, *range(1, 20)):
                    assert await client.cas(key.encode(), b"new", guess) is False

        asyncio.run(main())
        assert {server.get(key) for server in four.servers[:3]} == {b"another"}

    def test_commands(self, four: Fleet) -> None:
        """All of aiomcache's, with its answers."""

        async def main() -> None:
            async with Asking(four.path) as asking:
                client = asking.client
                assert await client.add(b"k", b"1")
                assert not await client.add(b"k", b"2")
                assert await client.replace(b"k", b"2")
                assert await client.append(b"k", b"3")
                assert await client.prepend(b"k", b"1")
                assert await client.incr(b"k") == 124
                assert await client.decr(b"k", 4) == 120
                value, token = await client.gets(b"k")
                assert value == b"120"
                assert await client.cas(b"k", b"x", token)
                assert not await client.cas(b"k", b"y", token)
                assert await client.touch(b"k", 1000)
                assert await client.delete(b"k")
                assert not await client.delete(b"k")
                assert await client.get(b"k", b"default") == b"default"
                assert await client.gets(b"k") == (None, None)
                assert await client.multi_get(b"k", b"k", b"x") == (None, None, None)
                for _ in range(3):
                    with pytest.raises(aiomcache.ClientException, match="NOT_FOUND"):
                        await client.incr(b"missing")
                    with pytest.raises(aiomcache.ValidationException):
                        await client.get(b"a key")
                    with pytest.raises(aiomcache.ValidationException):
                        await client.set(b"k", b"v", -1)
                    with pytest.raises(aiomcache.ClientException, match="too large"):
                        await client.set(b"k", bytes(2**21))
                    assert await client.set(b"k", b"v")
                assert {*await client.stats()} == {server.address for server in four.servers}
                assert len(await client.version()) == 4
                await client.flush_all()
                assert await client.get(b"k") is None

        asyncio.run(main())

    def test_flags(self, four: Fleet) -> None:
        """Values with flags pass through the handlers."""

        async def encode(value: int) -> tuple[bytes, int]:
            return str(value).encode(), 7

        async def decode(value: bytes, flags: int) -> int:
            assert flags == 7
            return int(value)

        async def main() -> None:
            client = ours.FlagClient(
                four.path, get_flag_handler=decode, set_flag_handler=encode
            )
            assert await client.set(b"k", 5)
            assert await client.get(b"k") == 5
            assert await client.multi_get(b"k") == (5,)
            await client.close()

        asyncio.run(main())
        assert [server.flags("k") for server in four.holders("k")] == [7]

    def test_flag_handlers_that_fail(self, four: Fleet) -> None:
        """Their errors are raised as they are, and say nothing about the server."""
        wrong = Exception()

        async def encode(value: int) -> tuple[bytes, int]:
            if value < 0:
                raise wrong
            return str(value).encode(), 7

        async def decode(value: bytes, flags: int) -> int:
            raise wrong

        async def main() -> None:
            nonlocal wrong
            liveness = Liveness(failures=1)
            client = ours.FlagClient(
                four.path,
                liveness=liveness,
                on_error="miss",
                get_flag_handler=decode,
                set_flag_handler=encode,
            )
            for wrong in (
                EOFError("Ran out of input"),
                TimeoutError(),
                OSError(),
                ours.RefusalError("no"),
                KeyError(),
            ):
                assert await client.set(b"k", 1)
                for ask in (
                    client.get(b"k"),
                    client.multi_get(b"k", b"x"),
                    client.set(b"k", -1),
                ):
                    with pytest.raises(type(wrong)) as caught:
                        await ask
                    assert caught.value is wrong
                assert await client.get(b"x") is None
            assert liveness.servers() == []
            await client.close()

        asyncio.run(main())


async def use_aiocache(fleet: Fleet) -> None:
    """Use the program that the documentation shows."""
    aiocache = need_module("aiocache")
    cache = aiocache.Cache(aiocache.Cache.MEMCACHED)
    cache.client = ours.Client(fleet.path)
    async with cache:
        assert await cache.set("key", {"a": 1}, ttl=1000)
        assert await cache.get("key") == {"a": 1}
        assert await cache.multi_set([(key, key) for key in KEYS])
        assert await cache.multi_get(KEYS) == KEYS
        assert await cache.exists("key")
        assert await cache.increment("number", 2) == 2
        assert await cache.increment("number", 2) == 4
        assert await cache.delete("key") == 1
        assert await cache.get("key") is None
        with pytest.raises(ValueError, match="already exists"):
            await cache.add("number", 1)
        assert await cache.clear()


def test_an_unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import fails, and says which version it knows."""
    monkeypatch.setattr(aiomcache.FlagClient, "get", aiomcache.FlagClient.get.__wrapped__)
    monkeypatch.delitem(sys.modules, "ketama.clients.aiomcache")
    with pytest.raises(ImportError, match=r"aiomcache 0.8.2: .*get.*install aiomcache 0.8"):
        importlib.import_module("ketama.clients.aiomcache")


def test_aiocache(four: Fleet) -> None:
    """It reaches the servers of the file."""
    asyncio.run(use_aiocache(four))
    assert all(server.stat("cmd_set") for server in four.servers)
    assert [server.stat("cmd_flush") for server in four.servers] == [1] * 4


def test_fastapi_cache(four: Fleet) -> None:
    """A decorated endpoint is computed once, and its answer is on libketama's server."""
    fastapi = need_module("fastapi")
    fastapi_cache = need_module("fastapi_cache")
    backends = need_module("fastapi_cache.backends.memcached")
    decorator = need_module("fastapi_cache.decorator")
    calls = []

    async def main() -> list[object]:
        client = ours.Client(four.path)
        fastapi_cache.FastAPICache.init(backends.MemcachedBackend(client), prefix="p")
        app = fastapi.FastAPI()

        async def index() -> dict[str, int]:
            calls.append(1)
            return {"calls": len(calls)}

        app.get("/")(decorator.cache(expire=60)(index))
        bodies = []
        for _ in range(3):
            sent: list[dict[str, Any]] = []

            async def receive() -> dict[str, Any]:
                return {"type": "http.request"}

            async def send(message: dict[str, Any], sent: Any = sent) -> None:
                sent.append(message)

            scope = {
                "type": "http",
                "method": "GET",
                "path": "/",
                "query_string": b"",
                "headers": [],
                "client": ("127.0.0.1", 1),
                "server": ("127.0.0.1", 2),
                "scheme": "http",
                "http_version": "1.1",
            }
            await app(scope, receive, send)
            bodies.append(sent[1]["body"])
        await client.close()
        return bodies

    try:
        assert asyncio.run(main()) == [b'{"calls":1}'] * 3
    finally:
        fastapi_cache.FastAPICache.reset()
    assert sum(server.stat("get_hits") for server in four.servers) == 2
