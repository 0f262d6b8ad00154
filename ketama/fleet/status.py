"""Which machine of a fleet has which version of the list."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ketama.fleet.errors import RefusedError
from ketama.fleet.folder import Snapshot
from ketama.fleet.stamp import NO_DATE, accept, read_stamp
from ketama.fleet.store import Client, Store
from ketama.fleet.verdict import AHEAD, BEHIND, OK, READY, REFUSED

NO_CLOCK = "it reports a version that no clock leads to: check its file and its follower"


class FleetStatus(NamedTuple):
    """A fleet at one moment.

    domain: its name. version: of the engine's list, 0 if it has none.
    prepared: the version of the list that is prepared, 0 if none is.
    problem: why no machine can have the list, else "".
    machines: what each has reported; its state is compared with the engine's version.
    """

    domain: str
    version: int
    prepared: int
    problem: str
    machines: tuple[Client, ...]

    @property
    def groups(self) -> Counter[tuple[int, str]]:
        """How many machines there are of each version and state."""
        return Counter((machine.version, machine.state) for machine in self.machines)

    @property
    def lost(self) -> bool:
        """Whether the engine has lost changes that machines have."""
        return any(machine.state == AHEAD for machine in self.machines)

    def is_ok(self, expected: int | None = None) -> bool:
        """Return whether all machines have the engine's list, and are as many as expected.

        expected: how many there must be at least; None: one.
        """
        return (
            not self.problem
            and self.version > 0
            and len(self.machines) >= (1 if expected is None else expected)
            and all(machine.state in (OK, READY) for machine in self.machines)
        )


def status(store: Store) -> FleetStatus:
    """Return which machine of a fleet has which version of the list.

    Raises EngineError where the engine refuses, or does not answer.
    """
    clients = store.clients()
    current = store.read()  # later, so that no machine can have a newer list than this
    version = read_stamp(current.servers or b"").version
    prepared = read_stamp(current.next or b"").version
    machines = tuple(_compared(client, version, prepared) for client in clients)
    return FleetStatus(store.domain, version, prepared, _problem(current, store), machines)


def _problem(current: Snapshot, store: Store) -> str:
    if current.servers is None:
        return "etcd has no list"
    try:
        accept(current.servers, store.domain)
    except RefusedError as error:
        return f"the list is invalid: {error}"
    return ""


def _compared(client: Client, version: int, prepared: int) -> Client:
    """Return a report with the state that it has at the engine's version.

    A machine that was right when it reported may have missed what came later.
    """
    if client.version >= NO_DATE and client.version > version:
        return client._replace(state=REFUSED, reason=NO_CLOCK)
    if client.state != OK:
        return client
    if client.version != version:
        return client._replace(state=BEHIND if client.version < version else AHEAD)
    if prepared and client.ready == prepared:
        return client._replace(state=READY)
    if prepared and client.reason:
        return client._replace(state=REFUSED)
    return client
