"""What every client must do, whatever its interface is."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import resource
import socket
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from waiting import wait_for

import ketama
from clients.memcached import Fleet, Listener, parse
from ketama.health import Liveness

KEYS = [f"user:{number}" for number in range(150)]
UNICODE = [f"ключ:{number}" for number in range(150)]
BYTES = [f"item:{number}".encode() for number in range(150)]
VICTIM = 2  # the number of the server that is disturbed
# Seconds after which a server that hangs is given up: no other takes so long to answer,
# however busy the machine is.
HUNG = 1.0


def text(key: str | bytes) -> str:
    return key if isinstance(key, str) else key.decode()


def flush(fleet: Fleet, flush_all: Callable[[], object], keys: Iterable[str | bytes]) -> None:
    """Flush until no server has a key: newer ones may keep what was read in the same second."""

    def is_empty() -> bool:
        flush_all()
        return not any(fleet.holders(text(key)) for key in keys)

    wait_for(is_empty)


def expect_placed(fleet: Fleet, ring: ketama.Continuum, keys: Iterable[str | bytes]) -> None:
    """Find each key on its server, and on no other."""
    for key in keys:
        holders = [server.address for server in fleet.holders(text(key))]
        assert holders == [ring.lookup(key)], key


# Times to live, in seconds, none of which is over while a test runs: on another server than a
# key's own, and what a client asks for.
CAP = 1000
EXPIRIES = (0, 500, 3600, -1)


def expect_expiry(fleet: Fleet, ring: ketama.Continuum, expire: int) -> None:
    """Expect the victim's keys to live for at most CAP seconds, the others as asked for."""
    victim = fleet.servers[VICTIM].address
    for key in KEYS:
        ttls = [s.ttl(key) for s in fleet.servers if s.running and s.get(key)]
        if expire < 0:
            assert ttls == [], key
            continue
        [found] = ttls
        assert found is not None
        if ring[key] == victim:
            assert 0 < found <= min(expire or CAP, CAP), key
        elif expire == 0:
            assert found == -1, key
        else:
            assert min(expire, CAP) - 500 < found <= expire, key
            assert found > CAP or expire <= CAP, key


@contextlib.contextmanager
def hung(fleet: Fleet, count: int = 6) -> Iterator[list[str]]:
    """The addresses of servers which accept connections, and never answer."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(Listener(fleet.address())) for _ in range(count)]
        yield [listener.address for listener in listeners]


@contextlib.contextmanager
def killed_by_a_request(address: str) -> Iterator[None]:
    """A server that is killed by its first request: it resets, and then refuses."""
    target = parse(address)
    assert isinstance(target, tuple)
    listening = socket.create_server(target)

    def serve() -> None:
        connection, _ = listening.accept()
        connection.recv(1)
        listening.close()
        connection.close()  # resets, as the rest of the request has not been read

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join()


class Reports(Liveness):
    """Liveness that remembers what this process has reported."""

    __slots__ = ("reports",)

    reports: list[BaseException]

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.reports = []

    def failed(self, address: str, error: BaseException, *, hard: bool = False) -> bool:
        """Remember the error, and report it."""
        self.reports.append(error)
        return super().failed(address, error, hard=hard)


class Load:
    """Threads that repeat something until they are ended; what they raise is kept."""

    def __init__(self, work: Callable[[random.Random], None], threads: int = 6) -> None:
        self.errors: list[BaseException] = []
        self.rounds = [0] * threads
        self._ended = threading.Event()
        self._work = work
        self._threads = [threading.Thread(target=self._run, args=[n]) for n in range(threads)]

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        while not self._ended.is_set():
            try:
                self._work(chance)
            except Exception as error:  # noqa: BLE001  # the test fails because of it
                self.errors.append(error)
            self.rounds[number] += 1

    def has_gone_on(self, rounds: int = 20) -> Callable[[], bool]:
        """Return a condition: each thread has done so many further rounds."""
        goals = [done + rounds for done in self.rounds]
        return lambda: all(done >= goal for done, goal in zip(self.rounds, goals, strict=True))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        assert self.errors == []


UNRESOLVED = "cache1.invalid:11211"  # a server whose name a process without DNS cannot resolve


def lose_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process resolve no names that end with .invalid, without asking for them."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
        if str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def use_up_descriptors() -> None:
    """Leave this process no file descriptor."""
    gc.collect()  # or else some descriptor becomes free later
    gc.disable()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    with contextlib.suppress(OSError):
        while True:
            os.open(os.devnull, os.O_RDONLY)


def in_children(count: int, work: Callable[[int], object]) -> None:
    """Run work(number) in forked children; none may raise."""
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(number)
                status = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(status)
        children.append(child)
    exits = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert exits == [0] * count
