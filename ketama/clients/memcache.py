"""A client of python-memcached for a fleet that changes; cachelib takes it as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import memcache

from ketama import Continuum, Path, Servers
from ketama.clients.memcache_host import FAILURES, Host
from ketama.clients.pools import Pools
from ketama.clients.routing import (
    ASKED_MOST,
    REPEATABLE,
    OnRejoin,
    Router,
    capped_expiry,
    is_reset,
)
from ketama.health import Liveness

if TYPE_CHECKING:
    from datetime import timedelta

# As python-memcached has it: a key, or what to hash instead of the key, and the key.
Key = str | bytes | tuple[str | bytes | int, str | bytes]
AnyKey = TypeVar("AnyKey", bound="Key | int")

# What a server answers that has no memory or no connection left: the keys are missing.
REFUSALS = (b"SERVER_ERROR", b"ERROR", b"CLIENT_ERROR")
# The answers to so many fit into a receive buffer while we are still sending.
KEYS_AT_ONCE = 1000
# All threads have the same slots of a threading.local. The other attributes are a thread's own,
# and so __init__ runs in each.
SHARED = ("_pools", "_router")
REPLACED = {"dead_retry": "liveness", "flush_on_reconnect": "on_rejoin='flush'"}


class Client(memcache.Client):
    """python-memcached's Client on a continuum: it follows the server file while it is in use.

    source: the path of a server file, which is followed; or servers as for Continuum; or a
        Continuum: pass it auto_roll=1.0, or call its roll(), for it to follow its file.
    failover, failover_ttl, on_rejoin, liveness: as for `ketama.clients.routing.Router`.
    max_pool_size: how many idle connections to each server are kept; None: all.
    socket_timeout: in seconds, for each step.

    The other options are python-memcached's, and so is what the methods return if no server
    can be asked: None, 0 or False, and {} for get_multi. set_multi returns all keys that were
    not stored. dead_retry and flush_on_reconnect are replaced by liveness and on_rejoin.

    What is sent is hashed: after key_encoder, and with key_prefix. Of a tuple, the first item
    is hashed; a number as decimal digits.

    Any number of threads may use one client, and so may forked children; all have the same
    continuum and connections. Only `stats` and `cas_ids` belong to a thread.

    Raises what Continuum and Liveness raise, and TypeError for an option that does not exist.
    """

    __slots__ = SHARED

    _pools: Pools[Host]
    _router: Router

    def __init__(
        self,
        source: Path | Servers | Continuum,
        *,
        failover: bool = True,
        failover_ttl: int = 60,
        on_rejoin: OnRejoin = "keep",
        liveness: Liveness | None = None,
        max_pool_size: int | None = None,
        socket_timeout: float = 3,
        **options: Any,
    ) -> None:
        for name in options.keys() & REPLACED.keys():
            raise TypeError(f"{name} has no effect here: use {REPLACED[name]}")
        self._chosen: Host | None = None
        super().__init__((), socket_timeout=socket_timeout, **options)
        if hasattr(self, "_router"):
            return
        self._router = Router(
            source,
            failover=failover,
            failover_ttl=failover_ttl,
            on_rejoin=on_rejoin,
            liveness=liveness,
            timeout=socket_timeout,
        )
        self._pools = Pools(lambda address: Host(address, socket_timeout), max_pool_size)

    if TYPE_CHECKING:  # python-memcached's, which has no types

        def get(self, key: Key, default: Any = None) -> Any: ...  # noqa: D102
        def gets(self, key: Key) -> Any: ...  # noqa: D102
        def set(  # noqa: D102
            self,
            key: Key,
            val: object,
            time: int | timedelta = 0,
            min_compress_len: int = 0,
            noreply: bool = False,
        ) -> int: ...
        def add(  # noqa: D102
            self,
            key: Key,
            val: object,
            time: int = 0,
            min_compress_len: int = 0,
            noreply: bool = False,
        ) -> int: ...

        replace = append = prepend = cas = add

        def incr(self, key: Key, delta: int = 1, noreply: bool = False) -> int | None: ...  # noqa: D102

        decr = incr

        def flush_all(self) -> None: ...  # noqa: D102
        def get_stats(  # noqa: D102
            self, stat_args: str | None = None
        ) -> list[tuple[str, dict[str, str]]]: ...

    @property
    def continuum(self) -> Continuum:
        """The continuum that says which server a key belongs to."""
        return self._router.continuum

    @property
    def liveness(self) -> Liveness:
        """What the processes of this user know about servers that are down."""
        return self._router.liveness

    @property
    def servers(self) -> list[Host]:
        """The servers, each with a connection of its own that is not made yet."""
        addresses = dict.fromkeys(self.continuum.addresses)
        return [Host(address, self.socket_timeout) for address in addresses]

    def set_servers(self, servers: Iterable[object]) -> None:
        """Raise TypeError: the servers are those of the server file."""
        if servers != ():
            raise TypeError("this client follows its server file: edit that (`ketama add`)")

    def disconnect_all(self) -> None:
        """Close all connections that are idle; the client can be used on."""
        self._pools.close()

    quit_all = disconnect_all

    # ---- Which server

    def _down(self) -> frozenset[str]:
        self._pools.keep(self.continuum.addresses)
        return self._router.down()

    def _take(self, address: str) -> Host:
        """Return a connection to a server, not one that the server has closed."""
        host, used = self._pools.take(address)
        while used and not host.is_idle():
            host.close()
            host, used = self._pools.take(address)
        return host

    def _group(
        self, keys: Mapping[bytes, bytes], some: Iterable[bytes], down: frozenset[str]
    ) -> dict[str | None, list[bytes]]:
        """Return the keys of each server; those of None cannot be sent to any.

        keys: what is hashed of each key.
        """
        some = [*some]
        hashed = [keys[key] for key in some]
        exclude = down if down and self._router.failover else None
        groups: dict[str | None, list[bytes]] = {}
        found = self.continuum.lookup_many(hashed, exclude=exclude)
        for key, address in zip(some, found, strict=True):
            groups.setdefault(None if address in down else address, []).append(key)
        return groups

    def _get_server(self, key: Key) -> tuple[Host | None, Any]:
        """Return the connection for the command that is running, and the key to send."""
        return self._chosen, key[1] if isinstance(key, tuple) else key

    def check_key(self, key: Any, key_extra_len: int = 0) -> None:
        """Raise MemcachedKeyError for a key that memcached would not take."""
        super().check_key(key, key_extra_len)
        if (key[1] if isinstance(key, tuple) else key)[-1:] == b"\n":  # missed there
            raise self.MemcachedKeyCharacterError(
                f"Control characters not allowed (key={key!r})"
            )

    # ---- One key

    def _run(
        self,
        command: str,
        key: Any,
        missing: Any,
        request: Callable[[int], Any],
        time: int = 0,
    ) -> Any:
        """Return the answer to a command for one key, from the first server that answers.

        missing: what to return if none does.
        request: carries out the command on the connection that was chosen, with a time to live.
        """
        key = self._encode_key(key)
        if self.do_check_key:
            self.check_key(key)
        hashed = _hashed(key)
        down = self._down()
        reset: set[str] = set()
        for _ in range(ASKED_MOST):
            address = self._router.server(hashed, down)
            if address is None:
                break
            if command == "cas" and down and not self._router.is_home(hashed, address):
                return missing  # the number is one of another server
            host = self._take(address)
            sent = host.connect()
            if sent:
                seconds = self._router.expiry(hashed, address, time) if down else time
                answer = self._ask(host, request, seconds)
            error = host.failure
            if error is None:
                self._pools.give(address, host)
                return answer
            if self._router.goes_on(address, command, error, sent=sent):
                down |= {address}
            elif command in REPEATABLE and address not in reset and is_reset(error):
                reset.add(address)
            else:
                break
        return missing

    def _ask(self, host: Host, request: Callable[[int], Any], seconds: int) -> Any:
        self._chosen = host
        try:
            return request(seconds)
        except BaseException:
            host.close()  # an answer may be on its way
            raise
        finally:
            self._chosen = None

    def _get(self, cmd: str, key: Any, default: Any = None) -> Any:
        plain = super()._get
        return self._run(cmd, key, None, lambda _: plain(cmd, key, default))

    def _set(
        self,
        cmd: str,
        key: Any,
        val: Any,
        time: int,
        min_compress_len: int = 0,
        noreply: bool = False,
    ) -> Any:
        plain = super()._set
        if self._chosen is not None:  # a cas that has become a set
            return plain(cmd, key, val, time, min_compress_len, noreply)
        # python-memcached makes a set of a cas for which it has no number.
        command = "set" if cmd == "cas" and _plain(key) not in self.cas_ids else cmd
        return self._run(
            command, key, 0, lambda s: plain(cmd, key, val, s, min_compress_len, noreply), time
        )

    def _incrdecr(self, cmd: str, key: Any, delta: int, noreply: bool = False) -> Any:
        plain = super()._incrdecr

        def request(_: int) -> Any:
            try:
                return plain(cmd, key, delta, noreply)
            except ValueError:
                if self._chosen is None or self._chosen.failure is None:
                    raise
                return None  # it took the end of the connection for a number

        return self._run(cmd, key, None, request)

    def touch(self, key: Key, time: int = 0, noreply: bool = False) -> int:
        """Set a key's time to live, in seconds. Return 1 if it has a value, else 0."""
        plain, sent = super().touch, self.key_encoder(key)
        return self._run("touch", sent, 0, lambda s: plain(key, s, noreply), time)  # type: ignore[no-any-return]

    def delete(self, key: Key, noreply: bool = False) -> int:
        """Delete a key's value. Return 1 if it had one, else 0."""
        plain, sent = super().delete, self.key_encoder(key)
        return self._run("delete", sent, 0, lambda _: plain(key, noreply))  # type: ignore[no-any-return]

    # ---- Many keys

    def _prepare(
        self, keys: Iterable[Any], key_prefix: str | bytes
    ) -> tuple[dict[bytes, bytes], dict[bytes, Any]]:
        """Return, by the keys as they are sent, what of them is hashed, and them as given."""
        prefix = self._encode_key(key_prefix)
        if prefix and self.do_check_key:
            self.check_key(prefix)
        hashed, given = {}, {}
        for key in keys:
            if key is None:
                self.check_key(None)
            whole = self._encode_key(self.key_encoder(key))
            plain = whole[1] if isinstance(whole, tuple) else whole
            if not isinstance(plain, bytes):
                plain = str(plain).encode()
            if self.do_check_key:
                self.check_key(plain, key_extra_len=len(prefix))
            sent = prefix + plain
            hashed[sent] = _hashed(whole) if isinstance(whole, tuple) else sent
            given[sent] = key
        return hashed, given

    def _run_many(
        self,
        command: str,
        keys: Mapping[bytes, bytes],
        request: Callable[[str, list[bytes]], bytes],
        read: Callable[[Host, list[bytes]], None],
    ) -> list[bytes]:
        """Ask all servers at once; go on with the next ones for what is left.

        keys: what is hashed of each key.
        request: returns the request to a server for some of the keys.
        read: reads the answer to it.
        Returns the keys that no server has answered.
        """
        self._statlog(f"{command}_multi")
        down = self._down()
        reset: set[str] = set()
        lost: list[bytes] = []
        rest = [*keys]
        while rest:
            left, rest = rest[:KEYS_AT_ONCE], rest[KEYS_AT_ONCE:]
            for _ in range(ASKED_MOST):
                groups = self._group(keys, left, down)
                lost += groups.pop(None, [])
                left = []
                for address, error in self._ask_all(groups, request, read).items():
                    if self._router.goes_on(address, command, error):
                        down |= {address}
                        left += groups[address]
                    elif address not in reset and is_reset(error):
                        reset.add(address)
                        left += groups[address]
                    else:
                        down |= {address}
                        lost += groups[address]
                if not left:
                    break
            lost += left
        return lost

    def _ask_all(
        self,
        groups: Mapping[str | None, list[bytes]],
        request: Callable[[str, list[bytes]], bytes],
        read: Callable[[Host, list[bytes]], None],
    ) -> dict[str, Exception]:
        """Send each server the request for its keys, then read all answers.

        Returns the errors of the servers that have not answered.
        """
        errors: dict[str, Exception] = {}
        asked: list[Host] = []
        try:
            for address in groups:
                assert address is not None  # noqa: S101
                asked.append(self._take(address))
                if asked[-1].connect():
                    _try(
                        asked[-1],
                        lambda host: host.send_cmds(request(host.server, groups[host.server])),
                    )
            while asked:
                host = asked[-1]
                if host.failure is None:
                    _try(host, lambda host: read(host, groups[host.server]))
                asked.pop()
                if host.failure is None:
                    self._pools.give(host.server, host)
                else:
                    errors[host.server] = host.failure
        finally:
            for host in asked:  # their answers are on their way
                host.close()
        return errors

    def get_multi(
        self, keys: Iterable[AnyKey], key_prefix: str | bytes = ""
    ) -> dict[AnyKey, Any]:
        """Return the values of those keys that have one.

        key_prefix: is put before each key on its way to the server, and hashed.
        """
        hashed, given = self._prepare(keys, key_prefix)
        values: dict[AnyKey, Any] = {}

        def request(_: str, members: list[bytes]) -> bytes:
            return b"get " + b" ".join(members) + b"\r\n"

        def read(host: Host, members: list[bytes]) -> None:
            while (line := host.readline(raise_exception=True)) != b"END":
                if line.startswith(REFUSALS):
                    host.close()  # the server answers, so it has not failed
                    return
                key, flags, size = self._expectvalue(host, line)
                if key not in given:
                    raise memcache._Error(line[:80])
                values[given[key]] = self._recv_value(host, flags, size)

        self._run_many("get", hashed, request, read)
        return values

    def set_multi(
        self,
        mapping: Mapping[AnyKey, object],
        time: int = 0,
        key_prefix: str | bytes = "",
        min_compress_len: int = 0,
        noreply: bool = False,
    ) -> list[AnyKey]:
        """Store values for `time` seconds, 0: for ever. Return the keys not stored.

        key_prefix: as for `get_multi`.
        With noreply, keys that a server refuses are not noticed.
        """
        hashed, given = self._prepare(mapping, key_prefix)
        data = {
            key: self._val_to_store_info(mapping[whole], min_compress_len)
            for key, whole in given.items()
        }
        stored = dict.fromkeys(given, False)
        most = capped_expiry(time, self._router.failover_ttl)

        def request(address: str, members: list[bytes]) -> bytes:
            own = self.continuum.lookup_many([hashed[key] for key in members])
            parts = []
            for key, home in zip(members, own, strict=True):
                flags, size, value = data[key]
                headers = f"{flags:d} {int(time if home == address else most)} {size:d}"
                parts.append(
                    self._encode_cmd("set", key, headers, noreply, b"\r\n", value, b"\r\n")
                )
            return b"".join(parts)

        def read(host: Host, members: list[bytes]) -> None:
            for key in members:
                line = b"STORED" if noreply else host.readline(raise_exception=True)
                stored[key] = line == b"STORED"

        sent = {key: hashed[key] for key, value in data.items() if value}
        for key in self._run_many("set", sent, request, read):
            stored[key] = False
        return [given[key] for key, good in stored.items() if not good]

    def delete_multi(
        self,
        keys: Iterable[Key | int],
        time: int | None = None,
        key_prefix: str | bytes = "",
        noreply: bool = False,
    ) -> int:
        """Delete the values of keys. Return 0 if a server could not be asked, else 1.

        key_prefix: as for `get_multi`. time: must be 0 or None for memcached of today.
        """
        hashed, _ = self._prepare(keys, key_prefix)
        headers = None if time is None else str(time)

        def request(_: str, members: list[bytes]) -> bytes:
            commands = [
                self._encode_cmd("delete", key, headers, noreply, b"\r\n") for key in members
            ]
            return b"".join(commands)

        def read(host: Host, members: list[bytes]) -> None:
            if not noreply:
                for _ in members:
                    host.readline(raise_exception=True)

        return int(not self._run_many("delete", hashed, request, read))


def _hashed(key: bytes | tuple[Any, Any]) -> bytes:
    """Return what of an encoded key is hashed."""
    if isinstance(key, tuple):
        key = key[0]
    return key if isinstance(key, bytes) else str(key).encode()


def _plain(key: Any) -> Any:
    """Return what of a key is sent."""
    plain = key[1] if isinstance(key, tuple) else key
    return plain.encode() if isinstance(plain, str) else plain


def _try(host: Host, request: Callable[[Host], object]) -> None:
    """Call request(host); if the server fails, let the connection say so."""
    try:
        request(host)
    except FAILURES as error:
        host.mark_dead(error)
