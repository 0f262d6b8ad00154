"""A client of emcache for a fleet that changes.

    from ketama.clients.emcache import Client

    client = Client("/etc/ketama.servers")
    await client.set(b"key", b"value")

emcache has no public way to choose a key's server. This module replaces its cluster and its
connection pools, and uses its commands, protocol and exceptions: those of emcache 1.3. With a
version that lacks what it needs, the import fails.

What differs from emcache: a request whose connection is lost fails at once, not after the
timeout; a refused connection is not tried again in the background, up to a minute apart.
Connections are made when they are needed (no min_connections). There are no autobatching,
purge_unhealthy_nodes and autodiscovery; cluster events are those of the logger "ketama".

Not promised: a set that is cancelled may still be carried out, even after a later one. With
noreply, a failed write is not noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from emcache import (
    ClusterManagment,
    ClusterNoAvailableNodes,
    CommandError,
    ConnectionPoolMetrics,
    MemcachedHostAddress,
    MemcachedUnixSocketPath,
    NotFoundCommandError,
)

from ketama import Continuum, Path, Servers
from ketama.addresses import find_address
from ketama.clients.following import Following
from ketama.clients.probe import endpoint
from ketama.clients.routing import OnError, OnRejoin
from ketama.health import Liveness

try:
    from emcache._cython import cyemcache  # type: ignore[attr-defined]
    from emcache.client import MAX_ALLOWED_CAS_VALUE, MAX_ALLOWED_FLAG_VALUE, _Client
    from emcache.protocol import MemcacheAsciiProtocol

    # What is called or replaced here, and has no public name.
    for _name in (
        "_storage_command",
        "_incr_decr_command",
        "_fetch_command",
        "_fetch_many_command",
        "_get_and_touch_command",
        "_get_and_touch_many_command",
    ):
        getattr(_Client, _name)
    for _name in ("_extract_one_line_data", "_extract_multi_line_data", "auth"):
        getattr(MemcacheAsciiProtocol, _name)

    from ketama.clients.emcache_connection import (
        REFUSALS,
        Connector,
        RefusalError,
        Server,
        tls_context,
    )

except (ImportError, AttributeError) as error:
    raise ImportError(
        f"ketama.clients.emcache does not know emcache {version('emcache')}: {error}; "
        "install emcache 1.3"
    ) from error

Address = MemcachedHostAddress | MemcachedUnixSocketPath
# An answer to get without values: keys, values, flags, unique numbers, an error's text.
NOTHING: tuple[Sequence[Any], ...] = ([], [], [], [], b"")


def node_address(address: str) -> Address:
    """Return an address as emcache has it."""
    where = endpoint(address)
    if isinstance(where, tuple):
        return MemcachedHostAddress(*where)
    return MemcachedUnixSocketPath(where)


class Cluster(ClusterManagment):
    """What emcache's client asks of its cluster, and what it tells the user."""

    def __init__(self, following: Following[Server]) -> None:
        self._following = following

    def _by_node(self) -> dict[Address, str]:
        addresses = filter(find_address, self._following.continuum.addresses)
        return {node_address(address): address for address in addresses}

    def node(self, address: Address) -> Server:
        """Return the connections to a server. Raises ValueError if the file lacks it."""
        self._following.begin()
        try:
            return self._following.server(self._by_node()[address])
        except KeyError:
            raise ValueError(f"{address} can not be found") from None

    def nodes(self) -> list[Address]:
        """Return the servers of the file, without those whose address is invalid."""
        return [*self._by_node()]

    def unhealthy_nodes(self) -> list[Address]:
        """Return the servers that are not asked, because they are down."""
        down = self._following.down_now()
        return [node for node, address in self._by_node().items() if address in down]

    def healthy_nodes(self) -> list[Address]:
        """Return the servers that are asked."""
        down = self._following.down_now()
        return [node for node, address in self._by_node().items() if address not in down]

    def connection_pool_metrics(self) -> Mapping[Address, ConnectionPoolMetrics]:
        """Return what happened on the connections to each server that was asked."""
        return {
            node_address(server.address): ConnectionPoolMetrics(
                cur_connections=server.counts.made - server.counts.closed,
                connections_created=server.counts.made,
                connections_created_with_error=server.counts.failed,
                connections_purged=server.counts.purged,
                connections_closed=server.counts.closed,
                operations_executed=server.counts.good,
                operations_executed_with_error=server.counts.bad,
                operations_waited=server.counts.waited,
                create_connection_avg=None,
                create_connection_p50=None,
                create_connection_p99=None,
                create_connection_upper=None,
            )
            for server in self._following.in_use()
            if find_address(server.address)
        }


class Client(_Client):
    """emcache's client on a continuum: it follows the server file while it is in use.

    source: the path of a server file, or a Continuum without auto_roll, or servers.
    failover, failover_ttl, on_rejoin, liveness: as for `ketama.clients.routing.Router`.
    on_error: "raise", or "miss": what cannot be read is missing. What cannot be written is
        as emcache tells it of a key that has no value: NotFoundCommandError for delete,
        touch, increment and decrement, NotStoredStorageCommandError for add, replace, append,
        prepend and cas; set returns. Wrong keys and values raise in any case.
    timeout: seconds for a request; None: no limit.
    max_connections: to each server.
    The others are emcache's.

    Any number of tasks of one event loop may use it. After `close` it cannot be used; without
    that, another loop may use it after the first has ended, as with asyncio.run.

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
        timeout: float | None = 1.0,
        max_connections: int = 2,
        purge_unused_connections_after: float | None = 60.0,
        connection_timeout: float | None = 0.5,
        ssl: bool = False,
        ssl_verify: bool = True,
        ssl_extra_ca: str | None = None,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        if max_connections < 1:
            raise ValueError("max_connections must be higher than 0")
        if (username is None) != (password is None):
            raise ValueError("For SASL authentication either username and password together")
        # Not emcache's __init__, which makes a cluster of its own.
        self._closed = False
        self._autobatching = False
        self._timeout = None  # of emcache's own, which cancels the task
        context = tls_context(ssl_verify, ssl_extra_ca) if ssl else None
        connector = Connector(context, username, password)
        self._following = Following(
            source,
            lambda address: Server(
                address,
                connector,
                most=max_connections,
                timeout=timeout,
                connect_timeout=connection_timeout,
                idle_s=purge_unused_connections_after,
            ),
            failover=failover,
            failover_ttl=failover_ttl,
            on_rejoin=on_rejoin,
            on_error=on_error,
            liveness=liveness,
            refused=(CommandError,),
            is_refusal=lambda error: isinstance(error, RefusalError),
            unavailable=ClusterNoAvailableNodes,
        )
        self._management = Cluster(self._following)
        self._cluster = self._management  # type: ignore[assignment]

    @property
    def continuum(self) -> Continuum:
        """The continuum that says which server a key belongs to."""
        return self._following.continuum

    @property
    def liveness(self) -> Liveness:
        """What the processes of this user know about servers that are down."""
        return self._following.router.liveness

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:  # type: ignore[override]
        return asyncio.get_running_loop()

    async def close(self) -> None:
        """Close all connections, and stop following the file."""
        self._closed = True
        await self._following.close()

    def cluster_managment(self) -> ClusterManagment:
        """Return what tells the nodes of the cluster, and which of them are healthy."""
        return self._management

    # ---- emcache's commands, of which its public methods are made

    def _check(self, *keys: bytes) -> None:
        if self._closed:
            raise RuntimeError("Emcache client is closed")
        if not all(map(cyemcache.is_key_valid, keys)):
            raise ValueError("Key has invalid charcters")

    async def _run(
        self,
        command: str,
        key: bytes,
        ask: Callable[[Server, int], Awaitable[Any]],
        missing: Any,
        exptime: int | None = None,
    ) -> Any:
        self._check(key)
        answer = await self._following.run(command, key, ask, missing, exptime)
        if isinstance(answer, (bytes, bytearray)) and answer.startswith(REFUSALS):
            return answer if self._following.raises else missing
        return answer

    async def _storage_command(
        self,
        command: bytes,
        key: bytes,
        value: bytes,
        flags: int,
        exptime: int,
        noreply: bool,
        cas: int | None = None,
    ) -> Any:
        if cas is not None and cas > MAX_ALLOWED_CAS_VALUE:
            raise ValueError(f"cas can not be higher than {MAX_ALLOWED_CAS_VALUE}")
        if flags > MAX_ALLOWED_FLAG_VALUE:
            raise ValueError(f"flags can not be higher than {MAX_ALLOWED_FLAG_VALUE}")
        name = command.decode()
        missing = {"set": b"STORED", "cas": b"EXISTS"}.get(name, b"NOT_STORED")
        return await self._run(
            name,
            key,
            lambda server, seconds: server.ask(
                "storage_command", command, key, value, flags, seconds, noreply, cas
            ),
            missing,
            exptime,
        )

    async def _incr_decr_command(
        self, command: bytes, key: bytes, value: int, noreply: bool
    ) -> Any:
        if value < 0:
            raise ValueError("Incr or Decr by a positive value number expected")
        return await self._run(
            command.decode(),
            key,
            lambda server, _: server.ask("incr_decr_command", command, key, value, noreply),
            b"NOT_FOUND",
        )

    async def _fetch_command(self, command: bytes, key: bytes) -> Any:
        return await self._run(
            command.decode(),
            key,
            lambda server, _: server.ask("fetch_command", command, (key,)),
            NOTHING,
        )

    async def _fetch_many_command(
        self, command: bytes, keys: Sequence[bytes], return_flags: bool = False
    ) -> Any:
        keys = [*keys]
        self._check(*keys)
        return await self._following.run_many(
            command.decode(),
            keys,
            lambda server, some, _: server.ask("fetch_command", command, some),
        )

    async def _get_and_touch_command(self, command: bytes, exptime: int, key: bytes) -> Any:
        return await self._run(
            command.decode(),
            key,
            lambda server, seconds: server.ask(
                "get_and_touch_command", command, seconds, (key,)
            ),
            NOTHING,
            exptime,
        )

    async def _get_and_touch_many_command(
        self, command: bytes, exptime: int, keys: Sequence[bytes], return_flags: bool = False
    ) -> Any:
        keys = [*keys]
        self._check(*keys)
        return await self._following.run_many(
            command.decode(),
            keys,
            lambda server, some, seconds: server.ask(
                "get_and_touch_command", command, seconds, some
            ),
            exptime,
        )

    async def touch(self, key: bytes, exptime: int, *, noreply: bool = False) -> None:
        """Set a key's time to live. Raises NotFoundCommandError if it has no value."""
        answer = await self._run(
            "touch",
            key,
            lambda server, seconds: server.ask("touch_command", key, seconds, noreply),
            b"NOT_FOUND",
            exptime,
        )
        _check_answer(answer, b"TOUCHED", noreply)

    async def delete(self, key: bytes, *, noreply: bool = False) -> None:
        """Delete a key's value. Raises NotFoundCommandError if it has none."""
        answer = await self._run(
            "delete",
            key,
            lambda server, _: server.ask("delete_command", key, noreply),
            b"NOT_FOUND",
        )
        _check_answer(answer, b"DELETED", noreply)


def _check_answer(answer: bytes | None, good: bytes, noreply: bool) -> None:
    if answer == b"NOT_FOUND":
        raise NotFoundCommandError
    if answer != good and not noreply:
        raise CommandError(f"Command finished with error, response returned {answer!r}")
