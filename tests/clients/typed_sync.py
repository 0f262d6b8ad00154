"""A program that uses the types of the synchronous clients: mypy checks it, nothing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ketama
from ketama.clients.dogpile import PyMemcacheBackend
from ketama.clients.memcache import Client
from ketama.clients.meta_memcache import PoolProvider, Router, cache_client
from ketama.health import Liveness

if TYPE_CHECKING:
    from meta_memcache.cache_client import CacheClient
    from meta_memcache.connection.pool import ConnectionPool
    from meta_memcache.connection.providers import ConnectionPoolProvider
    from meta_memcache.interfaces.router import Router as RouterProtocol
    from meta_memcache.protocol import Key
    from typing_extensions import assert_type

    continuum = ketama.Continuum("/etc/ketama.servers", auto_roll=1.0)

    client = Client(continuum, liveness=Liveness(failures=3), failover_ttl=30, debug=1)
    Client({"10.0.1.1:11211": 600}, on_rejoin="flush", socket_timeout=0.5)
    Client(continuum, on_rejoin="drop")  # type: ignore[arg-type]
    Client(5)  # type: ignore[arg-type]
    assert_type(client.continuum, ketama.Continuum)
    assert_type(client.liveness, Liveness)
    assert_type(client.get("user:42"), Any)
    assert_type(client.set(("basket:7", "user:42"), object(), time=60), int)
    assert_type(client.add(b"user:42", 1), int)
    assert_type(client.incr("user:42"), int | None)
    assert_type(client.delete("user:42"), int)
    assert_type(client.touch("user:42", 60), int)
    assert_type(client.get_multi(["a", "b"]), dict[str, Any])
    assert_type(client.get_multi([1, 2], key_prefix="n"), dict[int, Any])
    assert_type(client.set_multi({b"a": 1}), list[bytes])
    assert_type(client.delete_multi(["a"]), int)
    client.get(5.0)  # type: ignore[arg-type]
    client.set_multi(["a"])  # type: ignore[arg-type]

    provider = PoolProvider(continuum, max_pool_size=10)
    as_provider: ConnectionPoolProvider = provider
    assert_type(provider.get_pool(Key("user:42")), ConnectionPool)
    provider.get_pool("user:42")  # type: ignore[arg-type]
    meta = cache_client("/etc/ketama.servers", recv_timeout=0.5)
    assert_type(meta, CacheClient)
    as_router: RouterProtocol = Router(provider, meta.router.executor)
    cache_client("/etc/ketama.servers", pool_size=3)  # type: ignore[call-arg]

    backend = PyMemcacheBackend({"url": "/etc/ketama.servers", "timeout": 0.5})
    PyMemcacheBackend("/etc/ketama.servers")  # type: ignore[arg-type]
