"""Where a client sends a key: to its server, or past those that are down."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ketama import Continuum, Key, Path, Servers
from ketama.clients import probe
from ketama.health import Liveness, Probe, is_own

OnError = Literal["raise", "miss"]
OnRejoin = Literal["keep", "flush"]

# Memcached takes a larger time to live for a point in time, in seconds since 1970.
MONTH = 30 * 24 * 60 * 60
FOLLOW_S = 1.0
# How many servers an operation asks for a key: its own and two others. If most servers hang,
# each costs a timeout. Those that are known to be down do not count.
ASKED_MOST = 3
# What stores and deletes nothing: a server that did not answer has missed nothing by it.
READS = frozenset({"get", "gets", "gat", "gats", "stats", "version"})
# A command that has the same effect if it is carried out twice.
REPEATABLE = frozenset({"get", "gets", "gat", "gats", "set", "delete", "touch"})


def continuum_of(source: Path | Servers | Continuum, **options: Any) -> Continuum:
    """Return the continuum that a client was given, or that of its server file.

    A file is followed, and a client that starts while it is invalid uses the last valid
    version. options: others of Continuum.
    """
    if isinstance(source, Continuum):
        return source
    if isinstance(source, (str, bytes, os.PathLike)):
        options = {"auto_roll": FOLLOW_S, "fallback": True, **options}
    else:
        options = {**options, "auto_roll": None}  # a list cannot change
    return Continuum(source, **options)


def one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    """Return an option's value; raise ValueError if it is not one of those allowed."""
    if value not in allowed:
        raise ValueError(f"invalid {name} {value!r}: must be one of {', '.join(allowed)}")
    return value


def capped_expiry(seconds: int, most: int) -> int:
    """Return the time to live of a value that is stored on another server than its own.

    seconds: as memcached reads it: 0 is for ever, more than 30 days a point in time.
    most: at most this many seconds, 1 to 30 days.
    """
    if seconds > MONTH:
        return min(seconds, int(time.time()) + most)
    return most if seconds == 0 else min(seconds, most)


class Router:
    """Sends each key to its server, or to the next one that is not down.

    source: the path of a server file, which is followed; or servers; or a Continuum, which is
        followed if it has auto_roll, such as auto_roll=1.0, or whenever you call its roll().
    failover: send the keys of a server that is down to the next distinct servers. False:
        its keys are errors, or misses.
    failover_ttl: the longest time to live of a value on such another server, in seconds, 1
        to 30 days: when its own server is back, the value is out of date.
    on_rejoin: "keep" what a server has when it is back, or "flush" it unless the server was
        restarted: it missed what was written meanwhile. The process that makes the last probe
        decides, so use the same in all.
    liveness: a `Liveness`; None: the one of this user's processes, with its defaults.
    timeout: of a probe, in seconds.
    uptime, flush: how to ask a server how many seconds it has been up, and to flush it;
        called with its address and the timeout.
    """

    def __init__(
        self,
        source: Path | Servers | Continuum,
        *,
        auto_roll: float | None = FOLLOW_S,
        failover: bool = True,
        failover_ttl: int = 60,
        on_rejoin: OnRejoin = "keep",
        liveness: Liveness | None = None,
        timeout: float = 1.0,
        uptime: Callable[[str, float], float] = probe.uptime,
        flush: Callable[[str, float], None] = probe.flush,
    ) -> None:
        one_of("on_rejoin", on_rejoin, ("keep", "flush"))
        if not 1 <= failover_ttl <= MONTH:
            raise ValueError(
                f"invalid failover_ttl {failover_ttl!r}: must be 1 to {MONTH} seconds"
            )
        self.continuum = continuum_of(source, auto_roll=auto_roll)
        self.failover = failover
        self.failover_ttl = failover_ttl
        self.on_rejoin = on_rejoin
        self.liveness = Liveness() if liveness is None else liveness
        self.timeout = timeout
        self._uptime = uptime
        self._flush = flush

    def down(self, addresses: tuple[str, ...] | None = None) -> frozenset[str]:
        """Return the servers that must not be asked now; probe one of them if that is due.

        The probe is this caller's only if no other process of the user has taken it.
        addresses: those of the continuum, if the caller has them.
        """
        if addresses is None:
            addresses = self.continuum.addresses
        due = self.liveness.claim(addresses)
        if due is not None:
            self.probe(due)
        return self.liveness.down(addresses)

    def server(self, hashed: Key, down: frozenset[str]) -> str | None:
        """Return the server that a key is sent to, or None if it cannot be sent to any.

        hashed: what of the key is hashed.
        down: the servers that must not be asked, of `down` or in this operation.
        """
        if not down:
            return self.continuum.lookup(hashed)
        address = self.continuum.lookup(hashed, exclude=down if self.failover else None)
        return None if address in down else address

    def probe(self, due: Probe) -> None:
        """Ask a server that is down whether it is back, and let it rejoin."""
        try:
            up_for = self._uptime(due.address, self.timeout)
            if due.last and self.flushes(up_for, due):
                self._flush(due.address, self.timeout)
        except OSError as error:
            self.liveness.probed(due, error)
        else:
            self.liveness.probed(due, None)

    def flushes(self, up_for: float, due: Probe) -> bool:
        """Return whether to flush a server that is back and has been up for so many seconds."""
        return self.on_rejoin == "flush" and not probe.was_restarted(up_for, due.down_for)

    def failed(self, address: str, error: BaseException, *, wrote: bool = False) -> bool:
        """Report that a server did not answer; return whether it is down because of that.

        wrote: the request was to change something. What another server is told from now on,
        this one misses: if it is to be flushed for that, it must count as down at once.
        """
        return self.liveness.failed(address, error, hard=wrote and self.on_rejoin == "flush")

    def goes_on(
        self, address: str, command: str, error: BaseException, *, sent: bool = True
    ) -> bool:
        """Report that a server did not answer; return whether to ask the next one.

        sent: as for `may_repeat`.
        """
        reads = command in READS
        self.failed(address, error, wrote=not reads)
        return (
            self.failover
            and may_repeat(command, error, sent=sent)
            and self.passes_over(address, error, reads=reads)
        )

    def passes_over(self, address: str, error: BaseException, *, reads: bool) -> bool:
        """Return whether a server that did not answer may be passed over for the next one.

        reads: the command changes nothing. A write that another server gets is lost if this one
        is still in use, so this one must be down for all processes, or refuse connections.
        """
        if is_own(error):
            return False
        return (
            reads
            or is_refused(error)
            or address in self.liveness.down(self.continuum.addresses)
        )

    def is_home(self, key: Key, address: str) -> bool:
        """Return whether a server is a key's own."""
        return self.continuum.lookup(key) == address

    def expiry(self, key: Key, address: str, seconds: int) -> int:
        """Return the time to live of a key's value on the server that it is sent to."""
        if self.is_home(key, address):
            return seconds
        return capped_expiry(seconds, self.failover_ttl)


def is_refused(error: BaseException) -> bool:
    """Return whether nothing listens at the address, or the address is invalid."""
    return isinstance(
        error, (ConnectionRefusedError, FileNotFoundError, probe.InvalidAddressError)
    )


def is_reset(error: BaseException) -> bool:
    """Return whether a connection was reset, as by a server that was killed or restarted.

    A command that may be repeated is sent to the same server once more: over a new connection
    it is carried out, or refused.
    """
    return isinstance(error, ConnectionError) and not is_refused(error)


def may_repeat(command: str, error: BaseException, *, sent: bool = True) -> bool:
    """Return whether a command that failed may be sent to another server.

    sent: False if the server has certainly not got it, such as after a refused connection.

    After any other error, the server may have carried out the command, or may still do so.
    If this process lacks descriptors, memory or DNS, the key's server goes on to serve others,
    which would not see what another one was told.
    """
    if is_own(error):
        return False
    return is_refused(error) or not sent or command in REPEATABLE
