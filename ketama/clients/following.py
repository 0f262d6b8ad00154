"""Follow a server file, and route keys past servers that are down, in an event loop.

What may take long is not done in the loop: the file is checked, read and built in a thread.
Lookups use the version that is there. A probe of a server that is down is a task of its own.
The exception is a report that a server failed, which waits for up to 0.2 seconds if another
process is just creating the table of liveness.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ketama import Continuum, KetamaError, Key, Path, Servers
from ketama.clients.routing import (
    ASKED_MOST,
    FOLLOW_S,
    READS,
    REPEATABLE,
    OnError,
    OnRejoin,
    Router,
    capped_expiry,
    may_repeat,
    one_of,
)
from ketama.health import Liveness, Probe

Answer = TypeVar("Answer")
AnyKey = TypeVar("AnyKey", bound=Key)

# What says that a server cannot be reached, or does not answer.
FAILURES = (OSError, EOFError, asyncio.TimeoutError)
# Of these, what an idle connection says after its server was restarted.
RESETS = (ConnectionError, EOFError)
# What is sent to the same server once more after a reset.
SENT_AGAIN = REPEATABLE | {"stats", "version", "flush_all"}


class Busy(asyncio.TimeoutError):
    """No connection to a server was free in time, which says nothing new about it."""


class SharedTimeoutError(TimeoutError):
    """Another request on the connection was not answered in time, and is reported."""


class Next(enum.Enum):
    """What to do with a request that failed."""

    AGAIN = enum.auto()  # ask the same server once more
    ELSEWHERE = enum.auto()  # ask the next server
    NOWHERE = enum.auto()


class AsyncServer(Protocol):
    """The connections to one server."""

    async def uptime(self) -> float:
        """Return for how many seconds it has been up; over a new connection."""

    async def flush(self) -> None:
        """Remove all its items; over a new connection."""

    def drop(self) -> None:
        """Close idle connections."""

    def turn_away(self) -> None:
        """Let the requests that wait for a connection raise Busy."""

    def tidy(self) -> None:
        """Close connections that have been idle for too long. Called once a second."""

    def close(self) -> None:
        """Close idle connections now, and the others as soon as they are given back."""


S = TypeVar("S", bound=AsyncServer)


@dataclass(frozen=True)
class Request(Generic[AnyKey]):
    """What is sent to one server: keys, and the time to live that they get, in seconds."""

    address: str
    keys: Sequence[AnyKey]
    expiry: int


class Following(Generic[S]):
    """Which server each key goes to, and the connections to all of them.

    source: the path of a server file, or a Continuum of one, or servers. A task of the
        running event loop follows the file. A Continuum must not have auto_roll, with which
        lookups would check the file in the event loop.
    make: returns the connections to an address; none is made yet.
    refused: the errors that say that a server could not do what it was asked, in a probe.
    is_refusal: returns whether an error is an answer that begins with ERROR or SERVER_ERROR,
        which is a miss unless misses are errors, and says nothing about other requests.
    unavailable: the error to raise if there is no server to ask; called with a text.
    cause: returns the error that says what happened to the connection.
    The others are as for `Router`.

    Begins when it is first used, in the event loop that runs then. When that loop cancels its
    tasks, as asyncio.run does at its end, all connections are closed, and another loop may
    use it. Raises RuntimeError if two loops use it at the same time.
    """

    def __init__(
        self,
        source: Path | Servers | Continuum,
        make: Callable[[str], S],
        *,
        failover: bool,
        failover_ttl: int,
        on_rejoin: OnRejoin,
        on_error: OnError,
        liveness: Liveness | None,
        refused: tuple[type[Exception], ...],
        is_refusal: Callable[[BaseException], bool],
        unavailable: Callable[[str], Exception],
        cause: Callable[[Exception], Exception] = lambda error: error,
    ) -> None:
        one_of("on_error", on_error, ("raise", "miss"))
        if isinstance(source, Continuum) and source._options[1] is not None:
            raise ValueError(
                "invalid source: the Continuum has auto_roll, so lookups would check the file "
                "in the event loop; pass one without, which is followed in the background"
            )
        self.router = Router(
            source,
            auto_roll=None,
            failover=failover,
            failover_ttl=failover_ttl,
            on_rejoin=on_rejoin,
            liveness=liveness,
        )
        self.raises = on_error == "raise"
        self.continuum = self.router.continuum
        self._make = make
        self._not_up: tuple[type[Exception], ...] = (*FAILURES, *refused)
        self._is_refusal = is_refusal
        self._unavailable = unavailable
        self._cause = cause
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._addresses: tuple[str, ...] = ()
        self._servers: dict[str, S] = {}
        self._probes: set[asyncio.Task[None]] = set()

    # ---- The event loop

    def begin(self) -> None:
        """Follow the file in the running event loop, if that has not begun."""
        loop = asyncio.get_running_loop()
        if loop is self._loop and self._task is not None and not self._task.done():
            return
        if self._loop is not None and loop is not self._loop and not self._loop.is_closed():
            raise RuntimeError(
                "this client is in use in another event loop: close it there first, or make "
                "a client for each loop"
            )
        ended = self._task if loop is self._loop else None
        self._loop, self._servers, self._probes = loop, {}, set()
        self._task = loop.create_task(_follow(weakref.ref(self), self._servers))
        if ended is not None and not ended.cancelled():
            ended.result()  # raises what the continuum's on_change or on_error has raised

    def stop(self) -> asyncio.Task[None] | None:
        """Close all connections, and end the tasks; return the one that has to be awaited."""
        task, loop = self._task, self._loop
        self._task = self._loop = None
        if loop is None or loop.is_closed():
            return None
        for probe in self._probes:
            probe.cancel()
        close_all(self._servers)
        if task is not None:
            task.cancel()
        return task

    async def close(self) -> None:
        """Close all connections, and end the tasks."""
        task = self.stop()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0)  # connections are closed after this step of the loop

    # ---- Servers

    def server(self, address: str) -> S:
        """Return the connections to a server."""
        server = self._servers.get(address)
        if server is None:
            server = self._servers[address] = self._make(address)
            if self._loop is None:  # closed while the request was under way
                server.close()
        return server

    def in_use(self) -> list[S]:
        """Return the connections to each server that was asked."""
        return [*self._servers.values()]

    def keep_current(self) -> None:
        """Close the connections to servers that the file no longer lists; tidy the others."""
        addresses = self.continuum.addresses
        if addresses is not self._addresses:
            self._addresses = addresses
            for address in self._servers.keys() - {*addresses}:
                self._servers.pop(address).close()
        for server in self._servers.values():
            server.tidy()

    def down(self) -> frozenset[str]:
        """Return the servers that must not be asked now; begin a probe if one is due."""
        self.begin()
        addresses = self.continuum.addresses
        liveness = self.router.liveness
        due = liveness.claim(addresses)
        if due is not None:
            probe = asyncio.get_running_loop().create_task(self._probe(due))
            self._probes.add(probe)
            probe.add_done_callback(self._probes.discard)
        return liveness.down(addresses)

    async def _probe(self, due: Probe) -> None:
        server = self.server(due.address)
        try:
            up_for = await server.uptime()
            if due.last and self.router.flushes(up_for, due):
                await server.flush()
        except self._not_up as error:
            self.router.liveness.probed(due, self._cause(error))
        else:
            self.router.liveness.probed(due, None)

    def _failed(self, address: str, command: str, error: Exception) -> None:
        """Report that a server did not answer."""
        went_down = self.router.failed(address, error, wrote=command not in READS)
        server = self._servers.get(address)  # None: removed meanwhile
        if went_down and server is not None:
            server.drop()
            if address in self.down_now():  # else it is asked on, as are all
                server.turn_away()

    def _failed_at(self, address: str, command: str, error: Exception, again: bool) -> Next:
        """Report an error of a server, and return what to do with the request.

        again: whether it was sent there once more, after a reset.
        """
        if isinstance(error, Busy):
            # The requests that use the connections may have found out that it hangs.
            goes_on = self.router.failover and address in self.down_now()
            return Next.ELSEWHERE if goes_on else Next.NOWHERE
        cause = self._cause(error)
        refused = isinstance(cause, ConnectionRefusedError)
        if isinstance(cause, RESETS) and not refused and command in SENT_AGAIN:
            if address in self._servers:
                self._servers[address].drop()
            if not again:
                return Next.AGAIN
        if not isinstance(cause, SharedTimeoutError):
            self._failed(address, command, cause)
        goes_on = (
            self.router.failover
            and may_repeat(command, cause)
            and self.router.passes_over(address, cause, reads=command in READS)
        )
        return Next.ELSEWHERE if goes_on else Next.NOWHERE

    def down_now(self) -> frozenset[str]:
        """Return the servers that must not be asked now."""
        return self.router.liveness.down(self.continuum.addresses)

    # ---- Operations

    async def run(
        self,
        command: str,
        key: Key,
        ask: Callable[[S, int], Awaitable[Answer]],
        missing: Answer,
        expiry: int | None = None,
    ) -> Answer:
        """Return the answer to a command for one key, from the first server that answers.

        ask: called with a server and the value's time to live.
        missing: what to return if no server answers, unless that is an error.
        """
        down = self.down()
        reset: set[str] = set()
        last: Exception | None = None
        for _ in range(ASKED_MOST):
            address = self.router.server(key, down)
            if address is None:
                break
            if command == "cas" and down and not self.router.is_home(key, address):
                return missing  # its number is another one's there
            seconds = expiry or 0
            if down and expiry is not None:
                seconds = self.router.expiry(key, address, expiry)
            try:
                return await ask(self.server(address), seconds)
            except FAILURES as error:
                last = error
                follows = self._failed_at(address, command, error, address in reset)
                if follows is Next.NOWHERE:
                    break
                if follows is Next.AGAIN:
                    reset.add(address)
                else:
                    down |= {address}
            except Exception as error:
                if self.raises or not self._is_refusal(error):
                    raise
                return missing
        return self._give_up(missing, last)

    async def run_many(
        self,
        command: str,
        keys: Iterable[AnyKey],
        ask: Callable[[S, Sequence[AnyKey], int], Awaitable[Answer]],
        expiry: int | None = None,
    ) -> list[Answer]:
        """Ask all servers at once, each for its keys; return their answers.

        Go on with the next ones for keys of a server that does not answer.

        ask: called with a server, its keys and their time to live.
        """
        down = self.down()
        reset: set[str] = set()
        answers: list[Answer] = []
        left: Sequence[AnyKey] = [*keys]
        failed: Exception | None = None
        for _ in range(ASKED_MOST):
            if not left:
                return answers
            requests, lost = self._requests(left, down, expiry)
            if lost:
                self._give_up(None, None)
            left, last = [], None
            # Not those of this round: a server may get two requests in it.
            asked_again = frozenset(reset)
            outcomes = await all_outcomes(
                [ask(self.server(r.address), r.keys, r.expiry) for r in requests]
            )
            for request, outcome in zip(requests, outcomes, strict=True):
                address = request.address
                if not isinstance(outcome, BaseException):
                    answers.append(outcome)
                elif not isinstance(outcome, FAILURES):
                    if self.raises or not self._is_refusal(outcome):
                        raise outcome
                else:
                    again, failed = address in asked_again, outcome
                    follows = self._failed_at(address, command, outcome, again)
                    if follows is Next.NOWHERE:
                        last = outcome
                        continue
                    left = [*left, *request.keys]
                    if follows is Next.AGAIN:
                        reset.add(address)
                    else:
                        down |= {address}
            if last is not None:
                self._give_up(None, last)
        if left:
            self._give_up(None, failed)
        return answers

    def _requests(
        self, keys: Sequence[AnyKey], down: frozenset[str], expiry: int | None
    ) -> tuple[list[Request[AnyKey]], list[AnyKey]]:
        """Return what to send to each server, and the keys that cannot be sent to any."""
        if not down:
            groups = self.continuum.group_by_server(keys)
            return [Request(a, some, expiry or 0) for a, some in groups.items()], []
        requests, lost = [], []
        exclude = down if self.router.failover else frozenset[str]()
        away = set[AnyKey]()
        if expiry is not None:
            own = self.continuum.lookup_many(keys)
            away = {key for key, home in zip(keys, own, strict=True) if home in down}
        for address, some in self.continuum.group_by_server(keys, exclude=exclude).items():
            if address is None or address in down:
                lost += some
                continue
            at_home = [key for key in some if key not in away]
            moved = [key for key in some if key in away]
            if at_home:
                requests.append(Request(address, at_home, expiry or 0))
            if moved:
                seconds = capped_expiry(expiry or 0, self.router.failover_ttl)
                requests.append(Request(address, moved, seconds))
        return requests, lost

    async def run_all(
        self, command: str, ask: Callable[[S], Awaitable[Answer]]
    ) -> dict[str, Answer]:
        """Ask all servers of the file at once; return the answers by address.

        Without those of servers that do not answer, unless that is an error.
        """

        async def ask_one(address: str) -> Answer:
            again = False
            while True:
                try:
                    return await ask(self.server(address))
                except FAILURES as error:
                    follows = self._failed_at(address, command, error, again)
                    if follows is not Next.AGAIN:
                        raise
                    again = True

        self.begin()
        addresses = dict.fromkeys(self.continuum.addresses)
        answers = {}
        outcomes = await all_outcomes([ask_one(address) for address in addresses])
        for address, outcome in zip(addresses, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                answers[address] = outcome
            elif isinstance(outcome, FAILURES):
                self._give_up(None, outcome)
            elif self.raises or not self._is_refusal(outcome):
                raise outcome
        return answers

    def _give_up(self, missing: Answer, error: Exception | None) -> Answer:
        if not self.raises:
            return missing
        if error is not None:
            raise error
        raise self._unavailable(
            "no server can be asked: all that this key could go to are down"
        )


def close_all(servers: dict[str, S]) -> None:
    """Close the connections to all servers."""
    while servers:
        servers.popitem()[1].close()


async def _follow(reference: weakref.ref[Following[S]], servers: dict[str, S]) -> None:
    """Follow the file until the client is closed or deleted, or the loop ends."""
    try:
        while True:
            await asyncio.sleep(FOLLOW_S)
            following = reference()
            if following is None:
                return
            continuum = following.continuum
            del following  # no reference while waiting: else it would never be deleted
            if continuum.filename is not None:
                await _in_thread(continuum.roll)
            following = reference()
            if following is None:
                return
            following.keep_current()
            del following
    finally:
        close_all(servers)


async def _in_thread(roll: Callable[[], object]) -> None:
    """Roll in a thread, for which neither the event loop nor the interpreter waits at its end.

    asyncio.to_thread would wait: for ever, if a file system hangs.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        caught: BaseException | None = None
        try:
            with contextlib.suppress(KetamaError, MemoryError):  # last_error has it
                roll()
        except BaseException as error:  # noqa: BLE001 - passed on to the event loop
            caught = error
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, caught)

    threading.Thread(target=run, name="ketama-roll", daemon=True).start()
    await done


async def all_outcomes(
    awaitables: Sequence[Awaitable[Answer]],
) -> Sequence[Answer | BaseException]:
    """Await all at once; return the results, or what was raised."""
    if len(awaitables) == 1:  # no task is needed
        try:
            return [await awaitables[0]]
        except Exception as error:  # noqa: BLE001 - the caller raises it, as below
            return [error]
    return await asyncio.gather(*awaitables, return_exceptions=True)
