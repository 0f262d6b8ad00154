"""meta-memcache's client, on real servers."""

from __future__ import annotations

import gc
import itertools
import logging
import random
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from needs import need_module
from threads import forks_beside_threads
from waiting import wait_for

import ketama

need_module("meta_memcache")

from meta_memcache.cache_client import CacheClient
from meta_memcache.errors import MemcacheServerError
from meta_memcache.executors.default import DefaultExecutor
from meta_memcache.protocol import (
    Key,
    MetaCommand,
    RequestFlags,
    SetMode,
    ValueContainer,
)
from meta_memcache.routers.default import DefaultRouter
from meta_memcache.serializer import MixedSerializer
from meta_memcache_socket import Conflict, NotStored

from clients.checks import (
    CAP,
    EXPIRIES,
    HUNG,
    KEYS,
    UNICODE,
    UNRESOLVED,
    VICTIM,
    Load,
    Reports,
    expect_expiry,
    expect_placed,
    hung,
    in_children,
    killed_by_a_request,
    lose_dns,
    use_up_descriptors,
)  # fmt: skip
from clients.memcached import Fleet, Listener
from ketama.clients.meta_memcache import PoolProvider, Router, cache_client
from ketama.clients.probe import connect
from ketama.health import Liveness

HOUR = 3600
SLOW = 60.0  # seconds that no server takes
# An interrupt while an object is destroyed is lost: there is another after so many seconds.
AGAIN = 10.0


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Without the warnings that meta-memcache logs for each error."""
    logger = logging.getLogger("meta_memcache")
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(logging.NOTSET)


def started(source: Any, **options: Any) -> CacheClient:
    return cache_client(source, **{"connection_timeout": SLOW, "recv_timeout": SLOW, **options})


@pytest.fixture
def client(four: Fleet) -> CacheClient:
    return started(four.path)


def provider_of(client: CacheClient) -> PoolProvider:
    router = client.router
    assert isinstance(router, Router)
    return router.pool_provider


def ring_of(client: CacheClient) -> ketama.Continuum:
    return provider_of(client).continuum


def down(client: CacheClient) -> frozenset[str]:
    return provider_of(client).liveness.down(ring_of(client).addresses)


def following(fleet: Fleet, **options: Any) -> CacheClient:
    """A client that takes up a change of the file at once."""
    return started(ketama.Continuum(fleet.path, auto_roll=1e-9, fallback=True), **options)


def set_all(client: CacheClient, value: str = "v", ttl: int = 0) -> None:
    for key in KEYS:
        assert client.set(key, value, ttl=ttl)


# ---- Placement


def test_each_key_is_on_its_server(fleet: Fleet) -> None:
    """Whatever the key, the command, and the kind of the server's address."""
    fleet.start(2)
    fleet.start(1, "unix")
    fleet.start(1, "[::1]")
    fleet.write({server.address: 100 * n for n, server in enumerate(fleet.servers, 1)})
    client = started(fleet.path)
    keys = [*KEYS, *UNICODE, *(f"item:{number}" for number in range(150))]
    for key in keys[::2]:
        assert client.set(key, key, ttl=0)
    for key in keys[1::2]:
        assert client.set(key, key, ttl=HOUR, set_mode=SetMode.ADD)
    expect_placed(fleet, ring_of(client), keys)
    assert client.multi_get(keys) == {Key(key): key for key in keys}
    assert all(client.get(key) == key for key in keys)
    for key in keys[:200]:
        assert client.delete(key)
    found = client.multi_get(keys)
    assert [found[Key(key)] for key in keys] == [None] * 200 + keys[200:]
    counters = provider_of(client).get_counters()
    assert {*map(str, counters)} == {server.address for server in fleet.servers}
    assert {counter.available for counter in counters.values()} == {1}


def test_which_part_of_a_key_is_hashed(client: CacheClient, four: Fleet) -> None:
    """Its routing_key, as meta-memcache has it."""
    home = ring_of(client)["basket:7"]
    for key in KEYS:
        assert client.set(Key(key, routing_key="basket:7"), "v", ttl=0)
        assert [server.address for server in four.holders(key)] == [home]


def test_the_provider_alone(four: Fleet) -> None:
    """It gives meta-memcache's own router the pools."""
    provider = PoolProvider(four.path, connection_timeout=SLOW, recv_timeout=SLOW)
    executor = DefaultExecutor(serializer=MixedSerializer())
    client = CacheClient(router=DefaultRouter(provider, executor))
    set_all(client)
    expect_placed(four, provider.continuum, KEYS)
    victim = four.servers[VICTIM]
    victim.kill()
    set_all(client)
    expect_failed_over(four, provider.continuum)
    assert client.multi_get(KEYS) == dict.fromkeys(map(Key, KEYS), "v")
    assert provider.liveness.down(provider.continuum.addresses) == {victim.address}


def test_a_file_with_an_invalid_address(four: Fleet) -> None:
    """Its keys go to other servers, as those of a server that is down; it has its counters."""
    invalid = "127.0.0.1:112111"
    four.write({**dict.fromkeys([s.address for s in four.servers], 100), invalid: 100})
    client = started(four.path)
    assert invalid in {ring_of(client)[key] for key in KEYS}
    set_all(client)
    assert client.multi_get(KEYS) == dict.fromkeys(map(Key, KEYS), "v")
    counters = provider_of(client).get_counters()
    assert {*map(str, counters)} == {*ring_of(client).addresses}


def test_wrong_options(four: Fleet) -> None:
    """The message names those that are allowed."""
    with pytest.raises(ValueError, match="invalid on_rejoin"):
        cache_client(four.path, on_rejoin="drop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="invalid failover_ttl 0"):
        cache_client(four.path, failover_ttl=0)


# ---- Reload


def test_changes_of_the_file_under_load(fleet: Fleet) -> None:
    """Six threads, 24 changes: nothing raises, no value is wrong, and no connection is left."""
    fleet.start(6)
    fleet.write()
    client = following(fleet)
    addresses = [server.address for server in fleet.servers]

    def work(chance: random.Random) -> None:
        keys = [f"key:{chance.randrange(2000)}" for _ in range(30)]
        for key in keys[:10]:
            assert client.set(key, key, ttl=0)
        found = client.multi_get(keys)
        assert all(found[Key(key)] in (None, key) for key in keys)
        assert client.get(keys[1]) in (None, keys[1])

    gc.disable()
    try:
        with Load(work) as load:
            for change in range(24):
                listed = random.Random(change).sample(addresses, 2 + change % 5)
                fleet.write(dict.fromkeys([*listed, addresses[0]], 100))
                wait_for(load.has_gone_on(3))
            fleet.write({addresses[0]: 100})
            wait_for(load.has_gone_on())
        assert ring_of(client).addresses == (addresses[0],)
        for server in fleet.servers[1:]:
            wait_for(lambda server=server: server.connections() == 0)  # type: ignore[misc]
    finally:
        gc.enable()
    assert [str(server) for server in provider_of(client).get_counters()] == [addresses[0]]


# ---- A server that is down


def expect_failed_over(four: Fleet, ring: ketama.Continuum) -> None:
    """Find exactly the victim's keys at the next distinct server, the others at their own."""
    victim = four.servers[VICTIM].address
    for key in KEYS:
        first, second = ring.successors(key, 2)
        home = second if first == victim else first
        assert [server.address for server in four.holders(key)] == [home], key


def test_a_server_is_killed_under_load(four: Fleet) -> None:
    """Nothing raises; its keys go to the next server, and return when it is back."""
    client = following(four, liveness=Liveness(interval=0.01, interval_max=0.01))
    victim = four.servers[VICTIM]

    def work(chance: random.Random) -> None:
        keys = [f"key:{chance.randrange(2000)}" for _ in range(30)]
        assert client.set(keys[0], keys[0], ttl=0)
        client.delete(keys[1])
        found = client.multi_get(keys)
        assert all(found[Key(key)] in (None, key) for key in keys)

    with Load(work) as load:
        wait_for(load.has_gone_on())
        victim.kill()
        wait_for(load.has_gone_on())
        assert down(client) == {victim.address}
    set_all(client)
    expect_failed_over(four, ring_of(client))
    assert client.multi_get(KEYS) == dict.fromkeys(map(Key, KEYS), "v")
    victim.restart()
    wait_for(lambda: client.get("any") or not down(client))
    for server in four.servers:
        server.restart()
    set_all(client)
    expect_placed(four, ring_of(client), KEYS)


@pytest.mark.parametrize("failover", [True, False])
def test_all_servers_are_down(four: Fleet, failover: bool) -> None:
    """It raises, or answers as meta-memcache does without raise_on_server_error."""
    for server in four.servers:
        server.kill()
    raises = started(four.path, failover=failover)
    with pytest.raises(MemcacheServerError, match="all that this key could go to are down"):
        raises.get("key")
    with pytest.raises(MemcacheServerError):
        raises.set("key", "v", ttl=0)
    with pytest.raises(MemcacheServerError):
        raises.multi_get(KEYS)
    misses = started(four.path, failover=failover, raise_on_server_error=False)
    assert misses.get("key") is None
    assert misses.multi_get(KEYS) == dict.fromkeys(map(Key, KEYS))
    assert not misses.set("key", "v", ttl=0)
    assert isinstance(misses.meta_set(Key("key"), "v"), NotStored)
    assert misses.delta("key", 1) is False


def test_without_failover(four: Fleet) -> None:
    """A key of a server that is down goes nowhere else; the others' are served."""
    victim = four.servers[VICTIM]
    victim.kill()
    client = started(four.path, failover=False, raise_on_server_error=False)
    lost = {key for key in KEYS if ring_of(client)[key] == victim.address}
    for _ in range(2):  # the second time, it is known to be down
        assert {key for key in KEYS if not client.set(key, "v", ttl=0)} == lost
    found = client.multi_get(KEYS)
    assert {key.key for key, value in found.items() if value is None} == lost
    assert not any(four.holders(key) for key in lost)


@forks_beside_threads
def test_a_server_hangs(four: Fleet) -> None:
    """A process waits for it at most `failures` times; then its keys go on."""
    options: Any = {"failures": 3, "window": HOUR, "interval": HOUR, "interval_max": HOUR}
    liveness = Reports(**options)
    client = started(four.path, liveness=liveness, recv_timeout=HUNG)
    client.multi_get(KEYS)
    victim = four.servers[VICTIM]
    made = victim.stat("total_connections")
    victim.hang()
    for key in KEYS:
        client.get(key)
    set_all(client)
    client.multi_get(KEYS)
    assert [type(error) for error in liveness.reports] == [TimeoutError] * 3

    def work(_: int) -> None:
        own = Reports(**options)
        started(four.path, liveness=own, recv_timeout=HUNG).multi_get(KEYS)
        assert own.reports == []

    in_children(3, work)
    victim.resume()
    # One to ask it here, and a new one after each time it was waited for, but the last.
    assert victim.stat("total_connections") == made + 1 + 2


@forks_beside_threads
def test_a_process_without_descriptors(four: Fleet) -> None:
    """It takes no server down, and writes to no other one: the error is its own."""
    victim = four.servers[VICTIM]

    def work(_: int) -> None:
        client = started(four.path, raise_on_server_error=False)
        lost = [key for key in KEYS if ring_of(client)[key] == victim.address]
        client.multi_get([key for key in KEYS if key not in lost])  # connections to the others
        use_up_descriptors()
        assert not any(client.set(key, "v", ttl=0) for key in lost)
        assert {*client.multi_get([Key(key) for key in lost]).values()} == {None}
        assert not down(client)

    in_children(1, work)
    assert not any(four.holders(key) for key in KEYS)


def test_a_process_without_dns(four: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no server down, and writes to no other one: the error is its own."""
    lose_dns(monkeypatch)
    client = started([UNRESOLVED, *(server.address for server in four.servers)])
    lost = [key for key in KEYS if ring_of(client)[key] == UNRESOLVED]
    with pytest.raises(MemcacheServerError):
        client.set(lost[0], "v", ttl=0)
    with pytest.raises(MemcacheServerError):
        client.multi_get(lost)
    assert not any(four.holders(key) for key in lost)
    assert provider_of(client).liveness.servers([UNRESOLVED])[0].state == "up"


def test_a_restart_between_requests(four: Fleet) -> None:
    """Idle connections that were reset are no failure, whatever the command."""
    liveness = Reports()
    client = started(four.path, liveness=liveness)
    for call in (
        lambda: client.get(KEYS[0]) is None,
        lambda: client.multi_get(KEYS),
        lambda: client.set(KEYS[0], "v", ttl=0),
        lambda: client.delta_initialize(KEYS[0], 1, 1, HOUR),
        lambda: not client.delete(KEYS[0]),
    ):
        set_all(client)
        for server in four.servers:
            server.restart()
        assert call()
    assert liveness.reports == []


def test_what_is_not_repeated(four: Fleet) -> None:
    """A number that may have been added to is not added to on another server."""
    victim = four.servers[VICTIM]
    victim.kill()
    with Listener(victim.address) as listener:
        liveness = Reports(shared=False)
        client = started(four.path, liveness=liveness, recv_timeout=HUNG)
        key = next(key for key in KEYS if ring_of(client)[key] == victim.address)
        with pytest.raises(MemcacheServerError):
            client.delta_initialize(key, 1, 1, HOUR)
        assert len(liveness.reports) == listener.connections == 1
        assert four.holders(key) == []
        with pytest.raises(MemcacheServerError):
            client.set(key, "v", ttl=0, set_mode=SetMode.APPEND)
        assert four.holders(key) == []
    assert client.delta_initialize(key, 1, 1, HOUR)  # refused, so it was not carried out
    assert len(four.holders(key)) == 1


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("connected", [False, True])
def test_all_servers_hang(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, many: bool, connected: bool
) -> None:
    """An operation waits for three of six, and no later one for more."""

    def time_out(*_: object) -> None:
        raise TimeoutError("timed out")

    if not connected:
        monkeypatch.setattr("ketama.clients.meta_memcache_pool.connect", time_out)
    liveness = Reports(failures=1, shared=False, interval=HOUR, interval_max=HOUR)
    with hung(fleet) as addresses:
        client = started(addresses, liveness=liveness, recv_timeout=0.01)
        for number in range(1, 5):
            with pytest.raises(MemcacheServerError):
                client.multi_get(["key"]) if many else client.get("key")
            assert len(liveness.reports) == 3 * number


@pytest.mark.parametrize("many", [False, True])
def test_a_server_that_is_killed_in_the_middle_of_a_write(four: Fleet, many: bool) -> None:
    """It refuses what is sent once more, so the next server gets that."""
    victim = four.servers[VICTIM]
    victim.kill()
    client = started(four.path)
    key = next(key for key in KEYS if ring_of(client)[key] == victim.address)
    with killed_by_a_request(victim.address):
        if many:
            client.router.exec_multi(MetaCommand.META_SET, [Key(key)], [ValueContainer("v")])
        else:
            assert client.set(key, "v", ttl=0)
    assert len(four.holders(key)) == 1


def test_a_write_to_a_server_that_is_still_in_use(four: Fleet) -> None:
    """What it may have missed is stored nowhere else, where nobody reads, until it is down."""
    victim = four.servers[VICTIM]
    options: Any = {
        "liveness": Liveness(failures=4, window=HOUR, interval=HOUR, interval_max=HOUR),
        "recv_timeout": HUNG,
    }
    raises = started(four.path, **options)
    misses = started(four.path, raise_on_server_error=False, **options)
    failed: list[Key] = []
    misses.router.executor.on_write_failure += failed.append
    key = next(key for key in KEYS if ring_of(raises)[key] == victim.address)
    victim.hang()
    with pytest.raises(MemcacheServerError):
        raises.set(key, "new", ttl=0)
    assert not misses.delete(key)
    many = misses.router.exec_multi(MetaCommand.META_DELETE, [Key(key)])
    assert isinstance(many[Key(key)], NotStored)
    assert failed == [Key(key)] * 2
    others = [server for server in four.servers if server is not victim]
    assert not any(server.get(key) for server in others)
    assert raises.get(key) is None  # from the next server, and now the victim is down
    assert raises.set(key, "new", ttl=0)
    assert [server.get(key) for server in others].count(b"new") == 1
    victim.resume()


def test_a_write_to_a_server_that_is_not_connected_to(
    four: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not stored elsewhere either, where nobody reads it; a read goes on."""
    victim = four.servers[VICTIM]

    def connect_to_others(address: str, timeout: float | None) -> Any:
        if address == victim.address:
            raise TimeoutError("timed out")
        return connect(address, timeout)

    monkeypatch.setattr("ketama.clients.meta_memcache_pool.connect", connect_to_others)
    client = started(four.path, liveness=Liveness(failures=4, window=HOUR))
    key = next(key for key in KEYS if ring_of(client)[key] == victim.address)
    with pytest.raises(MemcacheServerError):
        client.set(key, "v", ttl=0)
    with pytest.raises(MemcacheServerError):
        client.router.exec_multi(MetaCommand.META_DELETE, [Key(key)])
    assert not four.holders(key)
    assert client.get(key) is None
    assert not down(client)
    assert client.multi_get([key]) == {Key(key): None}  # the fourth failure
    assert client.set(key, "v", ttl=0)
    assert len(four.holders(key)) == 1


@pytest.mark.parametrize("known", [False, True])
def test_check_and_set_on_another_server(four: Fleet, known: bool) -> None:
    """The number is one of the key's own server, so another one stores nothing for it."""
    client = started(four.path)
    victim = four.servers[VICTIM]
    key = next(key for key in KEYS if ring_of(client)[key] == victim.address)
    set_all(client, "old")
    for server in four.servers:
        server.set(key, b"old", flags=MixedSerializer.STR)
    _, number = client.get_cas(key)
    assert number is not None
    victim.kill()
    if known:
        assert client.get(key) == "old"  # of the next server, as the victim is down
    assert not client.set(key, "new", ttl=0, cas_token=number)
    _, others = client.get_cas(key)
    for one in (number, others):
        assert not client.set(key, "new", ttl=0, cas_token=one)
        assert not client.delete(key, cas_token=one)
        flags = RequestFlags(cas_token=one)
        many = client.router.exec_multi(MetaCommand.META_DELETE, [Key(key)], flags=flags)
        assert isinstance(many[Key(key)], Conflict)
    assert {server.get(key) for server in four.servers if server.running} == {b"old"}


def test_values_on_a_substitute_expire(four: Fleet) -> None:
    """The capped time to live is that of the victim's keys alone."""
    four.servers[VICTIM].kill()
    client = started(four.path, failover_ttl=CAP)
    ttls: Any = (None, *(expire for expire in EXPIRIES if expire >= 0))
    for ttl in ttls:
        for key in KEYS[:75]:
            assert client.set(key, "v", ttl=ttl)
        for key in KEYS[75:]:
            assert client.set(key, "v", ttl=CAP)
            assert client.touch(key, ttl or 0)
        expect_expiry(four, ring_of(client), ttl or 0)


# ---- Processes


@forks_beside_threads
def test_children_that_are_forked(client: CacheClient) -> None:
    """Parent and three children use it: of 1,600 gets, none is wrong, none is None."""
    for key in KEYS:
        client.set(key, key, ttl=0)

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(400):
            key = chance.choice(KEYS)
            assert client.get(key) == key
        keys = chance.sample(KEYS, 30)
        assert client.multi_get(keys) == {Key(key): key for key in keys}

    parent = threading.Thread(target=work, args=[-1])
    parent.start()
    in_children(3, work)
    parent.join()
    work(-2)


class Interrupt(BaseException):
    """What a signal's handler raises in the middle of a request."""


# A connection that is broken off before it was noted is closed as an object, with a warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_request_that_is_broken_off(client: CacheClient) -> None:
    """The next ones on the same key get no answer that was meant for it, 199 times."""

    def interrupt(*_: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    executor = client.router.executor
    pool = provider_of(client).get_pool(Key("user:1"))
    many: Any = [(Key("user:1"), None)] * 300
    broken_off = 0
    try:
        for number in range(199):
            keys = itertools.cycle(KEYS)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + number % 7 * 0.0003, AGAIN)
                while True:
                    client.multi_get(KEYS)
                    client.set(next(keys), "old", ttl=0)
                    # Deletes, of which each is a step of its own, in Python.
                    executor.exec_multi_on_pool(
                        pool, MetaCommand.META_DELETE, many, None, False
                    )
            except Interrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
                broken_off += 1
            assert client.set("user:1", str(number), ttl=0)
            assert client.get("user:1") == str(number)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert broken_off == 199
