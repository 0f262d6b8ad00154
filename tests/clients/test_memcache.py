"""The client of python-memcached, on real servers."""

from __future__ import annotations

import gc
import itertools
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from needs import need_module
from threads import forks_beside_threads
from waiting import wait_for

import ketama

memcache = need_module("memcache")

from clients.checks import (
    BYTES,
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
    flush,
    hung,
    in_children,
    killed_by_a_request,
    lose_dns,
    use_up_descriptors,
)  # fmt: skip
from clients.memcached import Fleet, Listener
from ketama.clients.memcache import Client
from ketama.clients.probe import FLUSH_DELAYS
from ketama.health import Liveness

HOUR = 3600
SLOW = 60.0  # seconds that no server takes
# An interrupt while an object is destroyed is lost: there is another after so many seconds.
AGAIN = 10.0


@pytest.fixture
def client(four: Fleet) -> Iterator[Client]:
    made = Client(four.path, socket_timeout=SLOW)
    yield made
    made.disconnect_all()


def following(fleet: Fleet, **options: Any) -> Client:
    """A client that takes up a change of the file at once."""
    ring = ketama.Continuum(fleet.path, auto_roll=1e-9, fallback=True)
    return Client(ring, **{"socket_timeout": SLOW, **options})


# ---- Placement


def test_each_key_is_on_its_server(fleet: Fleet) -> None:
    """Whatever the key's type, the command, and the kind of the server's address."""
    fleet.start(2)
    fleet.start(1, "unix")
    fleet.start(1, "[::1]")
    fleet.write({server.address: 100 * n for n, server in enumerate(fleet.servers, 1)})
    client = Client(fleet.path, socket_timeout=SLOW)
    for text in KEYS[:75] + UNICODE[:75]:
        assert client.set(text, "v")
    for item in BYTES[:75]:
        assert client.add(item, "v")
    rest: list[Any] = [*KEYS[75:], *UNICODE[75:], *BYTES[75:]]
    assert client.set_multi(dict.fromkeys(rest, "v"), HOUR) == []
    everything: list[Any] = [*KEYS, *UNICODE, *BYTES]
    expect_placed(fleet, client.continuum, everything)
    assert client.get_multi(everything) == dict.fromkeys(everything, "v")
    assert all(client.get(key) == "v" for key in everything)
    assert client.get(UNICODE[0].encode()) == client.get(BYTES[0].decode()) == "v"
    assert client.delete_multi(everything[:200]) == 1
    assert client.get_multi(everything) == dict.fromkeys(everything[200:], "v")
    client.disconnect_all()


def test_localhost(fleet: Fleet) -> None:
    """A host name is resolved, and each of its addresses tried."""
    (server,) = fleet.start(1, "localhost")
    fleet.write()
    client = Client(fleet.path)
    assert client.set("key", "v")
    assert server.get("key") == b"v"
    client.disconnect_all()


def test_which_bytes_are_hashed(client: Client, four: Fleet) -> None:
    """Those that are sent, with the prefix; of a tuple the first item."""
    assert client.set_multi(dict.fromkeys(KEYS, "v"), key_prefix="shop:") == []
    expect_placed(four, client.continuum, [f"shop:{key}" for key in KEYS])
    assert client.get(f"shop:{KEYS[0]}") == "v"
    assert client.get_multi(KEYS, key_prefix="shop:") == dict.fromkeys(KEYS, "v")
    assert client.delete_multi(KEYS, key_prefix=b"shop:") == 1
    assert client.get_multi(KEYS, key_prefix="shop:") == {}
    for first in ("basket:7", b"basket:7", 7):
        pairs = [(first, f"{first!r:.1}{key}") for key in KEYS]
        assert client.set(pairs[0], "v")
        assert client.set_multi(dict.fromkeys(pairs[1:], "v")) == []
        home = client.continuum[str(first) if isinstance(first, int) else first]
        assert all([s.address for s in four.holders(key)] == [home] for _, key in pairs)
        assert client.get_multi(pairs) == dict.fromkeys(pairs, "v")
        assert client.get(pairs[0]) == "v"
        assert client.delete(pairs[0]) == 1


def test_numbers_are_keys_of_many(client: Client) -> None:
    """As python-memcached has it, of set_multi, get_multi and delete_multi."""
    keys: list[Any] = [1, 2, 3]
    assert client.set_multi({1: "a", 2: "b"}, key_prefix="n") == []
    assert client.get_multi(keys, key_prefix="n") == {1: "a", 2: "b"}
    assert client.get("n1") == "a"
    assert client.delete_multi(keys, key_prefix="n") == 1
    assert client.get("n1") is None


def test_a_key_encoder(four: Fleet) -> None:
    """Its result is sent, and hashed."""
    client = Client(four.path, key_encoder=lambda key: f"e-{key}", socket_timeout=SLOW)
    for key in KEYS[:50]:
        assert client.set(key, "v")
    assert client.set_multi(dict.fromkeys(KEYS[50:], "v")) == []
    expect_placed(four, client.continuum, [f"e-{key}" for key in KEYS])
    assert client.get_multi(KEYS) == dict.fromkeys(KEYS, "v")
    assert client.get(KEYS[-1]) == "v"
    assert client.touch(KEYS[-1], HOUR)
    assert client.delete(KEYS[-1])
    client.disconnect_all()


def test_the_commands(client: Client, four: Fleet) -> None:
    """They return what python-memcached returns, of values of each type."""
    plain = memcache.Client([four.servers[0].address])
    answers = []
    for one in (plain, client):
        answers.append(
            [
                one.get("key"),
                one.get("key", "default"),
                one.gets("key"),
                one.add("key", 1),
                one.add("key", 2),
                one.incr("key", 5),
                one.decr("key", 2),
                one.incr("other", 1),
                one.append("key", "0"),
                one.prepend("key", "1"),
                one.get("key"),
                one.replace("key", {"a": [1]}),
                one.get("key"),
                one.touch("key", HOUR),
                one.touch("other", HOUR),
                one.delete("key"),
                one.delete("key"),
                one.replace("key", "v"),
                one.append("key", "v"),
                one.cas("key", b"v"),
                one.get("key"),
                one.set("key", "ключ" * 1000, timedelta(hours=1), min_compress_len=100),
                one.get("key"),
                one.set("key", "v", noreply=True),
                one.get("key"),
                one.set_multi({"a": 1, "b": "2"}, noreply=True),
                one.get_multi(["a", "b", "c"]),
                one.delete_multi(["a", "b", "c"]),
                one.delete_multi(["a", "b", "c"], noreply=True),
                one.get_multi(["a", "b", "c"]),
                one.incr("key", 1, noreply=True) if one is client else None,
            ]
        )
        one.flush_all()
        assert one.get("key") is None
        one.disconnect_all()
    assert answers[0] == answers[1]
    assert {*client.get_stats()[0][1]} >= {"uptime", "curr_connections"}
    assert [name for name, _ in client.get_stats()] == [
        f"{server.address} (1)" for server in four.servers
    ]


def test_check_and_set(four: Fleet) -> None:
    """It stores a value unless it has changed since gets."""
    client = Client(four.path, cache_cas=True, socket_timeout=SLOW)
    client.set_multi(dict.fromkeys(KEYS, "v"))
    other = Client(four.path, socket_timeout=SLOW)
    for number, key in enumerate(KEYS):
        assert client.gets(key) == "v"
        if number % 2:
            other.set(key, "other")
        assert bool(client.cas(key, "new")) == (number % 2 == 0)
        assert client.get(key) == ("other" if number % 2 else "new")
    client.disconnect_all()
    other.disconnect_all()


@pytest.mark.parametrize("key", ["a b", "a\n", "x" * 251, ""])
def test_an_invalid_key(client: Client, four: Fleet, key: str) -> None:
    """It raises what python-memcached raises, also beside valid ones."""
    calls: list[Callable[[], object]] = [
        lambda: client.get(key),
        lambda: client.set(key, "v"),
        lambda: client.get_multi(["valid", key]),
        lambda: client.set_multi({"valid": "v", key: "v"}),
        lambda: client.delete_multi(["valid", key]),
        lambda: client.set_multi({"x": "v"}, key_prefix="x" * 250),
    ]
    for call in calls:
        with pytest.raises(memcache.Client.MemcachedKeyError):
            call()
    with pytest.raises(memcache.Client.MemcachedKeyNoneError):
        client.get_multi([None])  # type: ignore[type-var]
    assert not four.holders("valid")


def test_a_value_that_is_too_large(client: Client, four: Fleet) -> None:
    """It fails alone, here or at the server, and leaves no answer for the next request."""
    values: dict[str, object] = dict.fromkeys(KEYS, "v")
    values["user:1"] = "x" * 2_000_000
    values["user:2"] = "x" * 1_048_576  # which the client does not refuse
    assert client.set_multi(values) == ["user:1", "user:2"]
    assert client.get_multi(KEYS).keys() == {*KEYS} - {"user:1", "user:2"}
    for key in KEYS:
        assert client.set(key, key) == 1
    for key in KEYS:
        assert client.set(key, "x" * 1_048_576, noreply=True)
        assert client.get(key) in (None, key)


def test_a_file_with_an_invalid_address(four: Fleet) -> None:
    """Its keys go to other servers, as those of a server that is down."""
    invalid = "127.0.0.1:112111"
    four.write({**dict.fromkeys([s.address for s in four.servers], 100), invalid: 100})
    client = Client(four.path, socket_timeout=SLOW)
    lost = [key for key in KEYS if client.continuum[key] == invalid]
    assert client.set(lost[0], "v")
    assert client.set_multi(dict.fromkeys(KEYS, "v")) == []
    assert client.get_multi(KEYS) == dict.fromkeys(KEYS, "v")
    assert all(client.get(key) == "v" for key in KEYS)
    assert [server.server for server in client.servers] == [*client.continuum.addresses]
    assert len(client.get_stats()) == 4
    flush(four, client.flush_all, KEYS)
    client.disconnect_all()


@pytest.mark.parametrize("first", [b"", b"VALUE key 0 1\r\nx\r\n"])
@pytest.mark.parametrize("line", [b"SERVER_ERROR out of memory\r\n", b"ERROR Too many\r\n"])
def test_a_server_that_refuses(fleet: Fleet, first: bytes, line: bytes) -> None:
    """The keys are missing, and it is asked again: it has answered."""
    liveness = Reports()
    with Listener(fleet.address(), answer=first + line) as listener:
        client = Client([listener.address], liveness=liveness, socket_timeout=SLOW)
        for number in range(1, 4):
            assert client.get_multi(["key", "other"]) == ({"key": b"x"} if first else {})
            wait_for(lambda n=number: listener.connections == n)  # type: ignore[misc]
        assert liveness.reports == []
        client.disconnect_all()


def test_more_keys_than_are_sent_at_once(client: Client) -> None:
    """Thousands, with values that fill the buffers of sockets."""
    values = {f"key:{number}": f"{number:02000}" for number in range(5000)}
    assert client.set_multi(values) == []
    assert client.get_multi(values) == values
    assert client.delete_multi(values) == 1
    assert client.get_multi(values) == {}


def test_wrong_options(four: Fleet) -> None:
    """The message names the remedy."""
    with pytest.raises(TypeError, match="dead_retry has no effect here: use liveness"):
        Client(four.path, dead_retry=5)
    with pytest.raises(TypeError, match="use on_rejoin='flush'"):
        Client(four.path, flush_on_reconnect=1)
    with pytest.raises(TypeError, match="typo"):
        Client(four.path, typo=1)
    with pytest.raises(ValueError, match="invalid on_rejoin"):
        Client(four.path, on_rejoin="drop")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="edit that"):
        Client(four.path).set_servers(["10.0.0.1:11211"])


def test_the_package_with_the_same_import_name(tmp_path: Path) -> None:
    """The error names the file, and what to do."""
    (tmp_path / "memcache").mkdir()
    module = tmp_path / "memcache" / "__init__.py"
    module.write_text("class Memcache: ...\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import ketama.clients.memcache"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: {module} is not python-memcached, which has the same import name: pip "
        "uninstall memcache python-memcached, then pip install 'libketama[memcache]'"
    )


# ---- Threads


def test_threads_share_the_continuum_and_connections(client: Client, four: Fleet) -> None:
    """The file is opened once, and a thread that ends leaves its connections to others."""
    seen: list[Any] = []

    def work() -> None:
        client.get_multi(KEYS)
        seen.append(client.continuum)

    for _ in range(10):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert {*map(id, seen)} == {id(client.continuum)}
    assert [server.connections() for server in four.servers] == [1] * 4
    client.disconnect_all()
    for server in four.servers:
        wait_for(lambda server=server: server.connections() == 0)  # type: ignore[misc]


@pytest.mark.parametrize("many", ["get_multi", "set_multi", "delete_multi"])
def test_all_servers_are_asked_at_once(client: Client, four: Fleet, many: str) -> None:
    """While one hangs, the others have been asked; the answer is whole in the end."""
    values = {key: key for key in KEYS}
    assert client.set_multi(values) == []
    hung, *others = four.servers
    name = {"get_multi": "cmd_get", "set_multi": "cmd_set", "delete_multi": "delete_hits"}[many]
    before = {server: server.stat(name) for server in others}
    hung.hang()
    results: list[Any] = []
    argument = values if many == "set_multi" else KEYS
    thread = threading.Thread(target=lambda: results.append(getattr(client, many)(argument)))
    thread.start()
    for server in others:
        wait_for(lambda server=server: server.stat(name) > before[server])  # type: ignore[misc]
    assert results == []
    hung.resume()
    thread.join()
    assert results == [{"get_multi": values, "set_multi": [], "delete_multi": 1}[many]]


# ---- Reload


def test_changes_of_the_file_under_load(fleet: Fleet) -> None:
    """Six threads, 24 changes: nothing raises, no value is wrong, and no connection is left."""
    fleet.start(6)
    fleet.write()
    client = following(fleet)
    addresses = [server.address for server in fleet.servers]

    def work(chance: random.Random) -> None:
        keys = [f"key:{chance.randrange(2000)}" for _ in range(30)]
        assert client.set(keys[0], keys[0])
        assert client.set_multi({key: key for key in keys[:10]}) == []
        assert all(value == key for key, value in client.get_multi(keys).items())
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
        assert client.continuum.addresses == (addresses[0],)
        for server in fleet.servers[1:]:
            wait_for(lambda server=server: server.connections() == 0)  # type: ignore[misc]
    finally:
        gc.enable()
    client.disconnect_all()
    wait_for(lambda: fleet.servers[0].connections() == 0)


# ---- A server that is down


def expect_failed_over(four: Fleet, ring: ketama.Continuum, keys: list[str]) -> None:
    """Find exactly the victim's keys at the next distinct server, the others at their own."""
    victim = four.servers[VICTIM].address
    for key in keys:
        first, second = ring.successors(key, 2)
        home = second if first == victim else first
        assert [server.address for server in four.holders(key)] == [home], key


def test_a_server_is_killed_under_load(four: Fleet) -> None:
    """Nothing raises or is lost; its keys go to the next server, and return when it is back."""
    client = following(four, liveness=Liveness(interval=0.01, interval_max=0.01))
    victim = four.servers[VICTIM]

    def work(chance: random.Random) -> None:
        keys = [f"key:{chance.randrange(2000)}" for _ in range(30)]
        assert client.set(keys[0], keys[0])
        assert client.set_multi({key: key for key in keys[:10]}) == []
        assert client.delete_multi(keys[20:]) == 1
        assert all(value == key for key, value in client.get_multi(keys).items())
        client.incr("number")
        client.add(keys[2], keys[2])

    with Load(work) as load:
        wait_for(load.has_gone_on())
        victim.kill()
        wait_for(load.has_gone_on())
        assert client.liveness.down(client.continuum.addresses) == {victim.address}
    for key in KEYS[:75]:
        assert client.set(key, "v")
    assert client.set_multi(dict.fromkeys(KEYS[75:], "v")) == []
    expect_failed_over(four, client.continuum, KEYS)
    assert client.get_multi(KEYS) == dict.fromkeys(KEYS, "v")
    victim.restart()
    wait_for(lambda: client.get("any") or not client.liveness.down(client.continuum.addresses))
    flush(four, client.flush_all, KEYS)
    for key in KEYS:
        assert client.set(key, "v")
    expect_placed(four, client.continuum, KEYS)
    client.disconnect_all()


@pytest.mark.parametrize("failover", [True, False])
def test_all_servers_are_down(four: Fleet, failover: bool) -> None:
    """Every key is named; the others return what python-memcached returns."""
    client = Client(four.path, failover=failover, socket_timeout=SLOW)
    assert client.set_multi(dict.fromkeys(KEYS, "v")) == []
    for server in four.servers:
        server.kill()
    for _ in range(3):
        assert sorted(client.set_multi(dict.fromkeys(KEYS, "v"))) == sorted(KEYS)
        assert sorted(client.set_multi(dict.fromkeys(KEYS, "v"), noreply=True)) == sorted(KEYS)
        assert client.get_multi(KEYS) == {}
        assert client.get("key", "default") is None
        assert client.set("key", "v") == client.delete("key") == client.touch("key") == 0
        assert client.delete_multi(KEYS) == 0
        assert client.incr("key") is None
    client.flush_all()


def test_without_failover(four: Fleet) -> None:
    """A key of a server that is down goes nowhere else; the others' are served."""
    victim = four.servers[VICTIM]
    victim.kill()
    client = Client(four.path, failover=False, socket_timeout=SLOW)
    lost = [key for key in KEYS if client.continuum[key] == victim.address]
    for _ in range(2):  # the second time, it is known to be down
        assert client.set_multi(dict.fromkeys(KEYS, "v")) == lost
        assert not client.set(lost[0], "v")
    assert client.get_multi(KEYS).keys() == {*KEYS} - {*lost}
    assert not any(four.holders(key) for key in lost)
    client.disconnect_all()


@forks_beside_threads
def test_a_server_hangs(four: Fleet) -> None:
    """A process waits for it at most `failures` times; then its keys go on."""
    options: Any = {"failures": 3, "window": HOUR, "interval": HOUR, "interval_max": HOUR}
    liveness = Reports(**options)
    client = Client(four.path, liveness=liveness, socket_timeout=HUNG)
    client.get_multi(KEYS)
    victim = four.servers[VICTIM]
    made = victim.stat("total_connections")
    victim.hang()
    for key in KEYS:
        client.get(key)
    assert client.set_multi(dict.fromkeys(KEYS, "v")) == []
    client.get_multi(KEYS)
    assert [type(error) for error in liveness.reports] == [TimeoutError] * 3

    def work(_: int) -> None:
        own = Reports(**options)
        other = Client(four.path, liveness=own, socket_timeout=HUNG)
        other.get_multi(KEYS)
        assert own.reports == []

    in_children(3, work)
    victim.resume()
    # One to ask it here, and a new one after each time it was waited for, but the last.
    assert victim.stat("total_connections") == made + 1 + 2
    client.disconnect_all()


@forks_beside_threads
def test_a_process_without_descriptors(four: Fleet) -> None:
    """It takes no server down, and writes to no other one: the error is its own."""
    victim = four.servers[VICTIM]

    def work(_: int) -> None:
        client = Client(four.path, socket_timeout=SLOW)
        lost = [key for key in KEYS if client.continuum[key] == victim.address]
        client.get_multi({*KEYS} - {*lost})  # connections to the others
        use_up_descriptors()
        assert client.set_multi(dict.fromkeys(lost, "v")) == lost
        assert not any(client.set(key, "v") for key in lost)
        assert not client.liveness.down(client.continuum.addresses)

    in_children(1, work)
    assert not any(four.holders(key) for key in KEYS)


def test_a_process_without_dns(four: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no server down, and writes to no other one: the error is its own."""
    lose_dns(monkeypatch)
    client = Client([UNRESOLVED, *(server.address for server in four.servers)])
    lost = [key for key in KEYS if client.continuum[key] == UNRESOLVED]
    assert not client.set(lost[0], "v")
    assert client.set_multi(dict.fromkeys(lost, "v")) == lost
    assert not any(four.holders(key) for key in lost)
    assert client.liveness.servers([UNRESOLVED])[0].state == "up"
    client.disconnect_all()


def test_a_restart_between_requests(four: Fleet) -> None:
    """Idle connections that were reset are no failure, whatever the command."""
    liveness = Reports()
    client = Client(four.path, liveness=liveness, socket_timeout=SLOW)
    calls: list[Callable[[], object]] = [
        lambda: client.get(KEYS[0]) is None,
        lambda: client.get_multi(KEYS) == {},
        lambda: client.set(KEYS[0], "v"),
        lambda: client.set_multi(dict.fromkeys(KEYS, "v")) == [],
        lambda: client.add("number", 1),
        lambda: client.incr("number", 1) is None,
        lambda: client.delete_multi(KEYS),
    ]
    for call in calls:
        client.set_multi(dict.fromkeys([*KEYS, "number"], 1))
        for server in four.servers:
            server.restart()
        assert call()
    assert liveness.reports == []
    client.disconnect_all()


def test_what_is_not_repeated(four: Fleet) -> None:
    """What may have been carried out is not carried out again, on this server or another."""
    calls: list[Callable[[Client, str], object]] = [
        lambda client, key: client.incr(key),
        lambda client, key: client.append(key, "1"),
        lambda client, key: client.add(key, "1"),
    ]
    victim = four.servers[VICTIM]
    victim.kill()
    for closing in (True, False):
        with Listener(victim.address, closing=closing) as listener:
            for number, call in enumerate(calls):
                liveness = Reports(shared=False)
                client = Client(four.path, liveness=liveness, socket_timeout=HUNG)
                key = next(k for k in KEYS if client.continuum[k] == victim.address)
                assert not call(client, key)
                wait_for(lambda n=number: listener.connections == n + 1)  # type: ignore[misc]
                assert len(liveness.reports) == 1
                assert four.holders(key) == []


@pytest.mark.parametrize("many", [False, True])
def test_all_servers_hang(fleet: Fleet, many: bool) -> None:
    """An operation waits for three of six, and no later one for more."""
    liveness = Reports(failures=1, shared=False, interval=HOUR, interval_max=HOUR)
    with hung(fleet) as addresses:
        client = Client(addresses, liveness=liveness, socket_timeout=0.01)
        for number in range(1, 5):
            assert not (client.get_multi(["key"]) if many else client.get("key"))
            assert len(liveness.reports) == 3 * number
        client.disconnect_all()


@pytest.mark.parametrize("many", [False, True])
def test_a_server_that_is_killed_in_the_middle_of_a_write(four: Fleet, many: bool) -> None:
    """It refuses what is sent once more, so the next server gets that."""
    victim = four.servers[VICTIM]
    victim.kill()
    client = Client(four.path, socket_timeout=SLOW)
    key = next(key for key in KEYS if client.continuum[key] == victim.address)
    with killed_by_a_request(victim.address):
        assert (client.set_multi({key: "v"}) == []) if many else client.set(key, "v")
    assert len(four.holders(key)) == 1
    client.disconnect_all()


def test_a_write_to_a_server_that_is_still_in_use(four: Fleet) -> None:
    """What it may have missed is stored nowhere else, where nobody reads, until it is down."""
    victim = four.servers[VICTIM]
    liveness = Liveness(failures=4, window=HOUR, interval=HOUR, interval_max=HOUR)
    client = Client(four.path, liveness=liveness, socket_timeout=HUNG)
    key = next(key for key in KEYS if client.continuum[key] == victim.address)
    victim.hang()
    assert not client.set(key, "new")
    assert client.set_multi({key: "new"}) == [key]
    assert not client.delete(key)
    others = [server for server in four.servers if server is not victim]
    assert not any(server.get(key) for server in others)
    assert client.get(key) is None  # from the next server, and now the victim is down
    assert client.set(key, "new")
    assert [server.get(key) for server in others].count(b"new") == 1
    assert client.get(key) == "new"
    victim.resume()
    client.disconnect_all()


@pytest.mark.parametrize("known", [False, True])
def test_check_and_set_on_another_server(four: Fleet, known: bool) -> None:
    """The number is one of the key's own server, so another one stores nothing for it."""
    client = Client(four.path, cache_cas=True, socket_timeout=SLOW)
    victim = four.servers[VICTIM]
    key, other = [key for key in KEYS if client.continuum[key] == victim.address][:2]
    for server in four.servers:
        server.set(key, b"old")
    assert client.gets(key) == b"old"
    victim.kill()
    if known:
        assert client.get(key) == b"old"  # of the next server, as the victim is down
    assert not client.cas(key, "new")
    assert client.gets(key) == b"old"
    assert not client.cas(key, "new")
    assert {server.get(key) for server in four.servers if server.running} == {b"old"}
    assert client.cas(other, "new")  # without a number, it is a set
    client.disconnect_all()


def test_values_on_a_substitute_expire(four: Fleet) -> None:
    """The capped time to live is that of the victim's keys alone."""
    four.servers[VICTIM].kill()
    client = Client(four.path, failover_ttl=CAP, socket_timeout=SLOW)
    for expire in EXPIRIES:
        client.set_multi(dict.fromkeys(KEYS[:50], "v"), expire)
        for key in KEYS[50:100]:
            client.set(key, "v", expire)
        for key in KEYS[100:]:
            client.set(key, "v", CAP)
            client.touch(key, expire)
        expect_expiry(four, client.continuum, expire)
    client.disconnect_all()


def test_a_server_that_rejoins_is_flushed(four: Fleet) -> None:
    """With on_rejoin="flush", once, as it missed what was written meanwhile."""
    liveness = Liveness(interval=0.01, interval_max=0.01)
    client = following(four, liveness=liveness, on_rejoin="flush", socket_timeout=HUNG)
    victim = four.servers[VICTIM]
    assert client.set_multi(dict.fromkeys(KEYS, "old")) == []
    victim.hang()
    key = next(key for key in KEYS if client.continuum[key] == victim.address)
    assert client.set(key, "new")
    assert client.get(key) == "new"
    victim.resume()
    wait_for(lambda: client.get("any") or not client.liveness.down(client.continuum.addresses))
    assert client.get(key) is None
    assert [server.stat("cmd_flush") for server in four.servers] == [
        len(FLUSH_DELAYS) * (server is victim) for server in four.servers
    ]
    client.disconnect_all()


# ---- Processes


@forks_beside_threads
def test_children_that_are_forked(client: Client) -> None:
    """Parent and three children use it: of 1,600 gets, none is wrong, none is None."""
    assert client.set_multi({key: key for key in KEYS}) == []

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(400):
            key = chance.choice(KEYS)
            assert client.get(key) == key
        keys = chance.sample(KEYS, 30)
        assert client.get_multi(keys) == {key: key for key in keys}

    parent = threading.Thread(target=work, args=[-1])
    parent.start()
    in_children(3, work)
    parent.join()
    work(-2)


class Interrupt(BaseException):
    """What a signal's handler raises in the middle of a request."""


# A connection that is broken off before it was noted is closed as an object, with a warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_request_that_is_broken_off(client: Client) -> None:
    """The next ones on the same key get no answer that was meant for it, 199 times."""

    def interrupt(*_: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    broken_off = 0
    try:
        for number in range(199):
            keys = itertools.cycle(KEYS)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + number % 7 * 0.0003, AGAIN)
                while True:
                    client.get_multi(KEYS)
                    client.get(next(keys))
                    client.set(next(keys), "old")
            except Interrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
                broken_off += 1
            assert client.set("user:1", str(number))
            assert client.get("user:1") == str(number)
            assert client.get_multi(["user:1", "user:2"])["user:1"] == str(number)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert broken_off == 199


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_get_that_is_broken_off_while_the_server_answers(four: Fleet) -> None:
    """The answer that comes later is nobody's."""
    forwarder = four.forward(round_trip=0.02)
    client = Client(dict.fromkeys(forwarder.addresses, 100), socket_timeout=SLOW)

    def interrupt(*_: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    client.set("user:1", "old")
    try:
        for number in range(20):
            signal.setitimer(signal.ITIMER_REAL, 0.01, AGAIN)
            try:
                while True:
                    client.get("user:1")
            except Interrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert client.set("user:1", number)
            assert client.get("user:1") == number
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    client.disconnect_all()
