"""Connections to one server that serve one request at a time, in an event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from ketama.clients.following import Busy


class Closable(Protocol):
    """A connection."""

    def usable(self) -> bool:
        """Return whether it is open, and no request on it has failed."""

    def close(self, error: Exception | None = None) -> None:
        """Close it at once. A pending request raises the error."""


C = TypeVar("C", bound=Closable)


@dataclass
class Counts:
    """What happened: connections made, not made, closed when idle for too long, and closed.

    good, bad: requests that were answered, and that were not; waited: for a connection.
    """

    made: int = 0
    failed: int = 0
    purged: int = 0
    closed: int = 0
    good: int = 0
    bad: int = 0
    waited: int = 0


class Connections(Generic[C]):
    """The connections to a server: those that are idle, and how many are in use.

    make: returns a new connection to the address.
    most: how many there may be; further requests wait for one.
    timeout: in seconds, for a request; None: no limit.
    connect_timeout: for a new connection. Both together are for the wait for one.
    idle_s: close connections that were idle for longer, in seconds; None: never.
    harmless: errors after which a connection can be used on.
    """

    def __init__(
        self,
        address: str,
        make: Callable[[str], Awaitable[C]],
        *,
        most: int,
        timeout: float | None,
        connect_timeout: float | None,
        idle_s: float | None = None,
        harmless: tuple[type[BaseException], ...] = (),
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.harmless = harmless
        self.counts = Counts()
        self._in_use = 0
        self._make = make
        self._most = most
        self._connect_timeout = connect_timeout
        # For as long as the requests that have the connections may take: if the server hangs,
        # they find out first.
        self._patience = None
        if timeout is not None and connect_timeout is not None:
            self._patience = timeout + connect_timeout
        self._idle_s = idle_s
        self._idle: deque[tuple[C, float]] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def connection(self) -> Lease[C]:
        """Return a context with a connection that is given back at its end."""
        return Lease(self)

    async def new(self) -> C:
        """Return a new connection, which is not one of these."""
        try:
            return await asyncio.wait_for(self._make(self.address), self._connect_timeout)
        except asyncio.TimeoutError as error:
            if error.args:  # the system's own limit
                raise
            raise asyncio.TimeoutError(
                f"no connection to {self.address} within {self._connect_timeout} s"
            ) from None

    async def take(self) -> C:
        """Return a connection, once one is free. Raises Busy if that takes too long."""
        if self._in_use >= self._most:
            await self._wait()
        else:
            self._in_use += 1
        try:
            while self._idle:
                connection, _ = self._idle.pop()  # the one used last, so that others grow old
                if connection.usable():
                    return connection
                self._close(connection)
            connection = await self.new()
        except BaseException:
            self.counts.failed += 1
            self._free()
            raise
        self.counts.made += 1
        return connection

    def _close(self, connection: C) -> None:
        connection.close()
        self.counts.closed += 1

    def give(self, connection: C, good: bool) -> None:
        """Return a connection to the pool, or close it unless `good`.

        good: whether every request on it was answered.
        """
        if good:
            self.counts.good += 1
        else:
            self.counts.bad += 1
        if good and not self._closed and connection.usable():
            self._idle.append((connection, time.monotonic()))
        else:
            self._close(connection)
        self._free()

    def _free(self) -> None:
        """Let the next request have a connection."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
        self._in_use -= 1

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiting)
        self.counts.waited += 1
        timer = None
        if self._patience is not None:
            message = (
                f"all {self._most} connections to {self.address} are in use; the client's "
                "options allow for more"
            )
            timer = loop.call_later(self._patience, _fail, waiting, message)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._free()  # it was this one's turn
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def drop(self) -> None:
        """Close idle connections."""
        while self._idle:
            self._close(self._idle.pop()[0])

    def turn_away(self) -> None:
        """Let the requests that wait for a connection raise Busy."""
        while self._waiting:
            _fail(self._waiting.popleft(), f"{self.address} is down")

    def tidy(self) -> None:
        """Close connections that have been idle for too long."""
        if self._idle_s is not None:
            oldest = time.monotonic() - self._idle_s
            while self._idle and self._idle[0][1] < oldest:
                self._close(self._idle.popleft()[0])
                self.counts.purged += 1

    def close(self) -> None:
        """Close idle connections now, and the others as soon as they are given back."""
        self._closed = True
        self.drop()


def _fail(waiting: asyncio.Future[None], message: str) -> None:
    if not waiting.done():
        waiting.set_exception(Busy(message))


class Lease(Generic[C]):
    """A connection that is in use, until the end of the context."""

    __slots__ = ("_connection", "_connections", "_timer")

    def __init__(self, connections: Connections[C]) -> None:
        self._connections = connections
        self._connection: C | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> C:
        self._connection = connection = await self._connections.take()
        timeout = self._connections.timeout
        if timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout, self._expire)
        return connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        good = error is None or isinstance(error, self._connections.harmless)
        if self._connection is not None:
            self._connections.give(self._connection, good)

    def _expire(self) -> None:
        if self._connection is not None:
            connections = self._connections
            message = f"{connections.address} did not answer within {connections.timeout} s"
            self._connection.close(asyncio.TimeoutError(message))
