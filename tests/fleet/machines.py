"""Machines that follow a fleet: `ketama follow`, as processes, or a `Follower` in a thread."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from command import COMMAND, measured

from ketama.fleet import Follower, Store

LEASE = 5  # seconds


class Machine:
    """One machine: its server file, and its follower, which is started and killed."""

    def __init__(self, folder: Path, url: str, name: str, lease: int = LEASE) -> None:
        self.name, self.lease = name, lease
        self.url = url
        self.folder = folder / name
        self.folder.mkdir()
        self.file = self.folder / "shop.servers"
        self.log = folder / f"{name}.log"
        self.prefix: tuple[str, ...] = ()  # of its commands
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, **environment: str) -> None:
        """Start the follower."""
        command = [*self.prefix, *COMMAND, "follow"]
        options = (f"--machine={self.name}", f"--lease={self.lease}", *options)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *options, self.url, self.file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**measured(), **environment},
            )

    @property
    def text(self) -> bytes:
        """What the file has; empty without a file."""
        try:
            return self.file.read_bytes()
        except FileNotFoundError:
            return b""

    def end(self) -> int:
        """Terminate the follower; return its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the follower."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait()
        self.process = None
        return code


def all_have(machines: Iterable[Machine], text: bytes) -> bool:
    """Return whether all machines have a text."""
    return all(machine.text == text for machine in machines)


@contextmanager
def following(
    folder: Path, url: str, names: Iterable[str], lease: int = LEASE
) -> Iterator[list[Machine]]:
    """Start machines, and kill them at the end."""
    machines = [Machine(folder, url, name, lease) for name in names]
    try:
        for machine in machines:
            machine.start()
        yield machines
        assert [machine.end() for machine in machines] == [0] * len(machines)
    finally:
        for machine in machines:
            machine.kill()


@contextmanager
def follower_of(
    store: Store, path: Path, machine: str = "web1", lease: int = 30
) -> Iterator[Follower]:
    """Run a follower in a thread of this process, with connections of its own."""
    own = Store(store.url.text)
    follower = Follower(own, path, machine=machine, lease=lease)
    thread = threading.Thread(target=follower.run)
    thread.start()
    try:
        yield follower
    finally:
        follower.stop()
        thread.join()
        own.close()
