"""What every client must do, whatever its interface is."""

from __future__ import annotations

import os
import random
import threading
import traceback
from collections.abc import Callable, Iterable

import ketama
from clients.memcached import Fleet
from ketama.health import Liveness

KEYS = [f"user:{number}" for number in range(150)]
UNICODE = [f"ключ:{number}" for number in range(150)]
BYTES = [f"item:{number}".encode() for number in range(150)]
VICTIM = 2  # the number of the server that is disturbed


def text(key: str | bytes) -> str:
    return key if isinstance(key, str) else key.decode()


def expect_placed(fleet: Fleet, ring: ketama.Continuum, keys: Iterable[str | bytes]) -> None:
    """Find each key on its server, and on no other."""
    for key in keys:
        holders = [server.address for server in fleet.holders(text(key))]
        assert holders == [ring.lookup(key)], key


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
