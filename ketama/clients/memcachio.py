"""A client of memcachio for a fleet that changes.

    from ketama.clients.memcachio import Client

    client = Client("/etc/ketama.servers")
    await client.set("key", "value")

Or with memcachio's own class: `memcachio.Client(connection_pool=Pool("/etc/ketama.servers"))`.

What differs from memcachio: requests have a timeout. One that times out closes its connection,
and the others on it count as timed out, too, so that they are asked elsewhere at once. There is
no limit to the requests on a connection when all are busy, and so no blocking_timeout.
Connections are made when they are needed (no min_connections). Liveness and the server file
take the place of endpoint_healthcheck_config and of the discovery of AWS.

Not promised: a set that is cancelled may still be carried out, even after a later one. With
noreply, a failed write is not noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, AnyStr, Literal, TypedDict, TypeVar, cast, overload

import memcachio
from memcachio import (
    BaseConnection,
    ConnectionParams,
    PoolMetrics,
    TCPConnection,
    TCPEndpoint,
    UnixSocketConnection,
)
from memcachio.authentication import Authenticator
from memcachio.commands import (
    ArithmenticCommand,
    BasicResponseCommand,
    Command,
    FlushAllCommand,
    GetCommand,
    StatsCommand,
)
from memcachio.compat import Unpack
from memcachio.errors import (
    ClientError,
    MemcachedError,
    MemcachioConnectionError,
    NoAvailableNodes,
)

from ketama import Continuum, Path, Servers
from ketama.addresses import find_address
from ketama.clients.following import Following, SharedTimeoutError
from ketama.clients.probe import FLUSH_DELAYS, endpoint
from ketama.clients.routing import OnError, OnRejoin
from ketama.health import Liveness

R = TypeVar("R")


class AbandonedError(Exception):
    """The connection was closed because of another request, and this one was not sent."""


@dataclass
class Use:
    """How a connection is used.

    commands: those that wait for it, or for an answer.
    connecting: held while it is made, authentication included.
    ready: whether that is done.
    error: why it could not be made.
    counted: whether the metrics have it.
    """

    commands: set[Command[Any]] = field(default_factory=set)
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)
    ready: bool = False
    error: Exception | None = None
    counted: bool = False


class Server:
    """The connections to one server, each with any number of requests under way."""

    def __init__(
        self, address: str, most: int, idle_s: float | None, options: ConnectionParams
    ) -> None:
        self.address = address
        self.metrics = PoolMetrics(created_at=time.time())
        self._most = most
        self._idle_s = idle_s
        self._options = options
        self._connections: dict[BaseConnection, Use] = {}
        self._closed = False

    def _new(self) -> BaseConnection:
        where = endpoint(self.address)
        if isinstance(where, tuple):
            return TCPConnection(TCPEndpoint(*where), **self._options)
        return UnixSocketConnection(where, **self._options)

    def _choose(self) -> BaseConnection:
        """Return the connection with the fewest requests, or a new one if all are busy."""
        uses = self._connections
        best = min(uses, key=lambda each: len(uses[each].commands), default=None)
        if best is None or (not best.reusable and len(uses) < self._most):
            best = self._new()
            uses[best] = Use()
        return best

    async def ask(self, command: Command[R]) -> R:
        """Return the answer to a command; None if there will be none."""
        self.metrics.on_command_dispatched(command)
        try:
            while True:
                with contextlib.suppress(AbandonedError):
                    return await self._ask_on(self._choose(), command)
        finally:
            self.metrics.on_command_completed(command)

    async def _ask_on(self, connection: BaseConnection, command: Command[R]) -> R:
        use = self._connections[connection]
        use.commands.add(command)
        try:
            if not use.ready or not connection.connected:
                await self._connect(connection, use)
            connection.create_request(command)
            if command.noreply:
                return cast("R", None)
            return await command.response
        except (OSError, asyncio.TimeoutError) as error:
            if isinstance(_cause(error), (TimeoutError, asyncio.TimeoutError)):
                self._time_out(use)
            self._discard(connection)
            self.metrics.on_connection_error(connection, error)
            raise
        finally:
            use.commands.remove(command)
            if self._closed:
                self.drop()

    def _time_out(self, use: Use) -> None:
        """Let all requests on a connection time out: another one on it has."""
        for command in use.commands:
            if command.request_sent.done() and not command.response.done():
                command.response.set_exception(
                    SharedTimeoutError(f"{self.address} did not answer another request in time")
                )

    async def _connect(self, connection: BaseConnection, use: Use) -> None:
        """Connect, unless another request on it has done so meanwhile.

        memcachio's own connect returns at once while another one waits for authentication.
        """
        async with use.connecting:
            if use.error is not None:
                raise use.error
            if connection not in self._connections:
                raise AbandonedError
            use.ready = False
            try:
                await connection.connect()
            except BaseException as error:
                if isinstance(error, Exception):
                    use.error = error
                self._discard(connection)
                connection.close()  # it may be without authentication
                raise
            if connection not in self._connections:
                connection.close()
                raise AbandonedError
            use.ready = True
            if not use.counted:
                use.counted = True
                self.metrics.on_connection_created(connection)

    async def _ask_once(self, command: Command[R]) -> R:
        connection = self._new()
        try:
            await connection.connect()
            connection.create_request(command)
            return await command.response
        finally:
            connection.close()

    async def uptime(self) -> float:
        """Return for how many seconds it has been up; over a new connection."""
        answer = await self._ask_once(StatsCommand[str](decode_responses=True))
        [stats] = answer.values()
        return float(stats["uptime"])

    async def flush(self) -> None:
        """Remove all its items; over a new connection."""
        for delay in FLUSH_DELAYS:
            await self._ask_once(FlushAllCommand(expiry=delay))

    def _discard(self, connection: BaseConnection) -> None:
        use = self._connections.pop(connection, None)
        if use is not None:
            connection.close()
            if use.counted:
                self.metrics.on_connection_terminated(connection)

    def drop(self) -> None:
        """Close idle connections."""
        for connection, use in [*self._connections.items()]:
            if not use.commands:
                self._discard(connection)

    def turn_away(self) -> None:
        """Do nothing: no request waits for a connection."""

    def tidy(self) -> None:
        """Close connections that have been idle for too long."""
        if not self._idle_s:
            return
        oldest = time.time() - self._idle_s
        for connection, use in [*self._connections.items()]:
            metrics = connection.metrics
            # With noreply, nothing is read.
            last_used = max(metrics.last_read, metrics.last_written)
            if not use.commands and last_used < oldest:
                self._discard(connection)

    def close(self) -> None:
        """Close idle connections now, and the others as soon as their requests are done."""
        self._closed = True
        self.drop()


def _cause(error: Exception) -> Exception:
    """Return what happened to the connection, of which memcachio tells in its own words."""
    cause = error.__cause__
    if isinstance(error, MemcachioConnectionError) and isinstance(cause, Exception):
        return cause
    return error


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, MemcachedError) and not isinstance(error, ClientError)


def _unavailable(message: str) -> Exception:
    return NoAvailableNodes(message)


def _missing(command: Command[Any]) -> Any:
    """Return the answer to a command if there is no server to ask."""
    if isinstance(command, BasicResponseCommand):
        return False
    return None if isinstance(command, ArithmenticCommand) else {}


class Options(TypedDict, total=False):
    """The options of `Pool`."""

    failover: bool
    failover_ttl: int
    on_rejoin: OnRejoin
    on_error: OnError
    liveness: Liveness | None
    max_connections: int
    idle_connection_timeout: float
    connect_timeout: float | None
    read_timeout: float | None
    socket_nodelay: bool | None
    socket_keepalive: bool | None
    socket_keepalive_options: dict[int, int | bytes] | None
    max_inflight_requests_per_connection: int
    max_average_response_time_for_connection_reuse: float
    ssl_context: SSLContext | None
    username: str | None
    password: str | None
    authenticator: Authenticator | None


class Pool(memcachio.Pool):
    """A connection pool of memcachio's on a continuum: it follows the server file.

    source: the path of a server file, or a Continuum without auto_roll, or servers.
    failover, failover_ttl, on_rejoin, liveness: as for `ketama.clients.routing.Router`.
    on_error: "raise", or "miss": what cannot be read is missing, and what cannot be written
        returns False; incr and decr return None.
    max_connections: to each server.
    idle_connection_timeout: close connections that were idle for longer, in seconds.
    connect_timeout, read_timeout: in seconds; None: no limit.
    The others are memcachio's.

    Any number of tasks of one event loop may use it; another loop only after `close`, or
    after the first has ended, as with asyncio.run.

    Raises what Continuum and Liveness raise, and ValueError for an invalid option.
    """

    def __init__(
        self,
        source: Path | Servers | Continuum,
        *,
        failover: bool = True,
        failover_ttl: int = 60,
        on_rejoin: OnRejoin = "keep",
        on_error: OnError = "raise",
        liveness: Liveness | None = None,
        max_connections: int = 2,
        idle_connection_timeout: float = 10.0,
        connect_timeout: float | None = 0.5,
        read_timeout: float | None = 1.0,
        socket_nodelay: bool | None = True,
        socket_keepalive: bool | None = True,
        socket_keepalive_options: dict[int, int | bytes] | None = None,
        max_inflight_requests_per_connection: int = 100,
        max_average_response_time_for_connection_reuse: float = 0.05,
        ssl_context: SSLContext | None = None,
        username: str | None = None,
        password: str | None = None,
        authenticator: Authenticator | None = None,
    ) -> None:
        if max_connections < 1:
            raise ValueError(f"invalid max_connections {max_connections}: must be at least 1")
        options: ConnectionParams = {
            "connect_timeout": connect_timeout,
            "read_timeout": read_timeout,
            "socket_nodelay": socket_nodelay,
            "socket_keepalive": socket_keepalive,
            "socket_keepalive_options": socket_keepalive_options,
            "max_inflight_requests_per_connection": max_inflight_requests_per_connection,
            "max_average_response_time_for_connection_reuse": (
                max_average_response_time_for_connection_reuse
            ),
            "ssl_context": ssl_context,
            "username": username,
            "password": password,
            "authenticator": authenticator,
        }
        self._following = Following(
            source,
            lambda address: Server(address, max_connections, idle_connection_timeout, options),
            failover=failover,
            failover_ttl=failover_ttl,
            on_rejoin=on_rejoin,
            on_error=on_error,
            liveness=liveness,
            refused=(MemcachedError, KeyError, ValueError),
            is_refusal=_is_refusal,
            unavailable=_unavailable,
            cause=_cause,
        )
        super().__init__(
            [*map(endpoint, filter(find_address, self.continuum.addresses))],
            max_connections=max_connections,
            idle_connection_timeout=idle_connection_timeout,
            **options,
        )

    @property
    def continuum(self) -> Continuum:
        """The continuum that says which server a key belongs to."""
        return self._following.continuum

    @property
    def liveness(self) -> Liveness:
        """What the processes of this user know about servers that are down."""
        return self._following.router.liveness

    @property
    def metrics(self) -> PoolMetrics:
        """What happened on the connections to all servers that were used."""
        return PoolMetrics.merge([server.metrics for server in self._following.in_use()])

    async def initialize(self) -> None:
        """Follow the server file; connections are made when they are needed."""
        self._following.begin()

    def close(self) -> None:
        """Close all connections, and stop following the file; the pool can be used on."""
        if hasattr(self, "_following"):  # not if __init__ has raised
            self._following.stop()

    async def aclose(self) -> None:
        """Do the same, and wait until it is done."""
        await self._following.close()

    async def execute_command(self, command: Command[R]) -> None:
        """Carry out a command, on the servers of its keys or on all; its future is set."""
        answer: R = await self._answer(command)
        if not command.request_sent.done():
            command.request_sent.set_result(True)
        if not command.noreply and not command.response.done():
            command.response.set_result(answer)

    async def _answer(self, command: Command[Any]) -> Any:
        keys = command.keys
        name = command.name.decode()
        expiry = getattr(command, "expiry", None)

        def part(some: Sequence[str], seconds: int | None) -> Command[Any]:
            copied = command.clone(some)
            if isinstance(copied, GetCommand):
                copied.items = []  # else a copy would add to those of all others
            if expiry is not None:
                copied.expiry = seconds  # type: ignore[attr-defined]
            return copied

        if not keys:
            answers = await self._following.run_all(
                name, lambda server: server.ask(part([], expiry))
            )
            complete = len(answers) == len({*self.continuum.addresses})
            good = [answer for answer in answers.values() if answer is not None]
            if not good or (isinstance(command, FlushAllCommand) and not complete):
                return _missing(command)
            return command.merge(good)
        if len(keys) == 1:
            return await self._following.run(
                name,
                keys[0],
                lambda server, seconds: server.ask(part(keys, seconds)),
                _missing(command),
                expiry,
            )
        several = await self._following.run_many(
            name, keys, lambda server, some, seconds: server.ask(part(some, seconds)), expiry
        )
        good = [answer for answer in several if answer is not None]
        return command.merge(good) if good else _missing(command)


class Client(memcachio.Client[AnyStr]):
    """memcachio's Client on a continuum: it follows the server file while it is in use.

    decode_responses, encoding: as for memcachio. The others are as for `Pool`.
    """

    connection_pool: Pool

    @overload
    def __init__(
        self: Client[bytes],
        source: Path | Servers | Continuum,
        *,
        decode_responses: Literal[False] = False,
        encoding: str = ...,
        **options: Unpack[Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Client[str],
        source: Path | Servers | Continuum,
        *,
        decode_responses: Literal[True],
        encoding: str = ...,
        **options: Unpack[Options],
    ) -> None: ...

    def __init__(
        self,
        source: Path | Servers | Continuum,
        *,
        decode_responses: Any = False,
        encoding: str = "utf-8",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(  # type: ignore[misc] # its overloads are of str and bytes
            connection_pool=Pool(source, **options),
            decode_responses=decode_responses,
            encoding=encoding,
        )

    @property
    def continuum(self) -> Continuum:
        """The continuum that says which server a key belongs to."""
        return self.connection_pool.continuum

    @property
    def liveness(self) -> Liveness:
        """What the processes of this user know about servers that are down."""
        return self.connection_pool.liveness

    async def close(self) -> None:
        """Close all connections, and stop following the file; the client can be used on."""
        await self.connection_pool.aclose()
