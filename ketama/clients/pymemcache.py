"""A client of pymemcache for a fleet that changes, and a hasher for programs that have one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from ssl import SSLContext
from types import ModuleType
from typing import Any, Literal, TypeVar

from pymemcache import HashClient as PlainHashClient
from pymemcache.client.base import KeepaliveOpts
from pymemcache.exceptions import (
    MemcacheError,
    MemcacheIllegalInputError,
    MemcacheServerError,
    MemcacheUnknownCommandError,
    MemcacheUnknownError,
)
from pymemcache.serde import LegacyWrappingSerde

from ketama import Continuum, Path, Servers
from ketama.clients.hasher import Hasher
from ketama.clients.pools import Pools
from ketama.clients.pymemcache_batch import Batch, Key, prepare
from ketama.clients.pymemcache_commands import Commands
from ketama.clients.pymemcache_connection import (
    FAILURES,
    RESETS,
    Connection,
    Connector,
    Serde,
    SerdeError,
    checked_expire,
    checked_flags,
    checked_key,
)
from ketama.clients.pymemcache_exchange import Exchange
from ketama.clients.routing import (
    ASKED_MOST,
    REPEATABLE,
    OnError,
    OnRejoin,
    Router,
    capped_expiry,
    is_refused,
    one_of,
)
from ketama.health import Liveness

__all__ = ["HashClient", "Hasher", "Key"]

AnyKey = TypeVar("AnyKey", bound=Key)
Answer = TypeVar("Answer")
Self = TypeVar("Self", bound="HashClient")
HashedKey = Literal["as given", "as sent"]

# The answers to so many fit into a receive buffer while we are still sending.
KEYS_AT_ONCE = 1000
DELETED = (b"DELETED", b"NOT_FOUND")
# What a server answers that has no memory or no connection left, or is no memcached.
REFUSALS = (MemcacheServerError, MemcacheUnknownError, MemcacheUnknownCommandError)


class HashClient(Commands, PlainHashClient):
    """pymemcache's HashClient on a continuum: it follows the server file while it is in use.

    source: the path of a server file, which is followed; or servers as for Continuum; or a
        Continuum: pass it auto_roll=1.0, or call its roll(), for it to follow its file.
    failover, failover_ttl, on_rejoin, liveness: as for `ketama.clients.routing.Router`.
    on_error: "raise", or "miss": what cannot be read is missing, and what cannot be written
        returns False; set_many returns the keys that were not stored. Wrong keys and values
        raise in any case.
    hashed_key: "as given", as pymemcache does, or "as sent": with key_prefix.

    The other options are pymemcache's, with these differences: timeouts have defaults; no_delay
    is True; default_noreply is False, because without a reply a failed write is not noticed;
    connections are always pooled, at most max_pool_size idle ones for each server.
    ignore_exc=True is on_error="miss". A key may be (key that is hashed, key).

    Any number of threads may use one client, and so may forked children. A client has no
    list of servers of its own: edit the server file instead of calling add_server.

    Raises what Continuum and Liveness raise, and ValueError for an invalid option.
    """

    client_class = Connection

    def __init__(
        self,
        source: Path | Servers | Continuum,
        *,
        failover: bool = True,
        failover_ttl: int = 60,
        on_rejoin: OnRejoin = "keep",
        on_error: OnError = "raise",
        liveness: Liveness | None = None,
        hashed_key: HashedKey = "as given",
        serde: Any = None,
        serializer: Callable[..., Any] | None = None,
        deserializer: Callable[..., Any] | None = None,
        connect_timeout: float | None = 0.5,
        timeout: float | None = 1.0,
        no_delay: bool = True,
        socket_module: ModuleType = socket,
        socket_keepalive: KeepaliveOpts | None = None,
        key_prefix: str | bytes = b"",
        max_pool_size: int | None = None,
        pool_idle_timeout: float = 0,
        ignore_exc: bool = False,
        allow_unicode_keys: bool = False,
        default_noreply: bool = False,
        encoding: str = "ascii",
        tls_context: SSLContext | None = None,
    ) -> None:
        one_of("on_error", on_error, ("raise", "miss"))
        one_of("hashed_key", hashed_key, ("as given", "as sent"))
        self.key_prefix = key_prefix.encode() if isinstance(key_prefix, str) else key_prefix
        self.allow_unicode_keys = allow_unicode_keys
        checked_key(b"x", allow_unicode_keys, self.key_prefix)  # raises for an invalid prefix
        self.default_noreply = default_noreply
        self.encoding = encoding
        self._serde = serde or LegacyWrappingSerde(serializer, deserializer)
        self._raises = on_error == "raise" and not ignore_exc
        self._hashes_prefix = hashed_key == "as sent" and self.key_prefix != b""
        connector = Connector(
            self.client_class,
            {
                "serde": Serde(self._serde),
                "connect_timeout": connect_timeout,
                "timeout": timeout,
                "no_delay": no_delay,
                "socket_module": socket_module,
                "socket_keepalive": socket_keepalive,
                "key_prefix": self.key_prefix,
                "default_noreply": default_noreply,
                "allow_unicode_keys": allow_unicode_keys,
                "encoding": encoding,
                "tls_context": tls_context,
            },
        )
        limits = [limit for limit in (connect_timeout, timeout) if limit is not None]
        self._router = Router(
            source,
            failover=failover,
            failover_ttl=failover_ttl,
            on_rejoin=on_rejoin,
            liveness=liveness,
            timeout=min(limits, default=1.0),
            uptime=connector.uptime,
            flush=connector.flush,
        )
        self._continuum = self._router.continuum
        self._pools = Pools(connector.connect, max_pool_size, pool_idle_timeout)
        self._exchange = Exchange(self._pools)

    @property
    def continuum(self) -> Continuum:
        """The continuum that says which server a key belongs to."""
        return self._continuum

    @property
    def liveness(self) -> Liveness:
        """What the processes of this user know about servers that are down."""
        return self._router.liveness

    # ---- Which server

    def _down(self) -> frozenset[str]:
        """Return the servers that are down. Close the connections of those that are gone."""
        addresses = self._continuum.addresses
        self._pools.keep(addresses)
        return self._router.down(addresses)

    def _group(
        self, batch: Batch, members: Iterable[int], down: frozenset[str]
    ) -> dict[str | None, list[int]]:
        """Return the members of each server; those of None cannot be sent to any."""
        members = [*members]
        hashed = [batch.hashed[member] for member in members]
        found: Sequence[str | None] = (
            self._continuum.lookup_many(hashed, exclude=down)
            if down and self._router.failover
            else self._continuum.lookup_many(hashed)
        )
        groups: dict[str | None, list[int]] = {}
        for member, address in zip(members, found, strict=True):
            groups.setdefault(None if address in down else address, []).append(member)
        return groups

    # ---- One key

    def _run(
        self,
        command: str,
        key: Key,
        missing: Answer,
        request: Callable[..., Any],
        expire: int = 0,
    ) -> Answer:
        checked_expire(expire)
        hashed, plain = key if isinstance(key, tuple) else (key, key)
        sent = checked_key(plain, self.allow_unicode_keys, self.key_prefix)
        if self._hashes_prefix and hashed is key:
            hashed = sent
        down = self._down()
        reset: set[str] = set()
        last: Exception | None = None
        for _ in range(ASKED_MOST):
            address = self._router.server(hashed, down)
            if address is None:
                break
            if command == "cas" and down and not self._router.is_home(hashed, address):
                return missing  # the number is one of another server
            seconds = self._router.expiry(hashed, address, expire) if down else expire
            try:
                answer: Answer = self._exchange.ask(
                    address, command, request, plain, sent, seconds
                )
            except SerdeError as error:
                raise error.own from None
            except FAILURES as error:
                last = error
                if self._goes_on(command, address, error):
                    down |= {address}
                elif address not in reset and _asks_again(command, error):
                    reset.add(address)
                else:
                    break
            except REFUSALS:
                if self._raises:
                    raise
                return missing
            else:
                return answer
        return self._give_up(missing, last)

    def _give_up(self, missing: Answer, error: Exception | None) -> Answer:
        if not self._raises:
            return missing
        if error is not None:
            raise error
        raise MemcacheError("all servers that the key could go to are down")

    # ---- Many keys

    def _prepare(self, keys: Iterable[Key]) -> Batch:
        return prepare(keys, self.key_prefix, self.allow_unicode_keys, self._hashes_prefix)

    def _run_many(
        self,
        command: str,
        batch: Batch,
        request: Callable[[str, list[int]], bytes],
        read: Callable[[Connection, list[int]], None],
    ) -> list[int]:
        """Ask all servers at once; go on with the next ones for what is left.

        request: returns the request to a server for some members of the batch.
        read: reads the answer to it.
        Returns the members that no server has answered.
        """
        down = self._down()
        reset: set[str] = set()
        lost: list[int] = []
        left: list[int] = [*range(len(batch.given))]
        last: Exception | None = None
        for _ in range(ASKED_MOST):
            groups = self._group(batch, left, down)
            lost += groups.pop(None, [])
            left = []
            for start in range(0, max(map(len, groups.values()), default=0), KEYS_AT_ONCE):
                some = {
                    address: members[start : start + KEYS_AT_ONCE]
                    for address, members in groups.items()
                    if address is not None and len(members) > start
                }
                for address, error in self._ask_all(command, some, request, read).items():
                    last = error
                    rest = groups.pop(address)[start:]
                    if self._goes_on(command, address, error):
                        down |= {address}
                        left += rest
                    elif address not in reset and _asks_again(command, error):
                        reset.add(address)
                        left += rest
                    else:
                        down |= {address}
                        lost += rest
            if not left:
                break
        lost += left
        if lost and self._raises:
            self._give_up(None, last)
        return lost

    def _ask_all(
        self,
        command: str,
        groups: Mapping[str, list[int]],
        request: Callable[[str, list[int]], bytes],
        read: Callable[[Connection, list[int]], None],
    ) -> dict[str, Exception]:
        """Return the errors of the servers; raise what the deserializer has raised."""
        try:
            return self._exchange.ask_all(command, groups, request, read)
        except SerdeError as error:
            raise error.own from None

    def _goes_on(self, command: str, address: str, error: Exception) -> bool:
        """Report an error of a server; return whether to ask the next one."""
        if not isinstance(error, FAILURES):
            return False
        return self._router.goes_on(address, command, error)

    def get_many(self, keys: Iterable[AnyKey], gets: bool = False) -> dict[AnyKey, Any]:
        """Return the values of those keys that have one.

        gets: return each value as (value, its unique number for `cas`).
        """
        batch = self._prepare(keys)
        values: dict[Any, Any] = {}
        command = b"gets " if gets else b"get "

        def request(_: str, members: list[int]) -> bytes:
            return command + b" ".join([batch.sent[member] for member in members]) + b"\r\n"

        def read(connection: Connection, members: list[int]) -> None:
            asked = {batch.sent[member]: batch.given[member] for member in members}
            values.update(connection.read_values(asked, gets))

        self._run_many("get", batch, request, read)
        return values

    get_multi = get_many

    def gets_many(self, keys: Iterable[AnyKey]) -> dict[AnyKey, tuple[Any, bytes]]:
        """Return the values of those keys that have one, with their unique numbers."""
        return self.get_many(keys, gets=True)

    gets_multi = gets_many

    def set_many(
        self,
        values: Mapping[AnyKey, Any],
        expire: int = 0,
        noreply: bool | None = None,
        flags: int | None = None,
    ) -> list[AnyKey]:
        """Store values for `expire` seconds, 0: for ever. Return the keys not stored.

        With noreply, keys that a server refuses are not noticed.
        """
        checked_expire(expire)
        batch = self._prepare(values)
        noreply = self.default_noreply if noreply is None else noreply
        data = [
            self._serialize(key, value, flags)
            for key, value in zip(batch.sent, values.values(), strict=True)
        ]
        refused: list[int] = []
        end = b" noreply\r\n" if noreply else b"\r\n"
        most = capped_expiry(expire, self._router.failover_ttl)

        def request(address: str, members: list[int]) -> bytes:
            away = self._away(batch, address, members)
            parts: list[bytes] = []
            for member in members:
                seconds = most if member in away else expire
                value, flag = data[member]
                head = b"set %b %d %d %d" % (batch.sent[member], flag, seconds, len(value))
                parts += (head, end, value, b"\r\n")
            return b"".join(parts)

        def read(connection: Connection, members: list[int]) -> None:
            if not noreply:
                lines = connection.read_lines(len(members), b"set")
                refused.extend(
                    m for m, line in zip(members, lines, strict=True) if line != b"STORED"
                )

        lost = self._run_many("set", batch, request, read)
        return [batch.given[member] for member in sorted((*lost, *refused))]

    set_multi = set_many

    def delete_many(self, keys: Iterable[Key], noreply: bool | None = None) -> bool:
        """Delete the values of keys. Return False if some could not be, else True."""
        batch = self._prepare(keys)
        noreply = self.default_noreply if noreply is None else noreply
        end = b" noreply\r\n" if noreply else b"\r\n"
        refused: list[bytes] = []

        def request(_: str, members: list[int]) -> bytes:
            return b"".join([b"delete " + batch.sent[member] + end for member in members])

        def read(connection: Connection, members: list[int]) -> None:
            if not noreply:
                lines = connection.read_lines(len(members), b"delete")
                refused.extend(line for line in lines if line not in DELETED)

        return not self._run_many("delete", batch, request, read) and not refused

    delete_multi = delete_many

    def _serialize(self, key: bytes, value: Any, flags: int | None) -> tuple[bytes, int]:
        data, flag = self._serde.serialize(key, value)
        if not isinstance(data, bytes):
            try:
                data = str(data).encode(self.encoding)
            except UnicodeEncodeError as error:
                raise MemcacheIllegalInputError(
                    f"Data values must be binary-safe: {error}"
                ) from error
        return data, checked_flags(flag if flags is None else flags)

    def _away(self, batch: Batch, address: str, members: list[int]) -> Collection[int]:
        """Return the members whose own server is another one than this."""
        own = self._continuum.lookup_many([batch.hashed[member] for member in members])
        return {m for m, home in zip(members, own, strict=True) if home != address}

    # ---- All servers

    def flush_all(self, delay: int = 0, noreply: bool | None = None) -> bool:
        """Remove the values of all servers. Return whether all have confirmed it."""
        return self._each(lambda connection: connection.flush_all(delay, noreply))

    def quit(self) -> None:
        """Close all connections that are idle."""
        self.close()

    def close(self) -> None:
        """Close all connections that are idle; the client can be used on."""
        self._pools.close()

    disconnect_all = close

    def __enter__(self: Self) -> Self:
        """Return the client; leaving the block closes its connections."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _each(self, request: Callable[[Connection], Any]) -> bool:
        """Send each server a request, whatever the others answer. Return whether all did."""
        last: Exception | None = None
        for address in dict.fromkeys(self._continuum.addresses):
            try:
                if not self._exchange.ask(address, "flush_all", request):
                    last = MemcacheUnknownError(f"{address} has not confirmed it")
            except FAILURES as error:
                self._router.failed(address, error, wrote=True)
                last = error
            except MemcacheError as error:
                last = error
        return self._give_up(False, last) if last is not None else True

    def add_server(self, *_: object) -> None:
        """Raise TypeError: the servers are those of the server file."""
        raise TypeError("this client follows its server file: edit that (`ketama add`)")

    remove_server = add_server


def _asks_again(command: str, error: Exception) -> bool:
    """Return whether to ask the same server once more, over a new connection."""
    return command in REPEATABLE and isinstance(error, RESETS) and not is_refused(error)
