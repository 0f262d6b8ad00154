"""ketama.clients.emcache."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from needs import need_module

from clients.memcached import Fleet
from clients.promises import KEYS, Asked, Promises, until

emcache = need_module("emcache")
ours = need_module("ketama.clients.emcache")


class Asking(Asked):
    """Our client of emcache."""

    connect_option = "connection_timeout"

    def make(self, source: Any, **options: Any) -> Any:
        """Return the client."""
        return ours.Client(source, **options)

    async def set(self, key: str, value: str, expiry: int = 0) -> bool:
        """Store a value."""
        await self.client.set(key.encode(), value.encode(), exptime=expiry)
        return True

    async def get(self, key: str) -> str | None:
        """Return a value."""
        item = await self.client.get(key.encode())
        return None if item is None else item.value.decode()

    async def get_many(self, keys: Iterable[str]) -> dict[str, str]:
        """Return values."""
        items = await self.client.get_many([key.encode() for key in keys])
        return {key.decode(): item.value.decode() for key, item in items.items()}

    async def incr(self, key: str) -> int | None:
        """Add 1."""
        with contextlib.suppress(emcache.NotFoundCommandError):
            number: int | None = await self.client.increment(key.encode(), 1)
            return number
        return None


class TestEmcache(Promises):
    """What all promise."""

    asked = Asking
    module = ours
    unavailable = emcache.ClusterNoAvailableNodes
    refusal = emcache.CommandError
    lost_set = True  # emcache returns None, or raises

    def test_commands(self, four: Fleet) -> None:
        """All of emcache's, with its answers."""

        async def main() -> None:
            client = ours.Client(four.path)
            await client.add(b"k", b"1")
            with pytest.raises(emcache.NotStoredStorageCommandError):
                await client.add(b"k", b"2")
            await client.replace(b"k", b"2", flags=7)
            await client.append(b"k", b"3")
            await client.prepend(b"k", b"1")
            assert await client.increment(b"k", 1) == 124
            assert await client.decrement(b"k", 4) == 120
            item = await client.gets(b"k", return_flags=True)
            assert (item.value, item.flags) == (b"120", 7)
            await client.cas(b"k", b"x", item.cas)
            with pytest.raises(emcache.NotStoredStorageCommandError):
                await client.cas(b"k", b"y", item.cas)
            await client.touch(b"k", 1000)
            assert {*await client.gat_many(500, [b"k", b"x", b"y"])} == {b"k"}
            assert (await client.gat(500, b"k")).value == b"x"
            assert {*await client.gets_many([b"k", b"x"])} == {b"k"}
            [holder] = four.holders("k")
            assert 400 < (holder.ttl("k") or 0) <= 500
            await client.set(b"n", b"1", noreply=True)
            await client.delete(b"k")
            for ask in (
                client.delete(b"k"),
                client.touch(b"k", 1),
                client.increment(b"k", 1),
            ):
                with pytest.raises(emcache.NotFoundCommandError):
                    await ask
            with pytest.raises(emcache.StorageCommandError, match="too large"):
                await client.set(b"k", bytes(2**21))
            with pytest.raises(ValueError, match="invalid char"):
                await client.get(b"a key")
            management = client.cluster_managment()
            nodes = management.nodes()
            assert len(nodes) == 4
            for node in nodes:
                assert await client.version(node)
                assert await client.stats(node)
                await client.flush_all(node)
            metrics = management.connection_pool_metrics()
            assert sum(each.operations_executed for each in metrics.values()) > 10
            four.servers[0].kill()
            for key in KEYS:
                await client.set(key.encode(), b"1")
            [down] = management.unhealthy_nodes()
            assert f"{down.address}:{down.port}" == four.servers[0].address
            assert {*management.healthy_nodes()} == {*nodes} - {down}
            with pytest.raises(ValueError, match="can not be found"):
                await client.version(emcache.MemcachedHostAddress("localhost", 1))
            await client.close()
            with pytest.raises(RuntimeError, match="closed"):
                await client.get(b"k")

        asyncio.run(main())

    def test_nodes_with_an_invalid_address(self, four: Fleet) -> None:
        """The management leaves them out, and works for the others."""
        four.write({s.address: 100 for s in four.servers} | {"127.0.0.1:99999": 1000})

        async def main() -> None:
            client = ours.Client(four.path)
            for key in KEYS:
                await client.set(key.encode(), b"1")
            management = client.cluster_managment()
            nodes = management.nodes()
            assert len(nodes) == 4
            assert management.healthy_nodes() == nodes
            assert management.unhealthy_nodes() == []
            assert {*management.connection_pool_metrics()} == {*nodes}
            assert await client.version(nodes[0])
            await client.close()

        asyncio.run(main())

    def test_idle_connections(self, four: Fleet) -> None:
        """Those that are idle for too long are closed."""

        async def main() -> None:
            async with Asking(four.path, purge_unused_connections_after=0.05) as client:
                await client.get_many(KEYS)
                await until(lambda: not any(server.connections() for server in four.servers))

        asyncio.run(main())


def test_an_unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import fails, and says which version it knows."""
    client = need_module("emcache.client")
    monkeypatch.delattr(client._Client, "_fetch_command")
    monkeypatch.delitem(sys.modules, "ketama.clients.emcache")
    with pytest.raises(
        ImportError, match=r"emcache 1.3.3: .*_fetch_command.*install emcache 1.3"
    ):
        importlib.import_module("ketama.clients.emcache")
