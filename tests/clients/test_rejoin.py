"""A server that comes back, with what it had before, while 16 processes read and write."""

from __future__ import annotations

import mmap
import os
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from needs import need_module
from threads import forks_beside_threads
from waiting import wait_for

need_module("pymemcache")

from clients.checks import HUNG, VICTIM
from clients.memcached import Fleet
from ketama.clients.probe import FLUSH_DELAYS
from ketama.clients.pymemcache import HashClient
from ketama.clients.routing import OnRejoin
from ketama.health import Liveness

WORKERS = 16
KEYS = [f"user:{number}" for number in range(40)]
FAST: dict[str, Any] = {"interval": 0.05, "interval_max": 0.05}


class Shared:
    """Numbers that all processes see: the latest version of each key, and counts."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * (len(KEYS) + 3 + WORKERS))

    def __getitem__(self, index: int) -> int:
        return int(struct.unpack_from("q", self._memory, 8 * index)[0])

    def __setitem__(self, index: int, value: int) -> None:
        struct.pack_into("q", self._memory, 8 * index, value)


STALE, ENDED, WRITES, ROUNDS = range(len(KEYS), len(KEYS) + 4)


def client_of(fleet: Fleet, on_rejoin: OnRejoin) -> HashClient:
    liveness = Liveness(**FAST)
    return HashClient(fleet.path, liveness=liveness, timeout=HUNG, on_rejoin=on_rejoin)


def write(client: HashClient, shared: Shared) -> None:
    """Write a new version of each key, one after the other; say so once it is stored."""
    while not shared[ENDED]:
        for index, key in enumerate(KEYS):
            version = shared[index] + 1
            assert client.set(key, version)
            shared[index] = version
        shared[WRITES] += 1


def read(client: HashClient, shared: Shared, number: int) -> None:
    """Read keys, each of which must have its latest version at that time, or none."""
    chance = random.Random(number)
    while not shared[ENDED]:
        index = chance.randrange(len(KEYS))
        latest = shared[index]
        value = client.get(KEYS[index])
        if value is not None and int(value) < latest:
            shared[STALE] += 1
        shared[ROUNDS + number] += 1


@pytest.fixture
def workers(four: Fleet) -> Iterator[Callable[[OnRejoin], Shared]]:
    """Start one process that writes, and 15 that read."""
    children: list[int] = []
    shared = Shared()

    def start(on_rejoin: OnRejoin) -> Shared:
        for number in range(WORKERS):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    client = client_of(four, on_rejoin)
                    if number == 0:
                        write(client, shared)
                    else:
                        read(client, shared, number - 1)
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        wait_for(lambda: shared[WRITES] > 2)
        return shared

    yield start
    shared[ENDED] = 1
    exits = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert exits == [0] * len(children)


def partition(four: Fleet, shared: Shared, restart: bool = False) -> None:
    """Let a server hang, or kill it, while writes go on; then let it come back."""
    victim = four.servers[VICTIM]
    known = Liveness(**FAST)
    addresses = tuple(server.address for server in four.servers)
    if restart:
        victim.kill()
    else:
        victim.hang()
    wait_for(lambda: known.down(addresses) == {victim.address})
    # Longer than a server may say that it has been up just after its start.
    wait_for(lambda: known.servers([victim.address])[0].since > 4)
    written = shared[WRITES]
    wait_for(lambda: shared[WRITES] > written + 3)
    if restart:
        victim.start()
    else:
        victim.resume()
    wait_for(lambda: not known.down(addresses))
    rounds = [shared[ROUNDS + reader] for reader in range(WORKERS - 1)]
    written = shared[WRITES]
    wait_for(
        lambda: shared[WRITES] > written + 2
        and all(shared[ROUNDS + reader] > rounds[reader] + 50 for reader in range(WORKERS - 1))
    )


@forks_beside_threads
def test_a_server_that_missed_writes_is_flushed(
    four: Fleet, workers: Callable[[OnRejoin], Shared]
) -> None:
    """Once, by one of 16 processes, before anybody reads what it had: no read is stale."""
    shared = workers("flush")
    partition(four, shared)
    assert shared[STALE] == 0
    assert four.servers[VICTIM].stat("cmd_flush") == len(FLUSH_DELAYS)


@forks_beside_threads
def test_a_server_that_was_restarted_is_not_flushed(
    four: Fleet, workers: Callable[[OnRejoin], Shared]
) -> None:
    """It has nothing that could be stale."""
    shared = workers("flush")
    partition(four, shared, restart=True)
    assert shared[STALE] == 0
    assert four.servers[VICTIM].stat("cmd_flush") == 0


def test_what_is_kept_may_be_stale(four: Fleet) -> None:
    """With on_rejoin="keep", as with any other client, a server has what it had."""
    victim = four.servers[VICTIM]
    client = client_of(four, "keep")
    key = next(key for key in KEYS if client.continuum[key] == victim.address)
    assert client.set(key, "old")
    victim.hang()
    addresses = client.continuum.addresses
    wait_for(lambda: client.get(key) is None and client.liveness.down(addresses))
    assert client.set(key, "new")
    assert client.get(key) == b"new"
    victim.resume()
    wait_for(lambda: client.get("other") or not client.liveness.down(addresses))
    assert client.get(key) == b"old"
    assert victim.stat("cmd_flush") == 0
    client.close()
