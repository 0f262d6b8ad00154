"""etcd members that a test starts, disturbs, and asks with etcdctl."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from needs import need
from waiting import wait_for

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((HOST, 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Member:
    """One etcd process, which keeps its ports and its folder when it is restarted."""

    def __init__(self, name: str, folder: Path, ports: Sequence[int], host: str = HOST) -> None:
        self.name = name
        self.folder = folder / name
        self.log = folder / f"{name}.log"
        self.client, self.peer = (f"http://{host}:{port}" for port in ports)
        self.prefix: tuple[str, ...] = ()  # of its command
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, cluster: str, *options: str) -> None:
        """Start it, as a member of a cluster."""
        command = [
            *self.prefix,
            need("etcd"),
            f"--name={self.name}",
            f"--data-dir={self.folder}",
            f"--listen-client-urls={self.client}",
            f"--advertise-client-urls={self.client}",
            f"--listen-peer-urls={self.peer}",
            f"--initial-advertise-peer-urls={self.peer}",
            f"--initial-cluster={cluster}",
            *options,
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def kill(self) -> None:
        """Kill it (SIGKILL), if it runs."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None


class Cluster:
    """Members of one engine."""

    def __init__(self, folder: Path, count: int) -> None:
        need("etcdctl")
        ports = free_ports(2 * count)
        self.members = [Member(f"m{i}", folder, ports[2 * i : 2 * i + 2]) for i in range(count)]
        self.options: tuple[str, ...] = ()  # of etcd
        self.ctl_options: tuple[str, ...] = ()  # of etcdctl

    @property
    def peers(self) -> str:
        """All members, as etcd takes them."""
        return ",".join(f"{member.name}={member.peer}" for member in self.members)

    def url(self, domain: str = "shop") -> str:
        """The URL of a fleet in it."""
        hosts = ",".join(member.client.partition("//")[2] for member in self.members)
        tls = "s" if self.members[0].client.startswith("https:") else ""
        return f"etcd{tls}://{hosts}/{domain}"

    def start(self) -> None:
        """Start all members, and wait until they answer."""
        for member in self.members:
            member.start(self.peers, *self.options)
        self.wait()

    def wait(self) -> None:
        """Wait until each member answers what takes a majority."""
        for member in self.members:
            wait_for(lambda member=member: self._answers(member))  # type: ignore[misc]

    def _answers(self, member: Member) -> bool:
        done = self.ctl("get", "x", member=member, check=False, timeout=5)
        return done.returncode == 0 or b"user name is empty" in done.stderr

    def kill(self) -> None:
        """Kill all members."""
        for member in self.members:
            member.kill()

    def wipe(self) -> None:
        """Remove all data of members that are killed."""
        for member in self.members:
            shutil.rmtree(member.folder)

    def ctl(
        self,
        *arguments: str,
        member: Member | None = None,
        stdin: bytes = b"",
        check: bool = True,
        timeout: int = 300,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run etcdctl; timeout: seconds, long, as the machine may be busy."""
        members = [member] if member else self.members
        endpoints = ",".join(one.client for one in members)
        return subprocess.run(
            [
                need("etcdctl"),
                f"--endpoints={endpoints}",
                f"--command-timeout={timeout}s",
                f"--dial-timeout={timeout}s",
                *self.ctl_options,
                *arguments,
            ],
            input=stdin,
            capture_output=True,
            check=check,
            env={**os.environ, "ETCDCTL_API": "3"},
        )

    def get(self, key: str) -> bytes:
        """Return a value, as an operator without ketama gets it."""
        done = self.ctl("get", "--print-value-only", key)
        return done.stdout.removesuffix(b"\n")

    def put(self, key: str, value: bytes) -> None:
        """Put a value, past all checks."""
        self.ctl("put", key, *([] if value else [""]), stdin=value)


@contextmanager
def running(folder: Path, count: int = 1, *options: str) -> Iterator[Cluster]:
    """Start a cluster with its data in a folder, and kill it at the end."""
    folder.mkdir(exist_ok=True)
    cluster = Cluster(folder, count)
    cluster.options = options
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()
