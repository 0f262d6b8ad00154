"""The backend of dogpile.cache, on real servers."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from needs import need_module
from threads import forks_beside_threads
from waiting import wait_for

import ketama

need_module("dogpile.cache")
need_module("pymemcache")

from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

from clients.checks import (
    HUNG,
    KEYS,
    VICTIM,
    Load,
    Reports,
    expect_placed,
    flush,
    in_children,
)
from clients.memcached import Fleet
from ketama.clients.dogpile import PyMemcacheBackend
from ketama.health import Liveness

HOUR = 3600
SLOW = 60.0  # seconds that no server takes


def configured(source: Any, **arguments: Any) -> Any:  # its methods have no types
    """A region with the backend, which dogpile finds by its name."""
    arguments = {"url": source, "timeout": SLOW, "connect_timeout": SLOW, **arguments}
    return make_region().configure("ketama.pymemcache", arguments=arguments)


def client_of(region: Any) -> Any:
    assert isinstance(region.backend, PyMemcacheBackend)
    return region.backend.client


def down(region: Any) -> object:
    client = client_of(region)
    return client.liveness.down(client.continuum.addresses)


@pytest.fixture
def region(four: Fleet) -> Iterator[Any]:
    made = configured(four.path)
    yield made
    client_of(made).close()


# ---- Placement


def test_each_key_is_on_its_server(fleet: Fleet) -> None:
    """Whatever the command, and the kind of the server's address."""
    fleet.start(2)
    fleet.start(1, "unix")
    fleet.start(1, "[::1]")
    fleet.write({server.address: 100 * n for n, server in enumerate(fleet.servers, 1)})
    region = configured(fleet.path, allow_unicode_keys=True)
    keys = [*KEYS, *(f"ключ:{number}" for number in range(300))]
    for key in keys[:150]:
        region.set(key, {"key": key})
    region.set_multi({key: {"key": key} for key in keys[150:300]})
    for key in keys[300:]:
        assert region.get_or_create(key, lambda key=key: {"key": key}) == {"key": key}
    expect_placed(fleet, client_of(region).continuum, keys)
    assert region.get_multi(keys) == [{"key": key} for key in keys]
    assert region.get(keys[0]) == {"key": keys[0]}
    region.delete_multi(keys[1:])
    region.delete(keys[0])
    assert region.get_multi(keys) == [NO_VALUE] * len(keys)
    client_of(region).close()


def test_the_arguments_of_dogpile(four: Fleet) -> None:
    """An expiry of the servers', distributed locks, and a client that tries again."""
    region = configured(
        four.path,
        memcached_expire_time=HOUR,
        distributed_lock=True,
        lock_timeout=HOUR,
        enable_retry_client=True,
        retry_attempts=2,
    )
    region.set_multi(dict.fromkeys(KEYS, "v"))
    expect_placed(four, ketama.Continuum(four.path), KEYS)
    assert all(0 < (four.holders(key)[0].ttl(key) or 0) <= HOUR for key in KEYS)
    seen = []

    def create() -> str:
        seen.append([server.address for server in four.holders("_locknew")])
        return "v"

    assert region.get_or_create("new", create) == "v"
    assert seen == [[ketama.Continuum(four.path)["_locknew"]]]
    assert four.holders("_locknew") == []
    client_of(region).close()


def test_an_argument_that_does_not_exist(four: Fleet) -> None:
    """The message names those that do."""
    for name in ("hashclient_dead_timeout", "time_out"):
        with pytest.raises(
            TypeError, match=f"unexpected argument {name}: must be .* timeout, "
        ):
            configured(four.path, **{name: 5})
    with pytest.raises(ValueError, match="invalid on_error"):
        configured(four.path, on_error="ignore")
    with pytest.raises(ketama.KetamaOSError):
        configured(four.path.with_name("missing"))


def test_one_client_for_a_configuration(four: Fleet) -> None:
    """All threads and all regions share it, and its connections; others have their own."""
    one, same, other = (configured(four.path, max_pool_size=n) for n in (3, 3, 4))
    assert client_of(one) is client_of(same)
    assert client_of(one) is not client_of(other)
    listed = [configured([four.servers[0].address]) for _ in range(2)]
    assert client_of(listed[0]) is client_of(listed[1])
    unhashable = [configured({four.servers[0].address: 100}) for _ in range(2)]
    assert client_of(unhashable[0]) is not client_of(unhashable[1])
    seen = []

    def work() -> None:
        one.get_multi(KEYS)
        seen.append(client_of(one))

    for _ in range(10):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [client_of(same)] * 10
    assert [server.connections() for server in four.servers] == [1] * 4
    client_of(one).close()


# ---- Reload


def test_changes_of_the_file_under_load(fleet: Fleet) -> None:
    """Six threads, 24 changes: nothing raises, no value is wrong, and no connection is left."""
    fleet.start(6)
    fleet.write()
    region = configured(ketama.Continuum(fleet.path, auto_roll=1e-9, fallback=True))
    addresses = [server.address for server in fleet.servers]

    def work(chance: random.Random) -> None:
        keys = [f"key:{chance.randrange(2000)}" for _ in range(30)]
        region.set(keys[0], keys[0])
        region.set_multi({key: key for key in keys[:10]})
        found = dict(zip(keys, region.get_multi(keys), strict=True))
        assert all(value in (NO_VALUE, key) for key, value in found.items())
        assert region.get_or_create(keys[1], lambda: keys[1]) == keys[1]

    gc.disable()
    try:
        with Load(work) as load:
            for change in range(24):
                listed = random.Random(change).sample(addresses, 2 + change % 5)
                fleet.write(dict.fromkeys([*listed, addresses[0]], 100))
                wait_for(load.has_gone_on(3))
            fleet.write({addresses[0]: 100})
            wait_for(load.has_gone_on())
        for server in fleet.servers[1:]:
            wait_for(lambda server=server: server.connections() == 0)  # type: ignore[misc]
    finally:
        gc.enable()
    client_of(region).close()


# ---- A server that is down


def test_a_server_is_killed_under_load(four: Fleet) -> None:
    """Nothing raises; its keys go to the next server, and return when it is back."""
    region = configured(four.path, liveness=Liveness(interval=0.01, interval_max=0.01))
    ring = client_of(region).continuum
    victim = four.servers[VICTIM]

    def work(chance: random.Random) -> None:
        keys = [f"key:{chance.randrange(2000)}" for _ in range(30)]
        region.set_multi({key: key for key in keys[:10]})
        region.delete_multi(keys[20:])
        found = dict(zip(keys, region.get_multi(keys), strict=True))
        assert all(value in (NO_VALUE, key) for key, value in found.items())
        assert region.get_or_create(keys[1], lambda: keys[1]) == keys[1]

    with Load(work) as load:
        wait_for(load.has_gone_on())
        victim.kill()
        wait_for(load.has_gone_on())
        assert down(region) == {victim.address}
    region.set_multi(dict.fromkeys(KEYS, "v"))
    for key in KEYS:
        first, second = ring.successors(key, 2)
        home = second if first == victim.address else first
        assert [server.address for server in four.holders(key)] == [home], key
    victim.restart()
    wait_for(lambda: region.get("any") is not NO_VALUE or not down(region))
    flush(four, client_of(region).flush_all, KEYS)
    region.set_multi(dict.fromkeys(KEYS, "v"))
    expect_placed(four, ring, KEYS)
    client_of(region).close()


def test_all_servers_are_down(four: Fleet) -> None:
    """It raises, as dogpile's own backend does; with on_error="miss", values are created."""
    for server in four.servers:
        server.kill()
    with pytest.raises(ConnectionRefusedError):
        configured(four.path).get("key")
    region = configured(four.path, on_error="miss")
    assert region.get_multi(KEYS) == [NO_VALUE] * len(KEYS)
    assert region.get_or_create("key", lambda: "v") == "v"
    region.set_multi(dict.fromkeys(KEYS, "v"))
    region.delete_multi(KEYS)


def test_a_server_hangs(four: Fleet) -> None:
    """A process waits for it at most `failures` times; then its keys go on."""
    liveness = Reports(failures=3, window=HOUR, interval=HOUR, interval_max=HOUR)
    region = configured(four.path, liveness=liveness, timeout=HUNG)
    region.get_multi(KEYS)
    four.servers[VICTIM].hang()
    for key in KEYS:
        region.get(key)
    for key in KEYS:
        assert region.get_or_create(key, lambda key=key: key) == key
    assert [type(error) for error in liveness.reports] == [TimeoutError] * 3
    four.servers[VICTIM].resume()
    client_of(region).close()


# ---- Processes


@forks_beside_threads
def test_children_that_are_forked(region: Any) -> None:
    """Parent and three children use it: of 1,600 gets, none is wrong, none is missing."""
    region.set_multi({key: key for key in KEYS})

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(400):
            key = chance.choice(KEYS)
            assert region.get(key) == key
        keys = chance.sample(KEYS, 30)
        assert region.get_multi(keys) == keys

    parent = threading.Thread(target=work, args=[-1])
    parent.start()
    in_children(3, work)
    parent.join()
    work(-2)
