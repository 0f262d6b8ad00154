"""Programs that use the clients for asyncio: mypy checks them, and nothing runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiomcache
    import emcache
    import memcachio
    from fastapi_cache.backends.memcached import MemcachedBackend
    from typing_extensions import assert_type

    import ketama.clients.aiomcache
    import ketama.clients.emcache
    import ketama.clients.memcachio
    from ketama import Continuum
    from ketama.health import Liveness

    async def use_aiomcache() -> None:
        """Use ketama.clients.aiomcache."""
        client = ketama.clients.aiomcache.Client(
            "/etc/ketama.servers", failover_ttl=30, liveness=Liveness(), pool_size=4
        )
        plain: aiomcache.Client = client
        assert_type(await client.get(b"key"), bytes | None)
        assert_type(await client.get(b"key", b""), bytes)
        assert_type(await client.gets(b"key"), tuple[bytes | None, int | None])
        assert_type(await client.multi_get(b"key", b"other"), tuple[bytes | None, ...])
        assert_type(await client.set(b"key", b"value", exptime=60), bool)
        assert_type(await client.incr(b"key"), int | None)
        assert_type(await client.version(), dict[str, bytes])
        assert_type(client.continuum, Continuum)
        await client.get("key")  # type: ignore[call-overload]
        ketama.clients.aiomcache.Client("x", on_error="ignore")  # type: ignore[arg-type]
        MemcachedBackend(client)
        await plain.close()

    async def use_memcachio() -> None:
        """Use ketama.clients.memcachio."""
        client = ketama.clients.memcachio.Client("/etc/ketama.servers", read_timeout=0.5)
        plain: memcachio.Client[bytes] = client
        assert_type((await client.get("key", b"other"))[b"key"].value, bytes)
        text = ketama.clients.memcachio.Client("x", decode_responses=True)
        assert_type((await text.get("key"))["key"].value, str)
        assert_type(await client.set("key", 1, expiry=60), bool)
        assert_type(client.continuum, Continuum)
        ketama.clients.memcachio.Client("x", retries=1)  # type: ignore[call-overload]
        memcachio.Client(connection_pool=ketama.clients.memcachio.Pool(["a:1"]))
        await plain.version()

    async def use_emcache() -> None:
        """Use ketama.clients.emcache."""
        client = ketama.clients.emcache.Client({"a:1": 5}, max_connections=4)
        plain: emcache.Client = client
        assert_type(await client.get(b"key"), emcache.Item | None)
        assert_type(await client.get_many([b"key"]), dict[bytes, emcache.Item])
        assert_type(client.continuum, Continuum)
        await client.set(b"key", b"value", exptime=60)
        await client.set("key", b"value")  # type: ignore[arg-type]
        assert_type(client.cluster_managment(), emcache.ClusterManagment)
        await plain.close()
