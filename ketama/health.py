"""Which servers are down: what one process learns, all processes of the user know.

Nothing here connects to a server. Clients report failures, ask which servers to avoid, and
make the probes that they are chosen for.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from socket import gaierror, herror
from time import CLOCK_MONOTONIC, clock_gettime
from typing import Any, NamedTuple

from ketama._ketama import ffi, lib
from ketama.events import logger

# Made here: a process without descriptors, which has something to log, can import nothing.

COUNT_MAX = 63
SECONDS_MAX = 86400
STATES = {
    lib.KETAMA_HEALTH_UP: "up",
    lib.KETAMA_HEALTH_SUSPECT: "suspect",
    lib.KETAMA_HEALTH_DOWN: "down",
}
# What says nothing about the server: the process or its machine lacks something.
OWN_ERRNOS = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,
        errno.ENETDOWN,
        errno.EACCES,
        errno.EPERM,
    }
)
# Nobody listens. ENOENT: the path of a unix socket.
HARD_ERRNOS = frozenset({errno.ECONNREFUSED, errno.ENOENT})


class Probe(NamedTuple):
    """A probe that the caller has to make: try whether a server answers.

    address: the server's.
    down_for: seconds since it went down; 0.0 if unknown.
    last: if this one is good, the server is up; else more good ones are needed.
    claim: what `probed` needs to know.
    """

    address: str
    down_for: float
    last: bool
    claim: Any


class ServerState(NamedTuple):
    """What the table has of a server.

    address: the server's; the first 103 bytes of one that is longer; "" if unknown.
    state: "up"; "suspect": reported within the window, but not often enough; "down".
    failures: suspect: how many were reported in the window; else 0.
    good_probes: down: how many there were in sequence; else 0.
    since: down: for how many seconds; up or suspect: how many seconds ago it came back. 0.0 if
        unknown, or if it was not down.
    due: down: seconds until the next probe is due; 0.0 if it is, or not down.
    interval: down: seconds between the latest probe and the next; else 0.0.
    """

    address: str
    state: str
    failures: int
    good_probes: int
    since: float
    due: float
    interval: float


# What was answered last: for which addresses; the table's count of changes, before it was
# asked, and where it is now; the answer; when the next probe is due, and the addresses for C.
_Known = tuple[
    "tuple[str, ...] | None", int, memoryview, frozenset[str], float, "tuple[Any, Any]"
]
NONE: frozenset[str] = frozenset()
NEVER = float("inf")
NO_PROBE = 2**63 - 1


def is_local(error: BaseException) -> bool:
    """Return whether this process lacks descriptors, memory, ports or permission."""
    return isinstance(error, OSError) and error.errno in OWN_ERRNOS


def is_own(error: BaseException) -> bool:
    """Return whether an error says nothing about the server.

    It was cancelled, as is anything that is no Exception; or the process has no descriptors,
    memory, ports or permission; or a name was not resolved.
    """
    if not isinstance(error, Exception) or isinstance(error, (MemoryError, gaierror, herror)):
        return True
    return is_local(error)


class Liveness:
    """Which servers are down, shared by all processes of this user.

    failures: how many reports within the window take a server down, 1 to 63.
    window: seconds, as are all times; from 0.001 to 86400.
    interval: until the first probe; it doubles with each probe that fails.
    interval_max: the longest one.
    probes: how many good ones in sequence it takes until a server is up, 1 to 63.
    calm: if a server goes down again within that time, the intervals go on from where they
        were.
    probe_timeout: the longest that a probe takes; nobody else begins one meanwhile.
    shared: False: known to this process and to children forked later only.
    create: False: if there is no table, do not make one; for programs that only read.

    All processes should use the same options: the strictest take a server down for all. Their
    clients should have the same on_rejoin: the one that makes the last probe decides.
    If the shared table cannot be used (no space, no permission, no folder), a private one is
    used; `shared` tells. Any number of threads may use one object, and so may forked children.

    Raises TypeError or ValueError for an option of the wrong type, or out of range.
    """

    __slots__ = ("__weakref__", "_health", "_known")

    _health: Any
    _known: _Known

    def __init__(
        self,
        *,
        failures: int = 2,
        window: float = 10.0,
        interval: float = 1.0,
        interval_max: float = 60.0,
        probes: int = 2,
        calm: float = 60.0,
        probe_timeout: float = 5.0,
        shared: bool = True,
        create: bool = True,
    ) -> None:
        options = ffi.new("ketama_health_options *")
        options.size = ffi.sizeof("ketama_health_options")
        options.failures = _count("failures", failures)
        options.probes = _count("probes", probes)
        options.window_ns = _nanoseconds("window", window)
        options.interval_ns = _nanoseconds("interval", interval)
        options.interval_max_ns = _nanoseconds("interval_max", interval_max)
        options.calm_ns = _nanoseconds("calm", calm)
        options.probe_ns = _nanoseconds("probe_timeout", probe_timeout)
        if not shared:
            options.flags |= lib.KETAMA_HEALTH_PRIVATE
        if not create:
            options.flags |= lib.KETAMA_HEALTH_EXISTING
        out = ffi.new("ketama_health **")
        if lib.ketama_health_open(out, options) < 0:
            raise MemoryError  # its only reason: the options are valid
        self._health = ffi.gc(out[0], lib.ketama_health_close)
        self._known = None, 0, memoryview(b""), NONE, NEVER, (ffi.NULL, ())

    @property
    def shared(self) -> bool:
        """Whether other processes see what this one reports."""
        return bool(lib.ketama_health_is_shared(self._health))

    def down(self, addresses: tuple[str, ...]) -> frozenset[str]:
        """Return those of the addresses that must not be asked now.

        addresses: all servers of a continuum. The same tuple object as last time is fast.
        Returns the same object as long as nothing has changed. Empty if more than half of the
        addresses are down: then it is rather this machine's network that failed.
        """
        # No call of C: one would take longer than all of this.
        seen, count, changes, down, _, _ = self._known
        if seen is addresses and changes[0] == count:
            return down
        return self._ask(addresses)[3]

    def claim(self, addresses: tuple[str, ...]) -> Probe | None:
        """Return a probe for the caller to make, or None if none of the addresses needs one.

        addresses: as for `down`.
        The next probe of that server is postponed at once, so nobody else makes this one, and
        nothing is lost if the caller is killed. Report the outcome with `probed`.
        """
        seen, count, changes, _, due, _ = self._known
        if (
            seen is addresses
            and changes[0] == count
            and (due == NEVER or clock_gettime(CLOCK_MONOTONIC) < due)
        ):
            return None
        *_, due, (keys, _) = self._ask(addresses)
        if due == NEVER:
            return None
        claim = ffi.new("ketama_probe *")
        if not lib.ketama_health_claim(self._health, keys, len(addresses), claim):
            return None
        return Probe(addresses[claim.address], claim.down_for_ns / 1e9, bool(claim.last), claim)

    def failed(self, address: str, error: BaseException, *, hard: bool = False) -> bool:
        """Report that a server failed; return whether this report took it down.

        error: what was raised. Ignored if it says nothing about the server, such as EMFILE or
            a cancellation. A refused connection, or a unix socket that does not exist, takes
            the server down at once; others do after `failures` reports within `window`.
        hard: one such report is enough.
        """
        if is_own(error):
            return False
        if isinstance(error, OSError) and error.errno in HARD_ERRNOS:
            hard = True
        data = address.encode()
        if not lib.ketama_health_failed(self._health, data, len(data), hard):
            return False
        reason = str(error) or type(error).__name__
        logger.warning("server %s is down: %s", address, reason)
        return True

    def probed(self, probe: Probe, error: BaseException | None) -> None:
        """Report the outcome of a probe.

        error: what was raised; None: the server answered. An error that says nothing about
            the server is ignored, and the next probe is due as if this one had failed.
        """
        if error is not None and is_own(error):
            return
        if not lib.ketama_health_probed(self._health, probe.claim, error is None):
            return
        logger.info("server %s is up again, after %.1f s", probe.address, probe.down_for)

    def servers(self, addresses: Iterable[str] | None = None) -> list[ServerState]:
        """Return what is known of servers: of each address, or of all that the table has.

        Those of which nothing is worth knowing, because they have been up for a while, are not
        in the table.
        """
        row = ffi.new("ketama_health_server *")
        found = []
        if addresses is None:
            position = ffi.new("uint32_t *")
            while lib.ketama_health_next(self._health, position, row):
                found.append(_state(row, ffi.string(row.address).decode(errors="replace")))
            return sorted(found)
        for address in addresses:
            data = address.encode()
            lib.ketama_health_get(self._health, data, len(data), row)
            found.append(_state(row, address))
        return found

    def _ask(self, addresses: tuple[str, ...]) -> _Known:
        """Ask the table, and remember the answer."""
        seen, _, _, before, _, arguments = self._known
        changes = memoryview(ffi.buffer(lib.health_changes(self._health), 4)).cast("I")
        count = changes[0]  # before the question, so that no later change is missed
        if seen != addresses:
            arguments = _keys(addresses)
        watch = ffi.new("ketama_health_watch *")
        indexes = ffi.new("uint32_t[]", len(addresses))
        found = lib.ketama_health_down(
            self._health, arguments[0], len(addresses), indexes, watch
        )
        down = frozenset(addresses[i] for i in ffi.unpack(indexes, found)) if found else NONE
        if down == before:
            down = before  # the same object, on which callers rely
        due = NEVER if watch.due_ns == NO_PROBE else watch.due_ns / 1e9
        self._known = known = addresses, count, changes, down, due, arguments
        return known


def _keys(addresses: tuple[str, ...]) -> tuple[Any, Any]:
    """Return the addresses for C, and what must be kept alive for them."""
    kept_alive = [ffi.from_buffer(address.encode()) for address in addresses]
    return ffi.new("ketama_key[]", [(data, len(data)) for data in kept_alive]), kept_alive


def _count(name: str, value: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if not 1 <= value <= COUNT_MAX:
        raise ValueError(f"invalid {name} {value}: must be from 1 to {COUNT_MAX}")
    return value


def _nanoseconds(name: str, seconds: float) -> int:
    if not hasattr(seconds, "__float__"):
        raise TypeError(f"{name} must be seconds, a number, not {type(seconds).__name__}")
    if not 0.001 <= seconds <= SECONDS_MAX:
        raise ValueError(
            f"invalid {name} {seconds!r}: must be seconds, from 0.001 to {SECONDS_MAX}"
        )
    return round(seconds * 1e9)


def _state(row: Any, address: str) -> ServerState:
    return ServerState(
        address,
        STATES[row.state],
        row.count if row.state == lib.KETAMA_HEALTH_SUSPECT else 0,
        row.count if row.state == lib.KETAMA_HEALTH_DOWN else 0,
        row.since_ns / 1e9,
        row.due_ns / 1e9,
        row.interval_ns / 1e9,
    )
