"""Idle connections by server: for threads, for forked children, and without locks."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """A connection."""

    def close(self) -> None:
        """Close it."""

    def abandon(self) -> None:
        """Close this process's descriptor, and send nothing: another process uses it."""


C = TypeVar("C", bound=Closable)


class Pools(Generic[C]):
    """The idle connections of a client, for each server's address.

    make: makes a connection to an address.
    idle_most: how many connections of a server are kept; None: all.
    idle_s: connections that were idle for longer are closed, in seconds; 0: none is.

    A connection belongs to the one who took it, until it is given back. Each operation on a
    deque is atomic; the dict has a deque for each server, and is replaced, never changed.
    """

    def __init__(
        self, make: Callable[[str], C], idle_most: int | None = None, idle_s: float = 0
    ) -> None:
        self._make = make
        self._idle_most = idle_most
        self._idle_s = idle_s
        self._pid = os.getpid()
        self._idle: dict[str, deque[tuple[C, float]]] = {}
        self._addresses: tuple[str, ...] = ()

    def keep(self, addresses: tuple[str, ...]) -> None:
        """Close the idle connections of all other servers. Cheap if they are as before."""
        if addresses is self._addresses:
            return
        self._addresses = addresses
        old = self._idle
        self._idle = {address: old.get(address, deque()) for address in addresses}
        for address in old.keys() - self._idle.keys():
            _close_all(old[address])

    def take(self, address: str) -> tuple[C, bool]:
        """Return a connection to a server, and whether it was used before."""
        if self._pid != os.getpid():
            self._abandon()
        idle = self._idle.get(address)
        while idle:
            try:
                connection, since = idle.pop()  # the one used last, so that others grow old
            except IndexError:  # another thread took it
                break
            if not self._idle_s or time.monotonic() - since <= self._idle_s:
                return connection, True
            connection.close()
        return self._make(address), False

    def give(self, address: str, connection: C) -> None:
        """Give back a connection that has no answer outstanding."""
        idle = self._idle.get(address)
        if idle is None:
            connection.close()
            return
        idle.append((connection, time.monotonic() if self._idle_s else 0.0))
        if self._idle_most is not None and len(idle) > self._idle_most:
            _close_all(idle, 1)
        if self._idle.get(address) is not idle:  # the server was removed meanwhile
            _close_all(idle)

    def drop(self, address: str) -> None:
        """Close the idle connections of a server, which was restarted."""
        _close_all(self._idle.get(address, deque()))

    def close(self) -> None:
        """Close all that are idle; further ones are made when they are needed."""
        for idle in self._idle.values():
            _close_all(idle)

    def __del__(self) -> None:
        """Close the connections of a client that is dropped."""
        if self._pid == os.getpid():
            self.close()
        else:
            self._abandon()

    def _abandon(self) -> None:
        """Forget the connections of the process that this one was forked from."""
        old = self._idle
        self._idle = {address: deque() for address in old}
        self._pid = os.getpid()
        for idle in old.values():
            while idle:
                with contextlib.suppress(IndexError):  # another thread was faster
                    idle.popleft()[0].abandon()


def _close_all(idle: deque[tuple[C, float]], most: int | None = None) -> None:
    """Close the connections that have been idle longest."""
    for _ in range(len(idle) if most is None else most):
        try:
            connection, _since = idle.popleft()
        except IndexError:  # another thread was faster
            return
        connection.close()
