"""A client of aiomcache for a fleet that changes; aiomcache itself knows one server.

    from ketama.clients.aiomcache import Client

    client = Client("/etc/ketama.servers")
    await client.set(b"key", b"value")

For aiocache, `cache = Cache(Cache.MEMCACHED); cache.client = client`; for fastapi-cache2,
`MemcachedBackend(client)`.

What differs from aiomcache: operations have timeouts. A request that is cancelled, or times
out, closes its connection; aiomcache would give the late answer to the next request.
`multi_get` asks all servers at once, and accepts duplicate keys. `stats` and `version` return
a dict by address. pool_size connections are made when they are needed, not in advance.

Not promised: a set that is cancelled may still be carried out, even after a later one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

import aiomcache
from aiomcache import ClientException, ValidationException

from ketama import Continuum, Path, Servers
from ketama.clients.connections import Connections
from ketama.clients.following import Following
from ketama.clients.probe import FLUSH_DELAYS, endpoint
from ketama.clients.routing import OnError, OnRejoin
from ketama.health import Liveness

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")
Answer = TypeVar("Answer")

# Refused with one line, after which nothing is outstanding.
ONE_LINE = ("incr", "decr")


class HandlerError(Exception):
    """Carries an error of a flag handler past those who wait for a server's.

    own: that error.
    """

    def __init__(self, own: Exception) -> None:
        super().__init__(own)
        self.own = own


class RefusalError(ClientException):
    """A server's answer was ERROR or SERVER_ERROR."""


class Reader(asyncio.StreamReader):
    """A reader that raises where aiomcache would read an empty line, some again and again.

    refused: whether a line was ERROR or SERVER_ERROR.
    """

    refused = False

    async def readline(self) -> bytes:
        """Return the next line. Raises ConnectionResetError if the connection is closed."""
        line = await super().readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the server closed the connection")
        if line.startswith((b"ERROR", b"SERVER_ERROR")):
            self.refused = True
        return line


class Connection:
    """A connection, as aiomcache's commands use it."""

    def __init__(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def usable(self) -> bool:
        """Return whether it is open, and no request on it has failed."""
        reader = self.reader
        return not (reader.at_eof() or reader.exception() or self.writer.is_closing())

    def close(self, error: Exception | None = None) -> None:
        """Close it at once. A pending request raises the error."""
        if error is not None:
            self.reader.set_exception(error)
        self.writer.transport.abort()


def _plain(
    method: Callable[Concatenate[Any, P], Awaitable[Answer]],
) -> Callable[..., Awaitable[Answer]]:
    """Return a method of aiomcache's client without the wrapper that takes a connection."""
    plain = getattr(method, "__wrapped__", None)
    if plain is None:
        raise ImportError(
            f"ketama.clients.aiomcache does not know aiomcache {aiomcache.__version__}: "
            f"its {method.__qualname__} does not wrap a function that takes a connection; "
            "install aiomcache 0.8"
        )
    return cast("Callable[..., Awaitable[Answer]]", plain)


def _guarded(
    handler: Callable[P, Awaitable[Answer]] | None,
) -> Callable[P, Awaitable[Answer]] | None:
    """Return a flag handler whose errors are not taken for those of a server."""
    if handler is None:
        return None

    async def guarded(*args: P.args, **kwargs: P.kwargs) -> Answer:
        try:
            return await handler(*args, **kwargs)
        except Exception as error:
            raise HandlerError(error) from error

    return guarded


class Connector:
    """Makes connections. conn_args: as for the client."""

    def __init__(self, conn_args: Mapping[str, Any] | None) -> None:
        self._options = {} if conn_args is None else dict(conn_args)
        self._limit = self._options.pop("limit", 2**16)

    async def __call__(self, address: str) -> Connection:
        """Return a new connection to an address."""
        loop = asyncio.get_running_loop()
        reader = Reader(limit=self._limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        where = endpoint(address)
        transport: asyncio.Transport
        if isinstance(where, tuple):
            made = loop.create_connection(lambda: protocol, *where, **self._options)
        else:
            made = loop.create_unix_connection(lambda: protocol, where, **self._options)
        transport, _ = await made
        return Connection(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


class Server(Connections[Connection]):
    """The connections to one server, and requests of aiomcache's on them.

    client: one of aiomcache's, whose commands are used, and whose own pool is not.
    """

    def __init__(
        self, client: aiomcache.FlagClient[Any], address: str, make: Connector, **options: Any
    ) -> None:
        super().__init__(address, make, harmless=(ValidationException,), **options)
        self.client = client

    async def ask(
        self, method: Callable[..., Awaitable[Answer]], *args: Any, one_line: bool = False
    ) -> Answer:
        """Return what a method of aiomcache's client returns on one of the connections."""
        async with self.connection() as connection:
            try:
                return await method(self.client, connection, *args)
            except ClientException as error:
                if connection.reader.refused:
                    raise RefusalError(*error.args) from error
                if not one_line:
                    raise
                refused = error
        raise refused

    async def uptime(self) -> float:
        """Return for how many seconds it has been up; over a new connection."""
        stats = await self._ask_once(_stats)
        return float(stats[b"uptime"] or 0)

    async def flush(self) -> None:
        """Remove all its items; over a new connection."""
        await self._ask_once(_flush)

    async def _ask_once(self, method: Callable[..., Awaitable[Answer]]) -> Answer:
        connection = await self.new()
        try:
            return await asyncio.wait_for(method(self.client, connection), self.timeout)
        finally:
            connection.close()


class FlagClient(aiomcache.FlagClient[T], Generic[T]):
    """aiomcache's FlagClient on a continuum: it follows the server file while it is in use.

    source: the path of a server file, or a Continuum without auto_roll, or servers.
    failover, failover_ttl, on_rejoin, liveness: as for `ketama.clients.routing.Router`.
    on_error: "raise", or "miss": what cannot be read is missing, and what cannot be written
        returns False; incr and decr return None. Wrong keys and values raise in any case.
    connect_timeout, timeout: seconds for a connection, and for a request; None: no limit.
    pool_size: connections to each server.
    conn_args: further arguments for asyncio.open_connection, such as ssl.
    get_flag_handler, set_flag_handler: as for aiomcache. What they raise is raised.

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
        connect_timeout: float | None = 0.5,
        timeout: float | None = 1.0,
        pool_size: int = 2,
        conn_args: Mapping[str, Any] | None = None,
        get_flag_handler: Callable[[bytes, int], Awaitable[T]] | None = None,
        set_flag_handler: Callable[[T], Awaitable[tuple[bytes, int]]] | None = None,
    ) -> None:
        if pool_size < 1:
            raise ValueError(f"invalid pool_size {pool_size}: must be at least 1")
        aiomcache.FlagClient.__init__(  # of Client, the next class is aiomcache.Client
            self, "", get_flag_handler=get_flag_handler, set_flag_handler=set_flag_handler
        )
        # Not this object, lest it be kept alive by the task that follows the file.
        plain = aiomcache.FlagClient(
            "",
            get_flag_handler=_guarded(get_flag_handler),
            set_flag_handler=_guarded(set_flag_handler),
        )
        make = partial(
            Server,
            plain,
            make=Connector(conn_args),
            most=pool_size,
            timeout=timeout,
            connect_timeout=connect_timeout,
        )
        self._following: Following[Server] = Following(
            source,
            make,
            failover=failover,
            failover_ttl=failover_ttl,
            on_rejoin=on_rejoin,
            on_error=on_error,
            liveness=liveness,
            refused=(ClientException, KeyError),
            is_refusal=lambda error: isinstance(error, RefusalError),
            unavailable=ClientException,
        )

    @property
    def continuum(self) -> Continuum:
        """The continuum that says which server a key belongs to."""
        return self._following.continuum

    @property
    def liveness(self) -> Liveness:
        """What the processes of this user know about servers that are down."""
        return self._following.router.liveness

    async def close(self) -> None:
        """Close all connections, and stop following the file; the client can be used on."""
        await self._following.close()

    # ---- One key

    async def _run(
        self,
        method: Callable[..., Awaitable[Any]],
        key: bytes,
        missing: Any,
        *args: Any,
        expiry: int | None = None,
    ) -> Any:
        """Return a command's answer.

        args: the method's arguments after the key; after them comes the time to live.
        """
        self._validate_key(key)
        command = method.__name__
        one_line = command in ONE_LINE

        def ask(server: Server, seconds: int) -> Awaitable[Any]:
            if expiry is None:
                return server.ask(method, key, *args, one_line=one_line)
            return server.ask(method, key, *args, seconds, one_line=one_line)

        if not isinstance(expiry, int) and expiry is not None:
            raise ValidationException("exptime not int", expiry)
        try:
            return await self._following.run(command, key, ask, missing, expiry)
        except HandlerError as error:
            raise error.own from error.own.__cause__

    @overload
    async def get(self, key: bytes, default: None = None) -> bytes | T | None: ...
    @overload
    async def get(self, key: bytes, default: U) -> bytes | T | U: ...

    async def get(self, key: bytes, default: Any = None) -> Any:
        """Return a key's value, or the default."""
        return await self._run(_get, key, default, default)

    async def gets(
        self, key: bytes, default: bytes | None = None
    ) -> tuple[bytes | T | None, int | None]:
        """Return a key's value and its unique number, for `cas`."""
        found: tuple[bytes | T | None, int | None] = await self._run(
            _gets, key, (default, None), default
        )
        return found

    async def set(self, key: bytes, value: bytes | T, exptime: int = 0) -> bool:
        """Store a value for `exptime` seconds, 0: for ever. Return whether it was stored."""
        return bool(await self._run(_set, key, False, value, expiry=exptime))

    async def cas(self, key: bytes, value: bytes | T, cas_token: int, exptime: int = 0) -> bool:
        """Store a value unless it has changed since `gets`. Return whether it was stored."""
        return bool(await self._run(_cas, key, False, value, cas_token, expiry=exptime))

    async def add(self, key: bytes, value: bytes | T, exptime: int = 0) -> bool:
        """Store a value if the key has none. Return whether it was stored."""
        return bool(await self._run(_add, key, False, value, expiry=exptime))

    async def replace(self, key: bytes, value: bytes | T, exptime: int = 0) -> bool:
        """Store a value if the key has one. Return whether it was stored."""
        return bool(await self._run(_replace, key, False, value, expiry=exptime))

    async def append(self, key: bytes, value: bytes | T, exptime: int = 0) -> bool:
        """Append to the value of a key, if it has one. Return whether it has."""
        return bool(await self._run(_append, key, False, value, expiry=exptime))

    async def prepend(self, key: bytes, value: bytes, exptime: int = 0) -> bool:
        """Prepend to the value of a key, if it has one. Return whether it has."""
        return bool(await self._run(_prepend, key, False, value, expiry=exptime))

    async def incr(self, key: bytes, increment: int = 1) -> int | None:
        """Add to a number, and return it. Raises ClientException if the key has no value."""
        number: int | None = await self._run(_incr, key, None, increment)
        return number

    async def decr(self, key: bytes, decrement: int = 1) -> int | None:
        """Subtract from a number, and return it. Raises ClientException as `incr` does."""
        number: int | None = await self._run(_decr, key, None, decrement)
        return number

    async def touch(self, key: bytes, exptime: int) -> bool:
        """Set a key's time to live. Return whether it has a value."""
        return bool(await self._run(_touch, key, False, expiry=exptime))

    async def delete(self, key: bytes) -> bool:
        """Delete a key's value. Return whether it had one."""
        return bool(await self._run(_delete, key, False))

    # ---- Many keys, and all servers

    async def multi_get(self, *keys: bytes) -> tuple[bytes | T | None, ...]:
        """Return the values of keys, in their order; None for a key that has none."""
        for key in keys:
            self._validate_key(key)

        async def ask(
            server: Server, some: Sequence[bytes], _: int
        ) -> dict[bytes, bytes | T | None]:
            values = await server.ask(_multi_get, *some)
            return dict(zip(some, values, strict=True))

        try:
            answers = await self._following.run_many("get", dict.fromkeys(keys), ask)
        except HandlerError as error:
            raise error.own from error.own.__cause__
        found: dict[bytes, bytes | T | None] = {}
        for values in answers:
            found |= values
        return tuple([found.get(key) for key in keys])

    async def stats(  # type: ignore[override]
        self, args: bytes | None = None
    ) -> dict[str, dict[bytes, bytes | None]]:
        """Return the statistics of each server, by its address."""
        return await self._following.run_all("stats", lambda server: server.ask(_stats, args))

    async def version(self) -> dict[str, bytes]:  # type: ignore[override]
        """Return the version of each server, by its address."""
        return await self._following.run_all("version", lambda server: server.ask(_version))

    async def flush_all(self) -> None:
        """Remove the values of all servers."""
        await self._following.run_all("flush_all", lambda server: server.ask(_flush_all))


class Client(FlagClient[bytes], aiomcache.Client):
    """aiomcache's Client on a continuum: see `FlagClient`."""


async def _flush(_client: object, connection: Connection) -> None:
    """Empty a server; aiomcache's own command cannot be given a delay."""
    for delay in FLUSH_DELAYS:
        connection.writer.write(b"flush_all %d\r\n" % delay)
        answer = await connection.reader.readline()
        if answer != b"OK\r\n":
            raise ClientException("Memcached flush_all failed", answer)


# aiomcache's own commands, which are called with a connection.
_get = _plain(aiomcache.FlagClient.get)
_gets = _plain(aiomcache.FlagClient.gets)
_set = _plain(aiomcache.FlagClient.set)
_cas = _plain(aiomcache.FlagClient.cas)
_add = _plain(aiomcache.FlagClient.add)
_replace = _plain(aiomcache.FlagClient.replace)
_append = _plain(aiomcache.FlagClient.append)
_prepend = _plain(aiomcache.FlagClient.prepend)
_incr = _plain(aiomcache.FlagClient.incr)
_decr = _plain(aiomcache.FlagClient.decr)
_touch = _plain(aiomcache.FlagClient.touch)
_delete = _plain(aiomcache.FlagClient.delete)
_multi_get = _plain(aiomcache.FlagClient.multi_get)
_stats = _plain(aiomcache.FlagClient.stats)
_version = _plain(aiomcache.FlagClient.version)
_flush_all = _plain(aiomcache.FlagClient.flush_all)
