"""A program that uses the types of the clients: mypy and pyright check it, nothing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ketama
from ketama.clients.django import KetamaCache
from ketama.clients.hasher import Hasher
from ketama.clients.pymemcache import HashClient
from ketama.health import Liveness, Probe, ServerState

if TYPE_CHECKING:
    from typing_extensions import assert_type

    path: ketama.Path = "/etc/ketama.servers"
    servers: ketama.Servers = {"10.0.1.1:11211": 600}
    key: ketama.Key = b"user:42"
    continuum = ketama.Continuum(path, auto_roll=1.0)

    client = HashClient(path)
    HashClient(servers)
    HashClient(continuum, on_error="miss", on_rejoin="flush", hashed_key="as sent")
    HashClient(path, liveness=Liveness(failures=3), timeout=None, key_prefix="shop:")
    HashClient(path, on_error="ignore")  # type: ignore[arg-type]
    HashClient(path, use_pooling=True)  # type: ignore[call-arg]

    assert_type(client.continuum, ketama.Continuum)
    assert_type(client.liveness, Liveness)
    assert_type(client.set("user:42", object(), expire=60), bool)
    assert_type(client.delete(b"user:42"), bool)
    assert_type(client.incr(("basket:7", "user:42"), 1), int | None)
    assert_type(client.get_many(["a", "b"]).keys() <= {"a"}, bool)
    assert_type([*client.get_many([b"a"])], list[bytes])
    assert_type([*client.gets_many(["a"])], list[str])
    assert_type(client.set_many({"a": 1}), list[str])
    assert_type(client.delete_many(["a"]), bool)
    with HashClient(path) as entered:
        assert_type(entered, HashClient)
    client.get(5)  # type: ignore[arg-type]

    hasher = Hasher(path)
    assert_type(hasher(), Hasher)
    assert_type(hasher.get_node("user:42"), str | None)
    hasher.add_node(5)  # type: ignore[arg-type]

    cache = KetamaCache("/etc/ketama.servers", {"OPTIONS": {"timeout": 0.2}})
    cache.close()
    KetamaCache(5, {})  # type: ignore[arg-type]

    liveness = Liveness()
    assert_type(liveness.down(continuum.addresses), frozenset[str])
    assert_type(liveness.claim(continuum.addresses), Probe | None)
    assert_type(liveness.servers(), list[ServerState])
