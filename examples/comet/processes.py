"""Processes that are started, asked and killed: etcd, nodes, gateways, the publisher."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ketama.fleet import Store, UnreachableError

HOST = "127.0.0.1"
PATIENCE = 240  # seconds


class Process:
    """A node, a gateway or the publisher."""

    def __init__(self, module: str, *arguments: object) -> None:
        self.module = module
        command = [sys.executable, "-m", f"comet.{module}", *map(str, arguments)]
        pipe = subprocess.PIPE
        self.popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0)

    def ask(self, order: str = "") -> dict[str, Any]:
        """Return its report."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.write(f"{order}\n".encode())
        line = self.popen.stdout.readline()
        if not line:
            raise SystemExit(f"comet.{self.module} has ended")
        return dict(json.loads(line))

    def hang(self) -> None:
        """Stop it (SIGSTOP): it is there, and does nothing."""
        self.popen.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Kill it (SIGKILL), if it runs."""
        self.popen.kill()
        self.popen.communicate()

    def end(self) -> None:
        """Let it end, as its stdin does."""
        self.popen.communicate()


def free_addresses(count: int) -> list[str]:
    """Return addresses with ports that nobody has."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return [f"{HOST}:{port}" for port in ports]


@contextmanager
def etcd(folder: Path) -> Iterator[Store]:
    """Start an etcd of one member, yield a fleet on it, and kill it at the end."""
    program = shutil.which("etcd")
    if program is None:
        raise SystemExit("etcd is not installed; on Debian: apt-get install etcd-server")
    client, peer = free_addresses(2)
    command = [program, f"--data-dir={folder / 'etcd'}"]
    command += [f"--{name}-client-urls=http://{client}" for name in ("listen", "advertise")]
    command += [f"--{name}-peer-urls=http://{peer}" for name in ("listen", "initial-advertise")]
    command += [f"--initial-cluster=default=http://{peer}"]
    with (folder / "etcd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with closing(Store(f"etcd://{client}/comet")) as store:
            wait_for(lambda: answers(store))
            yield store
    finally:
        process.kill()
        process.wait()


def answers(store: Store) -> bool:
    """Return whether an etcd answers."""
    try:
        store.read()
    except UnreachableError:
        return False
    return True


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"gave up after {PATIENCE} seconds of waiting")
        time.sleep(0.05)
