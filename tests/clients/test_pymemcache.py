"""The client of pymemcache, on real servers."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import random
import signal
import socket
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from needs import need_module
from threads import forks_beside_threads
from waiting import wait_for

import ketama

need_module("pymemcache")

from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheError,
    MemcacheIllegalInputError,
    MemcacheServerError,
)

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
from ketama.clients.pymemcache import HashClient, Hasher
from ketama.clients.pymemcache_connection import SEND_BYTES, Connection, Connector
from ketama.health import Liveness

HOUR = 3600.0
SLOW = 60.0  # seconds that no server takes


@pytest.fixture
def client(four: Fleet) -> Iterator[HashClient]:
    made = HashClient(four.path, timeout=SLOW, connect_timeout=SLOW, allow_unicode_keys=True)
    yield made
    made.close()


def following(fleet: Fleet, **options: Any) -> HashClient:
    """A client that takes up a change of the file at once."""
    ring = ketama.Continuum(fleet.path, auto_roll=1e-9, fallback=True)
    return HashClient(ring, **{"timeout": SLOW, "connect_timeout": SLOW, **options})


# ---- Placement


def test_each_key_is_on_its_server(fleet: Fleet) -> None:
    """Whatever the key's type, the command, and the kind of the server's address."""
    fleet.start(2)
    fleet.start(1, "unix")
    fleet.start(1, "[::1]")
    fleet.write({server.address: 100 * n for n, server in enumerate(fleet.servers, 1)})
    client = HashClient(fleet.path, allow_unicode_keys=True, timeout=SLOW)
    for text in KEYS[:75] + UNICODE[:75]:
        assert client.set(text, "v")
    for item in BYTES[:75]:
        assert client.add(item, b"v")
    rest: list[Any] = [*KEYS[75:], *UNICODE[75:], *BYTES[75:]]
    assert client.set_many(dict.fromkeys(rest, "v"), expire=HOUR_S) == []
    everything: list[Any] = [*KEYS, *UNICODE, *BYTES]
    expect_placed(fleet, client.continuum, everything)
    assert client.get_many(everything) == dict.fromkeys(everything, b"v")
    assert all(client.get(key) == b"v" for key in everything)
    assert client.delete_many(everything[:200])
    assert client.get_many(everything) == dict.fromkeys(everything[200:], b"v")
    client.close()


HOUR_S = 3600


def test_a_key_that_another_one_places(client: HashClient, four: Fleet) -> None:
    """As pymemcache's master has it: (what is hashed, key)."""
    pairs = [("basket:7", key) for key in KEYS]
    assert client.set_many(dict.fromkeys(pairs, "v")) == []
    home = client.continuum["basket:7"]
    assert all([s.address for s in four.holders(key)] == [home] for key in KEYS)
    assert client.get(pairs[0]) == b"v"
    mixed: list[Any] = [*pairs, "none"]
    assert client.get_many(mixed) == dict.fromkeys(pairs, b"v")


@pytest.mark.parametrize("hashed_key", ["as given", "as sent"])
def test_which_bytes_are_hashed(four: Fleet, hashed_key: Any) -> None:
    """With a prefix, they may be those that pymemcache hashes, or those that are sent."""
    client = HashClient(four.path, key_prefix="shop:", hashed_key=hashed_key, timeout=SLOW)
    ring = client.continuum
    for number, key in enumerate(KEYS):
        if number % 2:
            client.set(key, "v")
        else:
            client.set_many({key: "v"})
        home = ring[key if hashed_key == "as given" else f"shop:{key}"]
        assert [server.address for server in four.holders(f"shop:{key}")] == [home]
    assert client.get_many(KEYS) == dict.fromkeys(KEYS, b"v")
    client.close()


def test_the_commands(client: HashClient) -> None:
    """They return what pymemcache returns."""
    assert client.get("key") is None
    assert client.get("key", "default") == "default"
    assert client.gets("key") == (None, None)
    assert client.add("key", 1)
    assert not client.add("key", 2)
    assert client.incr("key", 5) == 6
    assert client.decr("key", 2) == 4
    assert client.incr("other", 1) is None
    assert client.append("key", "0")
    assert client.prepend("key", "1")
    value, unique = client.gets("key")
    assert value == b"140"
    assert unique is not None
    assert client.cas("key", "new", unique)
    assert client.cas("key", "newer", unique) is False
    assert client.cas("other", "new", unique) is None
    assert client.replace("key", "v", noreply=False)
    assert client.touch("key", HOUR_S)
    assert client.gets_many(["key"])["key"][0] == b"v"
    assert client.delete("key")
    assert not client.delete("key")
    assert client.set("key", "v")
    assert client.flush_all()
    assert client.get("key") is None


@pytest.mark.parametrize("size", [0, 1, 4000, 4096, 500_000])
def test_values_that_look_like_answers(client: HashClient, size: int) -> None:
    """A value is what its size says, in however many pieces it comes."""
    value = b"\r\nEND\r\n".ljust(size, b"x") + b"\r\nEND\r\nVALUE key 0 1\r\nx\r\nEND\r\n"
    for stored in (value, value[:size]):
        assert client.set("key", stored)
        assert client.get("key") == stored
        assert client.gets("key")[0] == stored
        assert client.get_many(["key", "other"]) == {"key": stored}


@pytest.mark.parametrize("key", ["a b", "a\0", "x" * 251, "", " ", "\n", "a\n", "ключ"])
def test_an_invalid_key(four: Fleet, key: str) -> None:
    """It raises what pymemcache raises, also beside valid ones, and with on_error="miss"."""
    client = HashClient(four.path, on_error="miss")
    calls: list[Callable[[], object]] = [
        lambda: client.get(key),
        lambda: client.set(key, "v"),
        lambda: client.get_many(["valid", key]),
        lambda: client.set_many({"valid": "v", key: "v"}),
        lambda: client.delete_many(["valid", key]),
    ]
    for call in calls:
        with pytest.raises(MemcacheIllegalInputError):
            call()
    with pytest.raises(MemcacheIllegalInputError):
        HashClient(four.path, key_prefix="x" * 200).get("x" * 51)
    assert not four.holders("valid")


def test_a_value_that_is_too_large(client: HashClient, four: Fleet) -> None:
    """It fails alone, not the others that are sent to the same server."""
    values = dict.fromkeys(KEYS, "v")
    values["user:1"] = "x" * 2_000_000
    assert client.set_many(values) == ["user:1"]
    assert [*client.get_many(KEYS)] != []
    assert len(client.get_many(KEYS)) == len(KEYS) - 1
    with pytest.raises(MemcacheServerError):
        client.set("user:1", "x" * 2_000_000)
    assert client.get("user:2") == b"v"


@pytest.mark.parametrize("flags", [-1, 2**32])
def test_flags_that_memcached_refuses(client: HashClient, flags: int) -> None:
    """After them, it would read the value as commands."""
    calls: list[Callable[[], object]] = [
        lambda: client.set("user:1", "flush_all", flags=flags),
        lambda: client.cas("user:1", "flush_all", 1, flags=flags),
        lambda: client.set_many({"user:1": "flush_all"}, flags=flags),
    ]
    assert client.set("user:2", "v")
    for call in calls:
        with pytest.raises(MemcacheIllegalInputError, match="Flags must be from 0 to"):
            call()
    assert client.get("user:2") == b"v"


@pytest.mark.parametrize("expire", ["5", 1.5, None])
@pytest.mark.parametrize("down", [False, True])
def test_a_time_to_live_that_is_no_integer(four: Fleet, expire: Any, down: bool) -> None:
    """It raises what pymemcache raises, whatever the command, also while a server is down."""
    client = HashClient(four.path, timeout=SLOW)
    if down:
        four.servers[VICTIM].kill()
        client.get_many(KEYS)
    calls: list[Callable[[str], object]] = [
        lambda key: client.set(key, "v", expire),
        lambda key: client.touch(key, expire),
        lambda key: client.set_many({key: "v"}, expire),
    ]
    for call in calls:
        for key in KEYS[:20]:
            with pytest.raises(MemcacheIllegalInputError, match="expire must be integer"):
                call(key)
    assert not any(four.holders(key) for key in KEYS[:20])
    client.close()


def test_more_keys_than_are_sent_at_once(client: HashClient) -> None:
    """Thousands, with values that fill the buffers of sockets."""
    values = {f"key:{number}": f"{number:02000}" for number in range(5000)}
    assert client.set_many(values) == []
    expected = {key: value.encode() for key, value in values.items()}
    assert client.get_many(values) == expected
    assert client.delete_many(values)
    assert client.get_many(values) == {}


class Sending(socket.socket):
    """Remembers how much was sent at once."""

    sizes: ClassVar[list[int]] = []

    def sendall(self, data: Any, *flags: int) -> None:
        """Send data."""
        self.sizes.append(len(data))
        super().sendall(data, *flags)


def sending(where: tuple[str, int], timeout: float | None) -> Sending:
    made = Sending(fileno=socket.create_connection(where).detach())
    made.settimeout(timeout)
    return made


def test_much_is_sent_in_pieces(four: Fleet) -> None:
    """The timeout is that of each piece, not of all the values that a server is sent."""
    module: Any = types.SimpleNamespace(create_connection=sending)
    client = HashClient(four.path, timeout=SLOW, socket_module=module)
    values = dict.fromkeys(KEYS[:20], b"x" * 500_000)
    assert client.set_many(values) == []
    assert sum(Sending.sizes) > 20 * 500_000
    assert max(Sending.sizes) <= SEND_BYTES
    client.close()


def test_wrong_options(four: Fleet) -> None:
    """The message names those that are allowed."""
    with pytest.raises(
        ValueError, match="invalid on_error 'ignore': must be one of raise, miss"
    ):
        HashClient(four.path, on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="invalid on_rejoin"):
        HashClient(four.path, on_rejoin="drop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="invalid hashed_key"):
        HashClient(four.path, hashed_key="prefix")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="invalid failover_ttl 0"):
        HashClient(four.path, failover_ttl=0)
    for prefix in ("shop ", "a\nb", "x" * 250):
        with pytest.raises(MemcacheIllegalInputError):
            HashClient(four.path, key_prefix=prefix)
    with pytest.raises(TypeError, match="edit that"):
        HashClient(four.path).add_server("10.0.0.1", 11211)


# What is no answer of memcached's, or of one that has no connection left.
GARBAGE = (
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"$-1\r\n",
    b"ERROR Too many open connections\r\n",
    b"SERVER_ERROR out of memory\r\n",
    b"VALUE key\r\n",
    b"VALUE key 0 many\r\nEND\r\n",
    b"VALUE key 0 -15\r\n",
    b"VALUE key 0\r\n",
    b"VALUE key 0 1\r\nxy\r\nEND\r\n",
    b"VALUE key 0 1\r\nx\r\nBAD\r\n",
    b"VALUE key x 1\r\nx\r\nEND\r\n",
    b"VALUE other 0 1\r\nx\r\nEND\r\n",
    b"STAT uptime\r\nEND\r\n",
)


@pytest.mark.parametrize("answer", GARBAGE)
def test_an_answer_that_is_none(fleet: Fleet, answer: bytes) -> None:
    """It is an error of pymemcache's, or a miss."""
    with Listener(fleet.address(), answer=answer) as listener:
        raises = HashClient([listener.address], timeout=SLOW)
        misses = HashClient([listener.address], timeout=SLOW, on_error="miss")
        calls: list[tuple[Callable[[HashClient], object], object]] = [
            (lambda client: client.get("key"), None),
            (lambda client: client.gets("key"), (None, None)),
            (lambda client: client.get_many(["key"]), {}),
            (lambda client: client.set("key", "v"), False),
            (lambda client: client.flush_all(), False),
        ]
        for call, missing in calls:
            with pytest.raises(MemcacheError):
                call(raises)
            assert call(misses) == missing
        for one in (raises, misses):
            one.close()


def test_an_answer_without_the_unique_number(fleet: Fleet) -> None:
    """It is an answer to get, but none to gets."""
    answer = b"VALUE key 0 1\r\nx\r\nEND\r\n"
    with Listener(fleet.address(), answer=answer) as listener:
        client = HashClient([listener.address], timeout=SLOW)
        assert client.get("key") == b"x"
        with pytest.raises(MemcacheError):
            client.gets("key")
        client.close()


@pytest.mark.parametrize("answer", [b"STAT uptime\r\nEND\r\n", b"VALUE a\r\n", b"\xff\r\n"])
def test_a_probe_that_is_answered_with_garbage(fleet: Fleet, answer: bytes) -> None:
    """The server stays down, and the others' keys are served."""
    fleet.start(2)
    live = Liveness(interval=0.001, interval_max=0.001)
    with Listener(fleet.address(), answer=answer) as listener:
        addresses = [listener.address, *(server.address for server in fleet.servers)]
        client = HashClient(addresses, liveness=live, timeout=SLOW)
        assert live.failed(listener.address, ConnectionRefusedError(errno.ECONNREFUSED, ""))

        def probed() -> bool:
            assert client.set_many(dict.fromkeys(KEYS, "v")) == []
            return b"stats" in listener.received

        wait_for(probed)
        assert live.down(client.continuum.addresses) == {listener.address}
        client.close()


@pytest.mark.parametrize("answer", [b"NO\r\n", b"ERROR\r\n"])
def test_a_flush_that_is_not_confirmed(fleet: Fleet, answer: bytes) -> None:
    """The server has what it had, so it does not rejoin."""
    with Listener(fleet.address(), answer=answer) as listener:
        connector = Connector(Connection, {})
        with pytest.raises(ConnectionAbortedError, match="flush_all"):
            connector.flush(listener.address, SLOW)


@pytest.mark.parametrize("line", [b"ERROR\r\n", b"CLIENT_ERROR bad data chunk\r\n"])
def test_a_request_that_is_not_understood(fleet: Fleet, line: bytes) -> None:
    """Its value may be read as a command, so the connection is not used again."""
    with Listener(fleet.address(), answer=line) as listener:
        client = HashClient([listener.address], timeout=SLOW)
        for number in range(3):
            with pytest.raises(MemcacheClientError):
                client.set_many({"key": b"get key"})
            with pytest.raises(MemcacheClientError):
                client.delete_many(["key"])
            assert listener.connections == 2 * number + 2


def test_a_file_with_an_invalid_address(four: Fleet) -> None:
    """Its keys go to other servers, as those of a server that is down."""
    invalid = "127.0.0.1:112111"
    four.write({**dict.fromkeys([s.address for s in four.servers], 100), invalid: 100})
    client = HashClient(four.path, timeout=SLOW)
    assert invalid in {client.continuum[key] for key in KEYS}
    assert client.set_many(dict.fromkeys(KEYS, "v")) == []
    assert client.get_many(KEYS) == dict.fromkeys(KEYS, b"v")
    assert all(client.get(key) == b"v" for key in KEYS)

    def flush_all() -> None:
        with pytest.raises(OSError, match="invalid port '112111'"):
            client.flush_all()

    flush(four, flush_all, KEYS)
    assert client.get_many(KEYS) == {}
    client.close()


class Serde:
    """Raises an error of the program's own."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def serialize(self, _: bytes, value: bytes) -> tuple[bytes, int]:
        """Return a value as it is, with no flags."""
        if value == b"wrong":
            raise self.error
        return value, 0

    def deserialize(self, _: object, data: bytes, __: int) -> bytes:
        """Return the data as they are."""
        if data == b"wrong read":
            raise self.error
        return data


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(errno.ECONNREFUSED, "own"), MemcacheServerError("own")]
)
@pytest.mark.parametrize("on_error", ["raise", "miss"])
def test_a_serde_that_raises(four: Fleet, error: Exception, on_error: Any) -> None:
    """What it raises reaches the caller, and says nothing about a server."""
    liveness = Reports()
    client = HashClient(
        four.path, serde=Serde(error), on_error=on_error, liveness=liveness, timeout=SLOW
    )
    calls: list[Callable[[], object]] = [
        lambda: client.set("key", b"wrong"),
        lambda: client.set_many({"key": b"wrong"}),
        lambda: client.get("user:1"),
        lambda: client.get_many(KEYS),
    ]
    client.set_many({**dict.fromkeys(KEYS, b"v"), "user:1": b"wrong read"})
    for call in calls:
        with pytest.raises(type(error), match="own"):
            call()
    assert liveness.reports == []
    assert client.get_many(KEYS[2:]) == dict.fromkeys(KEYS[2:], b"v")
    client.close()


# ---- All at once


@pytest.mark.parametrize("many", ["get_many", "set_many", "delete_many"])
def test_all_servers_are_asked_at_once(client: HashClient, four: Fleet, many: str) -> None:
    """While one hangs, the others have been asked; the answer is whole in the end."""
    values = {key: key for key in KEYS}
    assert client.set_many(values) == []
    hung, *others = four.servers
    name = {"get_many": "cmd_get", "set_many": "cmd_set", "delete_many": "delete_hits"}[many]
    before = {server: server.stat(name) for server in others}
    hung.hang()
    results: list[Any] = []
    argument = values if many == "set_many" else KEYS
    thread = threading.Thread(target=lambda: results.append(getattr(client, many)(argument)))
    thread.start()
    for server in others:
        wait_for(lambda server=server: server.stat(name) > before[server])  # type: ignore[misc]
    assert results == []
    hung.resume()
    thread.join()
    whole = {key: key.encode() for key in KEYS}
    assert results == [{"get_many": whole, "set_many": [], "delete_many": True}[many]]


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
        assert client.set_many({key: key for key in keys[:10]}) == []
        assert all(value == key.encode() for key, value in client.get_many(keys).items())
        assert client.get(keys[1]) in (None, keys[1].encode())

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
    client.close()
    wait_for(lambda: fleet.servers[0].connections() == 0)


def test_an_invalid_file_changes_nothing(four: Fleet) -> None:
    """Neither for a client in use, nor for one that starts."""
    client = following(four)
    assert client.set_many(dict.fromkeys(KEYS, "v")) == []
    four.path.write_text("127.0.0.1:11211 many\n")
    started = following(four)
    for one in (client, started):
        assert len(one.get_many(KEYS)) == len(KEYS)
        wait_for(lambda one=one: one.get("key") or one.continuum.last_error)  # type: ignore[misc]
        assert isinstance(one.continuum.last_error, ketama.ServersError)
        assert len(one.get_many(KEYS)) == len(KEYS)
        one.close()


# ---- A server that is down


def fails_over(four: Fleet, client: HashClient) -> None:
    """Expect exactly the victim's keys at the next distinct server, the others at their own."""
    victim = four.servers[VICTIM].address
    for key in KEYS:
        first, second = client.continuum.successors(key, 2)
        home = second if first == victim else first
        assert [server.address for server in four.holders(key)] == [home], key


def test_a_server_is_killed_under_load(four: Fleet) -> None:
    """Nothing raises; its keys go to the next server, and return when it is back."""
    client = following(four, liveness=Liveness(interval=0.01, interval_max=0.01))
    victim = four.servers[VICTIM]

    def work(chance: random.Random) -> None:
        keys = [f"key:{chance.randrange(2000)}" for _ in range(30)]
        assert client.set(keys[0], keys[0])
        assert client.set_many({key: key for key in keys[:10]}) == []
        assert client.delete_many(keys[20:])
        assert all(value == key.encode() for key, value in client.get_many(keys).items())
        client.incr("number", 1)

    with Load(work) as load:
        wait_for(load.has_gone_on())
        victim.kill()
        wait_for(load.has_gone_on())
        assert client.liveness.down(client.continuum.addresses) == {victim.address}
    assert client.set_many(dict.fromkeys(KEYS, "v")) == []
    fails_over(four, client)
    assert client.get_many(KEYS) == dict.fromkeys(KEYS, b"v")
    victim.restart()
    wait_for(lambda: client.get("any") or not client.liveness.down(client.continuum.addresses))
    flush(four, client.flush_all, KEYS)
    for key in KEYS:
        assert client.set(key, "v")
    expect_placed(four, client.continuum, KEYS)
    client.close()


@pytest.mark.parametrize("failover", [True, False])
def test_all_servers_are_down(four: Fleet, failover: bool) -> None:
    """Every key is named, and nothing is silently lost."""
    for server in four.servers:
        server.kill()
    misses = HashClient(four.path, on_error="miss", failover=failover)
    assert misses.set_many(dict.fromkeys(KEYS, "v")) == KEYS
    assert misses.get_many(KEYS) == {}
    assert misses.get("key", "default") == "default"
    assert misses.set("key", "v") is False
    assert misses.delete_many(KEYS) is False
    assert misses.incr("key", 1) is None
    raises = HashClient(four.path, failover=failover)
    calls: list[Callable[[], object]] = [
        lambda: raises.set_many(dict.fromkeys(KEYS, "v")),
        lambda: raises.get_many(KEYS),
        lambda: raises.get("key"),
        lambda: raises.flush_all(),
    ]
    for call in calls:
        with pytest.raises((ConnectionRefusedError, MemcacheError)):
            call()


def test_without_failover(four: Fleet) -> None:
    """A key of a server that is down goes nowhere else; the others' are served."""
    victim = four.servers[VICTIM]
    victim.kill()
    client = HashClient(four.path, on_error="miss", failover=False, timeout=SLOW)
    lost = [key for key in KEYS if client.continuum[key] == victim.address]
    for _ in range(2):  # the second time, it is known to be down
        assert client.set_many(dict.fromkeys(KEYS, "v")) == lost
        assert not client.set(lost[0], "v")
    assert client.get_many(KEYS).keys() == set(KEYS) - {*lost}
    assert not any(four.holders(key) for key in lost)


def test_a_server_hangs(four: Fleet) -> None:
    """A process waits for it at most `failures` times; then its keys go on."""
    liveness = Reports(failures=3, window=HOUR, interval=HOUR, interval_max=HOUR)
    client = HashClient(four.path, liveness=liveness, timeout=HUNG, connect_timeout=SLOW)
    client.get_many(KEYS)
    four.servers[VICTIM].hang()
    for key in KEYS:
        client.get(key)
    assert client.set_many(dict.fromkeys(KEYS, "v")) == []
    client.get_many(KEYS)
    assert [type(error) for error in liveness.reports] == [TimeoutError] * 3
    four.servers[VICTIM].resume()
    client.close()


def test_a_restart_between_requests(four: Fleet) -> None:
    """Idle connections that were reset are no failure, whatever the command."""
    liveness = Reports()
    client = HashClient(four.path, liveness=liveness, timeout=SLOW)
    for call in (
        lambda: client.get(KEYS[0]),
        lambda: client.get_many(KEYS),
        lambda: client.set_many(dict.fromkeys(KEYS, "v")) == [],
        lambda: client.add("number", 1),
        lambda: client.incr("number", 1) is None,
        lambda: client.delete_many(KEYS),
    ):
        client.set_many(dict.fromkeys([*KEYS, "number"], 1))
        for server in four.servers:
            server.restart()
        call()
    assert liveness.reports == []
    client.close()


def test_what_is_not_repeated(four: Fleet) -> None:
    """A number that may have been added to is not added to on another server."""
    client = HashClient(four.path, timeout=HUNG, on_error="raise")
    client.set_many(dict.fromkeys(KEYS, 1))
    victim = four.servers[VICTIM]
    key = next(key for key in KEYS if client.continuum[key] == victim.address)
    victim.hang()
    with pytest.raises(TimeoutError):
        client.incr(key, 1)
    assert not any(s.get(key) for s in four.servers if s is not victim)
    victim.resume()
    client.close()


@pytest.mark.parametrize("many", [False, True])
def test_all_servers_hang(fleet: Fleet, many: bool) -> None:
    """An operation waits for three of six, and no later one for more."""
    liveness = Reports(failures=1, shared=False, interval=HOUR, interval_max=HOUR)
    with hung(fleet) as addresses:
        client = HashClient(addresses, liveness=liveness, timeout=0.01, connect_timeout=SLOW)
        for number in range(1, 5):
            with pytest.raises(TimeoutError):
                client.get_many(["key"]) if many else client.get("key")
            assert len(liveness.reports) == 3 * number
        client.close()


@pytest.mark.parametrize("many", [False, True])
def test_a_server_that_is_killed_in_the_middle_of_a_write(four: Fleet, many: bool) -> None:
    """It refuses what is sent once more, so the next server gets that."""
    victim = four.servers[VICTIM]
    victim.kill()
    client = HashClient(four.path, timeout=SLOW)
    key = next(key for key in KEYS if client.continuum[key] == victim.address)
    with killed_by_a_request(victim.address):
        assert (client.set_many({key: "v"}) == []) if many else client.set(key, "v")
    assert len(four.holders(key)) == 1
    client.close()


def test_a_write_to_a_server_that_is_still_in_use(four: Fleet) -> None:
    """What it may have missed is stored nowhere else, where nobody reads, until it is down."""
    victim = four.servers[VICTIM]
    options: dict[str, Any] = {
        "liveness": Liveness(failures=5, window=HOUR, interval=HOUR, interval_max=HOUR),
        "timeout": HUNG,
        "connect_timeout": SLOW,
    }
    raises = HashClient(four.path, **options)
    misses = HashClient(four.path, on_error="miss", **options)
    key = next(key for key in KEYS if raises.continuum[key] == victim.address)
    victim.hang()
    with pytest.raises(TimeoutError):
        raises.set(key, "new")
    with pytest.raises(TimeoutError):
        raises.delete_many([key])
    assert misses.set(key, "new") is False
    assert misses.set_many({key: "new"}) == [key]
    others = [server for server in four.servers if server is not victim]
    assert not any(server.get(key) for server in others)
    assert raises.get(key) is None  # from the next server, and now the victim is down
    assert raises.set(key, "new")
    assert [server.get(key) for server in others].count(b"new") == 1
    assert raises.get(key) == b"new"
    victim.resume()
    for client in (raises, misses):
        client.close()


@pytest.mark.parametrize("known", [False, True])
def test_check_and_set_on_another_server(four: Fleet, known: bool) -> None:
    """The number is one of the key's own server, so another one stores nothing for it."""
    client = HashClient(four.path, timeout=SLOW)
    victim = four.servers[VICTIM]
    key = next(key for key in KEYS if client.continuum[key] == victim.address)
    for server in four.servers:
        server.set(key, b"old")
    _, number = client.gets(key)
    assert number is not None
    victim.kill()
    if known:
        assert client.get(key) == b"old"  # of the next server, as the victim is down
    assert client.cas(key, "new", number) is False
    assert client.cas(key, "new", client.gets(key)[1] or b"1") is False
    assert {server.get(key) for server in four.servers if server.running} == {b"old"}
    client.close()


def test_values_on_a_substitute_expire(four: Fleet) -> None:
    """The capped time to live is that of the victim's keys alone."""
    four.servers[VICTIM].kill()
    client = HashClient(four.path, failover_ttl=CAP, timeout=SLOW)
    for expire in EXPIRIES:
        client.set_many(dict.fromkeys(KEYS[:75], "v"), expire)
        for key in KEYS[75:]:
            client.set(key, "v", expire)
        expect_expiry(four, client.continuum, expire)
    client.close()


# ---- Processes


@forks_beside_threads
def test_children_that_are_forked(client: HashClient) -> None:
    """Parent and three children use it: of 1,600 gets, none is wrong, none is None."""
    values = {key: key.encode() for key in KEYS}
    assert client.set_many(values) == []

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(100):
            keys = chance.sample(KEYS, 3)
            assert client.get_many(keys) == {key: values[key] for key in keys}
            assert client.get(keys[0]) == values[keys[0]]

    parent = threading.Thread(target=work, args=[-1])
    parent.start()
    in_children(3, work)
    parent.join()
    work(-2)


@forks_beside_threads
def test_what_one_process_learns_all_know(four: Fleet) -> None:
    """After one report, no other process connects to the dead server."""
    options: Any = {"interval": HOUR, "interval_max": HOUR}
    client = HashClient(four.path, liveness=Liveness(**options), timeout=SLOW)
    victim = four.servers[VICTIM]
    client.set_many(dict.fromkeys(KEYS, "v"))
    victim.kill()
    client.get_many(KEYS)

    def work(_: int) -> None:
        own = HashClient(four.path, liveness=Liveness(**options), timeout=SLOW)
        for _ in range(3):
            own.get_many(KEYS)
            assert own.set_many(dict.fromkeys(KEYS, "w")) == []

    with Listener(victim.address) as listener:
        in_children(16, work)
        client.get_many(KEYS)
        assert listener.connections == 0
    client.close()


@forks_beside_threads
def test_a_process_without_descriptors(four: Fleet) -> None:
    """It takes no server down, and writes to no other one: the error is its own."""
    victim = four.servers[VICTIM]

    def work(_: int) -> None:
        client = HashClient(four.path, timeout=SLOW)
        lost = [key for key in KEYS if client.continuum[key] == victim.address]
        client.get_many({*KEYS} - {*lost})  # connections to the others
        use_up_descriptors()
        for key in lost:
            with pytest.raises(OSError, match="Too many open files") as caught:
                client.set(key, "v")
            assert caught.value.errno == errno.EMFILE
        assert not client.liveness.down(client.continuum.addresses)

    in_children(1, work)
    known = HashClient(four.path, timeout=SLOW)
    assert not known.liveness.down(known.continuum.addresses)
    assert not any(four.holders(key) for key in KEYS)


def test_a_process_without_dns(four: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no server down, and writes to no other one: the error is its own."""
    lose_dns(monkeypatch)
    client = HashClient([UNRESOLVED, *(server.address for server in four.servers)])
    lost = [key for key in KEYS if client.continuum[key] == UNRESOLVED]
    calls: list[Callable[[], object]] = [
        lambda: client.set(lost[0], "v"),
        lambda: client.set_many(dict.fromkeys(lost, "v")),
        lambda: client.get(lost[0]),
        lambda: client.get_many(lost),
    ]
    for call in calls:
        with pytest.raises(socket.gaierror):
            call()
    assert not any(four.holders(key) for key in lost)
    assert client.liveness.servers([UNRESOLVED])[0].state == "up"
    client.close()


class Interrupt(BaseException):
    """What a signal's handler raises in the middle of a request."""


# A connection that is broken off before it was noted is closed as an object, with a warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_request_that_is_broken_off(client: HashClient) -> None:
    """The next ones on the same key get no answer that was meant for it, 199 times."""

    def interrupt(*_: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    broken_off = 0
    try:
        for number in range(199):
            keys = itertools.cycle(KEYS)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + number % 7 * 0.0003)
                while True:
                    client.get_many(KEYS)
                    client.get(next(keys))
                    client.set(next(keys), "old")
            except Interrupt:
                broken_off += 1
            assert client.set("user:1", str(number))
            assert client.get("user:1") == str(number).encode()
            assert client.get_many(["user:1", "user:2"])["user:1"] == str(number).encode()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert broken_off == 199


# ---- Hasher


def test_a_hasher(four: Fleet) -> None:
    """The client of pymemcache itself places keys as ours does, and so without a node."""
    from pymemcache import HashClient as Plain

    hasher = Hasher(four.path)
    addresses = [server.address for server in four.servers]
    plain = Plain(addresses, hasher=hasher, timeout=SLOW, default_noreply=False)
    for key in KEYS:
        plain.set(key, "v")
    expect_placed(four, ketama.Continuum(four.path), KEYS)
    plain.hasher.remove_node(addresses[VICTIM])
    for key in KEYS:
        order = ketama.Continuum(four.path).successors(key)
        order.remove(addresses[VICTIM])
        assert plain.hasher.get_node(key) == order[0]
    with pytest.raises(ValueError, match="no such node"):
        plain.hasher.remove_node(addresses[VICTIM])
    plain.hasher.add_node(addresses[VICTIM])
    assert plain.hasher.get_node(KEYS[0]) == ketama.Continuum(four.path)[KEYS[0]]
    assert hasher.get_node("key") is None  # has no nodes of its own
    plain.close()


class Interrupted(str):
    """A node during whose addition another thread does something."""

    __slots__ = ("meanwhile",)

    meanwhile: Callable[[], None]

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        """Let the other thread run first."""
        other = threading.Thread(target=self.meanwhile)
        other.start()
        other.join()
        return super().rpartition(sep)


def test_threads_that_change_nodes() -> None:
    """No update is lost."""
    servers = [f"10.0.0.{number}:11211" for number in range(1, 4)]
    hasher = Hasher(servers)()
    hasher.add_node(servers[0])
    for meanwhile, expected in (
        (lambda: hasher.add_node(servers[1]), {*servers}),
        (lambda: hasher.remove_node(servers[0]), {*servers[1:]}),
    ):
        node = Interrupted(servers[2])
        node.meanwhile = meanwhile
        hasher.add_node(node)
        assert {hasher.get_node(key) for key in KEYS} == expected


def test_an_invalid_address_is_no_node() -> None:
    """Its keys go to other nodes, and those of others stay where they are."""
    servers = [*(f"10.0.0.{number}:11211" for number in range(1, 4)), "10.0.0.9:112111"]
    hasher = Hasher(servers)()
    for node in servers[:3]:
        hasher.add_node(node)
    ring = ketama.Continuum(servers)
    for key in KEYS:
        order = ring.successors(key)
        order.remove(servers[3])
        assert hasher.get_node(key) == order[0]


class Reloaded(ketama.Continuum):
    """A continuum whose file changes, and is reloaded, at the start of the next lookup."""

    def lookup(self, key: ketama.Key, exclude: Any = None) -> Any:
        """Reload the file first."""
        assert self.filename is not None
        Path(os.fsdecode(self.filename)).write_text("10.9.9.9:11211 100\n127.0.0.1:1 100\n")
        self.roll()
        return super().lookup(key, exclude)


def test_a_reload_while_a_node_is_found(tmp_path: Path) -> None:
    """The node is one of the version that answers."""
    path = tmp_path / "ketama.servers"
    path.write_text("127.0.0.1:1 100\n127.0.0.1:2 100\n")
    hasher = Hasher(Reloaded(path))()
    hasher.add_node("127.0.0.1:1")
    hasher.add_node("127.0.0.1:2")
    assert {hasher.get_node(key) for key in KEYS} == {"127.0.0.1:1"}


def test_nodes_as_pymemcache_writes_them(fleet: Fleet) -> None:
    """IPv6 has no brackets there; a file that changes leaves no node that is unknown."""
    fleet.start(1)
    fleet.start(1, "[::1]")
    fleet.start(1, "unix")
    fleet.write()
    ring = ketama.Continuum(fleet.path, auto_roll=1e-9)
    hasher = Hasher(ring)()
    nodes = [server.address.replace("[::1]", "::1") for server in fleet.servers]
    for node in nodes:
        hasher.add_node(node)
    assert {hasher.get_node(key) for key in KEYS} == {*nodes}
    fleet.write({fleet.servers[1].address: 100, "10.9.9.9:11211": 100})
    wait_for(lambda: {hasher.get_node(key) for key in KEYS} == {nodes[1]})


def test_a_bucket_map(four: Fleet) -> None:
    """Keys are stored on the owners of their buckets, and follow them."""
    addresses = [server.address for server in four.servers]

    def write(shift: int) -> None:
        lines = ["#ketama profile=buckets buckets=8"]
        for number, address in enumerate(addresses):
            first = (number + shift) % 4
            lines.append(f"{address} 100 {first},{first + 4}")
        new = four.path.with_name("new.servers")
        new.write_text("\n".join(lines) + "\n")
        new.replace(four.path)

    write(0)
    made = HashClient(four.path, timeout=SLOW, connect_timeout=SLOW)
    assert made.set_many(dict.fromkeys(KEYS, "value")) == []
    assert made.get_many(KEYS).keys() == set(KEYS)
    before = dict(zip(KEYS, made.continuum.lookup_many(KEYS), strict=True))
    assert set(before.values()) == set(addresses)
    write(1)
    made.continuum.roll()
    for key in KEYS:
        assert made.continuum.lookup(key) == addresses[addresses.index(before[key]) - 1]
    assert made.get_many(KEYS) == {}
    made.close()
