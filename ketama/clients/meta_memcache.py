"""meta-memcache for a fleet that changes: a pool provider, a router, and a client with both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from meta_memcache.base.base_serializer import BaseSerializer
from meta_memcache.cache_client import CacheClient
from meta_memcache.configuration import ServerAddress
from meta_memcache.connection.pool import ConnectionPool, PoolCounters
from meta_memcache.errors import MemcacheServerError, ServerMarkedDownError
from meta_memcache.executors.default import DefaultExecutor
from meta_memcache.interfaces.executor import Executor
from meta_memcache.interfaces.router import DEFAULT_FAILURE_HANDLING, FailureHandling
from meta_memcache.protocol import (
    Key,
    MaybeValue,
    MaybeValues,
    MemcacheResponse,
    MetaCommand,
    RequestFlags,
    SetMode,
)
from meta_memcache.routers.default import DefaultRouter
from meta_memcache.routers.helpers import adjust_flags_for_max_ttl
from meta_memcache.serializer import MixedSerializer
from meta_memcache.stats import StatsCallback, StatsSampler
from meta_memcache_socket import Conflict

from ketama import Continuum, Path, Servers
from ketama.clients import routing
from ketama.clients.meta_memcache_pool import Nobody, Pool
from ketama.clients.probe import InvalidAddressError, endpoint
from ketama.clients.routing import ASKED_MOST, OnRejoin, is_reset
from ketama.health import Liveness

PLAIN_SET = (None, SetMode.SET.value)


class PoolProvider:
    """Gives meta-memcache the connections to a key's server on a continuum.

    source: the path of a server file, which is followed; or servers as for Continuum; or a
        Continuum: pass it auto_roll=1.0, or call its roll(), for it to follow its file.
    failover, failover_ttl, on_rejoin, liveness: as for `ketama.clients.routing.Router`, but
        failover_ttl is applied by the `Router` of this module. With on_rejoin="flush", any
        failure takes a server down, because it may have been one of a write.
    max_pool_size: how many idle connections to each server are kept.
    connection_timeout, recv_timeout: in seconds.

    Of a key, the routing_key is hashed, or else the key. A server that cannot be connected to
    is passed over at once.

    Raises what Continuum and Liveness raise, and ValueError for an invalid option.
    """

    def __init__(
        self,
        source: Path | Servers | Continuum,
        *,
        failover: bool = True,
        failover_ttl: int = 60,
        on_rejoin: OnRejoin = "keep",
        liveness: Liveness | None = None,
        max_pool_size: int = 3,
        connection_timeout: float = 1.0,
        recv_timeout: float = 1.0,
    ) -> None:
        self._router = routing.Router(
            source,
            failover=failover,
            failover_ttl=failover_ttl,
            on_rejoin=on_rejoin,
            liveness=liveness,
            timeout=min(connection_timeout, recv_timeout),
        )
        self._max_pool_size = max_pool_size
        self._timeouts = connection_timeout, recv_timeout
        self._nobody = Nobody()
        self._addresses: tuple[str, ...] = ()
        self._pools: dict[str, Pool] = {}

    @property
    def continuum(self) -> Continuum:
        """The continuum that says which server a key belongs to."""
        return self._router.continuum

    @property
    def liveness(self) -> Liveness:
        """What the processes of this user know about servers that are down."""
        return self._router.liveness

    @property
    def failover_ttl(self) -> int:
        """The longest time to live of a value on another server than its own, in seconds."""
        return self._router.failover_ttl

    def get_pool(self, key: Key) -> ConnectionPool:
        """Return the connections to a key's server, or to the next one that is not down.

        If there is none, each request fails as meta-memcache's do.
        """
        return self.route(key)[0]

    def get_counters(self) -> dict[ServerAddress, PoolCounters]:
        """Return the numbers of connections to each server that was asked."""
        return {
            _server_address(at): pool.get_counters() for at, pool in self._pools.copy().items()
        }

    def route(
        self, key: Key, failed: set[str] | None = None, *, reads: bool = True
    ) -> tuple[Pool, bool]:
        """Return the connections for a key, and whether they are not to its own server.

        failed: the addresses of servers that have failed in this operation and are passed over;
            those that cannot be connected to are added.
        reads: the request changes nothing.
        """
        hashed = key.routing_key or key.key
        failed = set() if failed is None else failed
        down = self._down(failed)
        while len(failed) < ASKED_MOST:
            address = self._router.server(hashed, down)
            if address is None:
                break
            pool = self._connected(address, reads)
            if pool is not None:
                return pool, bool(down) and self.continuum.lookup(hashed) != address
            failed.add(address)
            down |= {address}
        return self._nobody, True

    def group(
        self,
        keys: list[Key],
        failed: set[str] | None = None,
        asked: Counter[Key] | None = None,
        *,
        reads: bool = True,
    ) -> list[tuple[Pool, bool, list[Key]]]:
        """Return what `route` does for many keys, with the keys of each pool.

        asked: of how many servers each key has had connections in this operation.
        """
        failed = set() if failed is None else failed
        asked = Counter() if asked is None else asked
        pools: dict[str, Pool] = {}
        groups: dict[tuple[Pool, bool], list[Key]] = {}
        down = self._down(failed)
        for key in keys:
            hashed = key.routing_key or key.key
            pool: Pool | None = None
            while (
                pool is None
                and asked[key] < ASKED_MOST
                and (address := self._router.server(hashed, down)) is not None
            ):
                asked[key] += 1
                pool = pools.get(address) or self._connected(address, reads)
                if pool is not None:
                    pools[address] = pool
                else:
                    failed.add(address)
                    down |= {address}
            pool = pool or self._nobody
            away = bool(down) and self.continuum.lookup(hashed) != pool.server
            groups.setdefault((pool, away), []).append(key)
        return [(pool, away, members) for (pool, away), members in groups.items()]

    def has_next(self, pool: Pool) -> bool:
        """Return whether there may be another server to try if this one fails."""
        return self._router.failover and not isinstance(pool, Nobody)

    def passes_over(self, error: MemcacheServerError, *, reads: bool) -> bool:
        """Return whether to ask another server than the one that has failed.

        reads: as for `route`.
        """
        cause = error.__cause__ or error
        return self._router.passes_over(error.server, cause, reads=reads)

    def _down(self, failed: set[str]) -> frozenset[str]:
        addresses = self.continuum.addresses
        if addresses is not self._addresses:
            self._keep(addresses)
        down = self._router.down()
        return down | failed if failed else down

    def _pool(self, address: str) -> Pool:
        pool = self._pools.get(address)
        if pool is None:
            made = Pool(address, self._failed, self._max_pool_size, self._timeouts)
            pool = self._pools.setdefault(address, made)
            if address not in self._addresses:  # the server was removed meanwhile
                self._pools.pop(address, None)
                pool.retire()
        return pool

    def _connected(self, address: str, reads: bool) -> Pool | None:
        """Return the connections to a server; None: ask the next one."""
        pool = self._pool(address)
        try:
            pool.connect()
        except ServerMarkedDownError as error:
            return None if self.passes_over(error, reads=reads) else Nobody(error)
        return pool

    def _failed(self, address: str, error: BaseException) -> None:
        self._router.failed(address, error, wrote=True)

    def _keep(self, addresses: tuple[str, ...]) -> None:
        """Close the connections to all other servers."""
        self._addresses = addresses
        old, known = self._pools.copy(), {*addresses}  # other threads add to it
        self._pools = {address: pool for address, pool in old.items() if address in known}
        for address, pool in old.items():
            if address not in known:
                pool.retire()


class Router(DefaultRouter):
    """meta-memcache's router, which goes on with the next server where one fails.

    Gets, sets, deletes and touches are tried again; any other command only if it was not sent.
    What writes goes on only if the server is down for all processes, or refuses connections.
    Values on another server than their own live for failover_ttl seconds at most.
    A cas_token is a number of one server: a request with it is a Conflict on another one.

    The executor's WriteFailureEvent is not called for a server that is known to be down.
    """

    pool_provider: PoolProvider

    def __init__(self, pool_provider: PoolProvider, executor: Executor) -> None:
        super().__init__(pool_provider, executor)

    def exec(
        self,
        command: MetaCommand,
        key: Key,
        value: MaybeValue = None,
        flags: RequestFlags | None = None,
        failure_handling: FailureHandling = DEFAULT_FAILURE_HANDLING,
    ) -> MemcacheResponse:
        """Return the answer to a command from the first server that answers."""
        reads = command is MetaCommand.META_GET
        failed, reset = set[str](), set[str]()
        tracks = failure_handling.track_write_failures
        pool, away = self.pool_provider.route(key, failed, reads=reads)
        while True:
            if away and self._has_number(pool, flags):
                return Conflict()
            goes_on = self._goes_on(pool, command, flags)
            try:
                return self.executor.exec_on_pool(
                    pool,
                    command,
                    key,
                    value,
                    self._capped(command, flags) if away else flags,
                    track_write_failures=tracks,
                    raise_on_server_error=goes_on or failure_handling.raise_on_server_error,
                )
            except MemcacheServerError as error:
                if not goes_on:
                    raise
                if self._asks_again(error, reads, failed, reset):
                    pool, away = self.pool_provider.route(key, failed, reads=reads)
                else:
                    pool = Nobody(error)
            tracks = False

    def exec_multi(
        self,
        command: MetaCommand,
        keys: list[Key],
        values: MaybeValues = None,
        flags: RequestFlags | None = None,
        failure_handling: FailureHandling = DEFAULT_FAILURE_HANDLING,
    ) -> dict[Key, MemcacheResponse]:
        """Return the answer for each key from the first server that answers."""
        value_of: dict[Key, MaybeValue] = dict.fromkeys(keys)
        if values is not None:
            value_of = dict(zip(keys, values, strict=True))
        results: dict[Key, MemcacheResponse] = {}
        asked = Counter[Key]()
        reads = command is MetaCommand.META_GET
        failed, reset = set[str](), set[str]()
        tracks = failure_handling.track_write_failures
        groups = self.pool_provider.group([*value_of], failed, asked, reads=reads)
        while groups:
            left: list[Key] = []
            given_up: list[tuple[Pool, bool, list[Key]]] = []
            for pool, away, members in groups:
                if away and self._has_number(pool, flags):
                    results |= dict.fromkeys(members, Conflict())
                    continue
                goes_on = self._goes_on(pool, command, flags)
                try:
                    results |= self.executor.exec_multi_on_pool(
                        pool,
                        command,
                        [(key, value_of[key]) for key in members],
                        self._capped(command, flags) if away else flags,
                        track_write_failures=tracks,
                        raise_on_server_error=goes_on or failure_handling.raise_on_server_error,
                    )
                except MemcacheServerError as error:
                    if not goes_on:
                        raise
                    if self._asks_again(error, reads, failed, reset):
                        left += members
                    else:
                        given_up.append((Nobody(error), away, members))
            tracks = False
            groups = given_up
            if left:
                groups += self.pool_provider.group(left, failed, asked, reads=reads)
        return results

    def _asks_again(
        self, error: MemcacheServerError, reads: bool, failed: set[str], reset: set[str]
    ) -> bool:
        """Note which server has failed; return whether to ask the next one, or it once more.

        failed: those to pass over; reset: those that are asked once more.
        """
        if self.pool_provider.passes_over(error, reads=reads):
            failed.add(error.server)
            return True
        if error.server in reset or not is_reset(error.__cause__ or error):
            return False
        reset.add(error.server)
        return True

    def _goes_on(self, pool: Pool, command: MetaCommand, flags: RequestFlags | None) -> bool:
        """Return whether a command that fails is tried on the next server."""
        return self.pool_provider.has_next(pool) and (
            command in (MetaCommand.META_GET, MetaCommand.META_DELETE)
            or (
                command is MetaCommand.META_SET
                and (flags is None or (flags.mode in PLAIN_SET and flags.cas_token is None))
            )
        )

    def _has_number(self, pool: Pool, flags: RequestFlags | None) -> bool:
        """Return whether a request has a number that another server gave to a value."""
        has = flags is not None and flags.cas_token is not None
        return has and self.pool_provider.has_next(pool)

    def _capped(self, command: MetaCommand, flags: RequestFlags | None) -> RequestFlags | None:
        """Return the flags for a server that is not the key's own."""
        if command is MetaCommand.META_SET and (flags is None or flags.cache_ttl is None):
            flags = RequestFlags() if flags is None else flags
            flags = flags.replace(cache_ttl=0)  # for ever
        return adjust_flags_for_max_ttl(flags, self.pool_provider.failover_ttl)


def cache_client(
    source: Path | Servers | Continuum,
    *,
    failover: bool = True,
    failover_ttl: int = 60,
    on_rejoin: OnRejoin = "keep",
    liveness: Liveness | None = None,
    max_pool_size: int = 3,
    connection_timeout: float = 1.0,
    recv_timeout: float = 1.0,
    serializer: BaseSerializer | None = None,
    key_encoder_fn: Callable[[Key], bytes] | None = None,
    raise_on_server_error: bool = True,
    stats_callback: StatsCallback | None = None,
    stats_sampler: StatsSampler | None = None,
) -> CacheClient:
    """Return a client of meta-memcache on a continuum.

    source and the options up to recv_timeout: as for `PoolProvider`.
    The others: as for meta-memcache's `CacheClient.cache_client_from_servers`.
    Raises what PoolProvider raises.
    """
    provider = PoolProvider(
        source,
        failover=failover,
        failover_ttl=failover_ttl,
        on_rejoin=on_rejoin,
        liveness=liveness,
        max_pool_size=max_pool_size,
        connection_timeout=connection_timeout,
        recv_timeout=recv_timeout,
    )
    executor = DefaultExecutor(
        serializer=serializer or MixedSerializer(),
        key_encoder_fn=key_encoder_fn,
        raise_on_server_error=raise_on_server_error,
        stats_callback=stats_callback,
        stats_sampler=stats_sampler,
    )
    return CacheClient(router=Router(provider, executor))


def _server_address(address: str) -> ServerAddress:
    try:
        where = endpoint(address)
    except InvalidAddressError:
        where = address
    host, port = (where, 0) if isinstance(where, str) else where
    return ServerAddress(host, port, server_id=address)
