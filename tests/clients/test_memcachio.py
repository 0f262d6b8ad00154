"""ketama.clients.memcachio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from needs import need_module

from clients.memcached import Fleet, Listener
from clients.promises import KEYS, NEVER, AllServers, Asked, until
from ketama import Continuum
from ketama.health import Liveness

memcachio = need_module("memcachio")
ours = need_module("ketama.clients.memcachio")


class Asking(Asked):
    """Our client of memcachio."""

    timeout_option = "read_timeout"

    def make(self, source: Any, **options: Any) -> Any:
        """Return the client."""
        return ours.Client(source, decode_responses=True, **options)

    async def set(self, key: str, value: str, expiry: int = 0) -> bool:
        """Store a value."""
        return bool(await self.client.set(key, value, expiry=expiry))

    async def get(self, key: str) -> str | None:
        """Return a value; the key as bytes."""
        found = await self.client.get(key.encode())
        return found[key].value if found else None

    async def get_many(self, keys: Iterable[str]) -> dict[str, str]:
        """Return values."""
        return {key: item.value for key, item in (await self.client.get(*keys)).items()}

    async def incr(self, key: str) -> int | None:
        """Add 1."""
        number: int | None = await self.client.incr(key, 1)
        return number


class TestMemcachio(AllServers):
    """What all promise."""

    asked = Asking
    module = ours
    unavailable = memcachio.errors.NoAvailableNodes
    refusal = memcachio.errors.MemcachedError
    all_commands = ("version", "stats", "flushall")

    def test_commands(self, four: Fleet) -> None:
        """All of memcachio's, with its answers."""

        async def main() -> None:
            client = ours.Client(four.path)
            assert await client.add("k", "1")
            assert not await client.add("k", "2")
            assert await client.replace("k", 2, flags=7)
            assert await client.append("k", "3")
            assert await client.prepend("k", "1")
            assert await client.incr("k", 1) == 124
            assert await client.decr("k", 4) == 120
            item = (await client.gets(b"k"))[b"k"]
            assert (item.value, item.flags) == (b"120", 7)
            assert await client.cas("k", "x", item.cas)
            assert not await client.cas("k", "y", item.cas)
            assert await client.touch("k", 1000)
            assert {*await client.gat("k", "x", "y", expiry=500)} == {b"k"}
            assert {*await client.gats("k", expiry=500)} == {b"k"}
            [holder] = four.holders("k")
            assert 400 < (holder.ttl("k") or 0) <= 500
            assert await client.incr("missing", 1) is None
            assert await client.set("n", "1", noreply=True) is None
            assert await client.delete("k")
            assert not await client.delete("k")
            with pytest.raises(memcachio.errors.MemcachedError, match="too large"):
                await client.set("k", bytes(2**21))
            ends = {
                (server.address.split(":")[0], int(server.address.split(":")[1]))
                for server in four.servers
            }
            assert {*await client.version()} == {*await client.stats()} == ends
            assert await client.flushall()
            assert client.connection_pool.metrics.requests_processed > 10
            four.servers[0].kill()
            with pytest.raises(ConnectionError):
                await client.flushall()
            await client.close()

        asyncio.run(main())

    def test_gat_on_a_substitute(self, four: Fleet) -> None:
        """Only keys that are not on their own server get a shorter time to live."""
        continuum = Continuum(four.path)
        victim = four.servers[3]

        async def main() -> None:
            client = ours.Client(four.path, failover_ttl=100)
            victim.kill()
            for key in KEYS:
                assert await client.set(key, key)
            assert len(await client.gat(*KEYS, expiry=1000)) == len(KEYS)
            await client.close()

        asyncio.run(main())
        for key in KEYS:
            [holder] = four.holders(key)
            moved = continuum.lookup(key) == victim.address
            assert ((holder.ttl(key) or 0) <= 100) == moved

    def test_a_substitute_was_restarted(self, four: Fleet) -> None:
        """It gets two requests, for keys of its own and others: two resets are no failure."""
        continuum = Continuum(four.path)
        victim = four.servers[3]

        async def main() -> None:
            liveness = Liveness(failures=1, **NEVER)
            client = ours.Client(four.path, liveness=liveness)
            victim.kill()
            await client.gat(*KEYS, expiry=1000)
            assert liveness.down(continuum.addresses) == {victim.address}
            for server in four.servers[:3]:
                server.restart()  # the event loop does not run meanwhile
            assert await client.gat(*KEYS, expiry=1000) == {}
            assert [s.address for s in liveness.servers()] == [victim.address]
            await client.close()

        asyncio.run(main())

    def test_a_connection_times_out(self, four: Fleet) -> None:
        """All requests on it are asked elsewhere, which counts as one failure of the server."""
        continuum = Continuum(four.path)
        victim = four.servers[3]
        keys = [key for key in KEYS if continuum.lookup(key) == victim.address][:3]
        victim.kill()

        async def main(listener: Listener) -> None:
            liveness = Liveness(failures=2, **NEVER)
            async with Asking(four.path, liveness=liveness, max_connections=1) as asking:
                gets = [asyncio.create_task(asking.get(key)) for key in keys]
                await until(lambda: listener.received.count(b"get ") == len(keys))
                [used] = asking.client.connection_pool._following.in_use()
                [connection] = used._connections
                first = connection._request_queue[0].command
                first.response.set_exception(TimeoutError("as memcachio's timer does"))
                assert await asyncio.gather(*gets) == [None] * 3
                assert listener.connections == 1
                assert not liveness.down(continuum.addresses)

        with Listener(victim.address) as listener:
            asyncio.run(main(listener))

    def test_the_pool_of_a_plain_client(self, four: Fleet) -> None:
        """The pool serves memcachio's own class, too."""

        async def main() -> None:
            client = memcachio.Client(connection_pool=ours.Pool(four.path))
            for key in KEYS:
                assert await client.set(key, key)
            client.connection_pool.close()
            assert (await client.get("user:1"))[b"user:1"].value == b"user:1"
            client.connection_pool.close()

        asyncio.run(main())
        continuum = Continuum(four.path)
        for key in KEYS:
            assert four.holders(key) == [four.at(continuum.lookup(key))]

    def test_connections_without_replies(self, fleet: Fleet) -> None:
        """They are not idle while something is written."""
        [server] = fleet.start()

        async def main() -> None:
            source = [(server.address, 1)]
            async with Asking(source, idle_connection_timeout=600.0) as asking:
                following = asking.client.connection_pool._following
                seen = set()
                for count in range(3):
                    await asking.client.set("key", str(count), noreply=True)
                    following.keep_current()  # as once a second
                    [used] = following.in_use()
                    seen |= {*used._connections}
                assert len(seen) == 1

        asyncio.run(main())

    def test_idle_connections(self, four: Fleet) -> None:
        """Those that are idle for too long are closed."""

        async def main() -> None:
            async with Asking(four.path, idle_connection_timeout=0.05) as client:
                await client.get_many(KEYS)
                await until(lambda: not any(server.connections() for server in four.servers))

        asyncio.run(main())
