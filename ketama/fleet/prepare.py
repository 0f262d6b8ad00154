"""Switch all machines at once: first let each one check the new list and connect."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from ketama.errors import KetamaError
from ketama.fleet.errors import ConflictError, EngineError
from ketama.fleet.stamp import read_stamp
from ketama.fleet.store import Client, Store

INTERVAL = 0.1  # seconds
TIMEOUT = 60.0  # seconds
NAMED_MAX = 5  # machines in a message
OVERTAKEN = "another operator has prepared or pushed a list; nothing was changed"


class NotReadyError(KetamaError):
    """Not all machines could switch to a list; the fleet keeps the one that it has."""


class Preparation:
    """Waits until all machines can switch to a new list, as the argument `prepare` of `push`.

    Each machine checks the list, and connects to the servers that are new in it.

    expected: how many machines there must be at least; None: one.
    timeout: how long to wait for them, seconds.
    on_progress: called with the number of machines that are ready, and of all.
    """

    def __init__(
        self,
        *,
        expected: int | None = None,
        timeout: float = TIMEOUT,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        self._expected = 1 if expected is None else expected
        self._timeout = timeout
        self._on_progress = on_progress

    def __call__(self, store: Store, text: bytes, revision: int) -> None:
        """Prepare a list, and return when all machines are ready.

        Raises NotReadyError where they are not in time, ConflictError where the list has
        another revision, or another one is prepared; the prepared list is then dropped.
        """
        store.write(text, revision, prepare=True)
        try:
            self._wait(store, text)
        except BaseException:
            # Unless it is another operator's by now, or the engine will not take it.
            with suppress(ConflictError, EngineError):
                if store.read().next == text:
                    store.write(None, revision, prepare=True)
            raise

    def _wait(self, store: Store, text: bytes) -> None:
        version, prepared = read_stamp(text).version, store.read()
        deadline = time.monotonic() + self._timeout
        progress = None
        while True:
            late = time.monotonic() > deadline  # then look once more
            machines = store.clients()
            if prepared.next != text or store.has_changed(prepared):
                raise ConflictError(f"{store.url.text}: {OVERTAKEN}")
            ready = [machine for machine in machines if machine.ready == version]
            if self._on_progress and progress != (len(ready), len(machines)):
                progress = len(ready), len(machines)
                self._on_progress(*progress)
            if len(ready) == len(machines) >= self._expected:
                return
            if late:
                raise NotReadyError(self._reason(machines, ready))
            time.sleep(INTERVAL)

    def _reason(self, machines: list[Client], ready: list[Client]) -> str:
        waiting = [machine for machine in machines if machine not in ready]
        named = [
            f"{machine.machine}" + (f" ({machine.reason})" if machine.reason else "")
            for machine in waiting[:NAMED_MAX]
        ]
        if len(waiting) > NAMED_MAX:
            named.append(f"{len(waiting) - NAMED_MAX} more")
        least = max(self._expected, len(machines))
        missing = f", {least - len(machines)} missing" if least > len(machines) else ""
        return (
            f"{len(ready)} of {least} machines were ready within {self._timeout:g} seconds"
            f"{missing}{': not ' if named else ''}{', '.join(named)}; nothing was changed"
        )
