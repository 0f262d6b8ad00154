"""memcached processes that a test starts, disturbs, and asks without any client library."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from waiting import wait_for

FORWARDER = Path(__file__).with_name("forwarder.py")
# Seconds after which a server that was asked hangs, or was stopped by the test.
TIMEOUT = 60


def parse(address: str) -> str | tuple[str, int]:
    """Return what a socket connects to: a path, or a host without brackets and a port."""
    if address.startswith("/"):
        return address
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def connect(address: str) -> socket.socket:
    """Return a socket that is connected to an address."""
    target = parse(address)
    if isinstance(target, tuple):
        return socket.create_connection(target, timeout=TIMEOUT)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    try:
        connection.connect(target)
    except OSError:
        connection.close()
        raise
    return connection


def accepts(address: str) -> bool:
    """Say whether a connection to an address is accepted."""
    try:
        connect(address).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    return True


def stop(pid: int) -> None:
    """Stop a process (SIGSTOP), and wait until it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    stat = Path(f"/proc/{pid}/stat")
    wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")


class Memcached:
    """One memcached process at an address, which it keeps when it is restarted.

    What it is asked here, is asked on a new connection each time, which its `total_connections`
    counts; gets count in its `cmd_get`. options: further ones of its command line.
    """

    def __init__(self, address: str, *options: str) -> None:
        self.address = address
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"Memcached({self.address!r})"

    @property
    def running(self) -> bool:
        """Say whether it was started and not killed since."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process, f"{self} does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it, empty, and wait until it accepts connections."""
        assert self._process is None, f"{self} runs already"
        assert not accepts(self.address), f"another process, left by a killed test, is {self}"
        command = ["memcached", "-t", "1", "-m", "16", "-c", "4096", "-U", "0", *self._options]
        if os.getuid() == 0:
            command += ["-u", "nobody"]
        target = parse(self.address)
        if isinstance(target, tuple):
            command += ["-l", target[0], "-p", str(target[1])]
        else:
            command += ["-s", target, "-a", "0777"]
        process = self._process = subprocess.Popen(command)
        wait_for(lambda: process.poll() is not None or accepts(self.address))
        assert process.poll() is None, f"{self} has exited with {process.returncode}"

    def kill(self) -> None:
        """Kill it (SIGKILL): connections are closed or reset, and new ones are refused."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill it, and start it at the same address with nothing stored."""
        self.kill()
        self.start()

    def hang(self) -> None:
        """Stop it (SIGSTOP): the kernel accepts connections, but nobody answers."""
        stop(self.pid)

    def resume(self) -> None:
        """Let it go on after hang()."""
        os.kill(self.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def _asked(self, request: bytes) -> Iterator[IO[bytes]]:
        """Send a request, and yield what it answers."""
        with connect(self.address) as connection:
            connection.sendall(request)
            with connection.makefile("rb") as answers:
                yield answers

    def get(self, key: str) -> bytes | None:
        """Return a key's value as it is stored, or None."""
        with self._asked(b"get %b\r\n" % key.encode()) as answers:
            head = answers.readline().split()
            if head == [b"END"]:
                return None
            assert head[0] == b"VALUE", head
            return answers.read(int(head[3]))

    def flags(self, key: str) -> int | None:
        """Return the flags that a key's value is stored with, or None if it is not stored."""
        return self._meta(key, "f")

    def ttl(self, key: str) -> int | None:
        """Return the seconds until a key expires, -1 if never, or None if it is not stored."""
        return self._meta(key, "t")

    def _meta(self, key: str, flag: str) -> int | None:
        with self._asked(f"mg {key} {flag}\r\n".encode()) as answers:
            head = answers.readline().decode().split()
            if head == ["EN"]:
                return None
            assert head[0] == "HD", head
            return int(head[1].removeprefix(flag))

    def set(self, key: str, value: bytes, expiry: int = 0, flags: int = 0) -> None:
        """Store a value under a key, for that many seconds, or 0 for ever."""
        head = f"set {key} {flags} {expiry} {len(value)}\r\n".encode()
        with self._asked(head + value + b"\r\n") as answers:
            answer = answers.readline()
            assert answer == b"STORED\r\n", answer

    def stats(self, of: str = "") -> dict[str, str]:
        """Return its statistics, general ones if `of` is empty, by name."""
        found = {}
        with self._asked(f"stats {of}".strip().encode() + b"\r\n") as answers:
            while (line := answers.readline()) != b"END\r\n":
                assert line.startswith(b"STAT "), line
                _, name, value = line.decode().rstrip("\r\n").split(" ", 2)
                found[name] = value
        return found

    def stat(self, name: str) -> int:
        """Return one statistic that is a number, such as cmd_get, cmd_flush, uptime."""
        return int(self.stats()[name])

    def connections(self) -> int:
        """Return how many connections others have to it."""
        states = [v for name, v in self.stats("conns").items() if name.endswith(":state")]
        return len([state for state in states if state != "conn_listening"]) - 1


class Listener:
    """A process's place, taken: connections are accepted and counted.

    closing: close each connection as soon as it is accepted.
    answer: what is sent in answer to whatever is received, and before closing.
    """

    def __init__(self, address: str, *, closing: bool = False, answer: bytes = b"") -> None:
        self.address = address
        self.connections = 0
        self.received = b""
        self._closing = closing
        self._answer = answer
        target = parse(address)
        family = socket.AF_UNIX
        if isinstance(target, tuple):
            family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        else:
            Path(target).unlink(missing_ok=True)  # what the server left
        self._listening = socket.socket(family)
        try:
            self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listening.bind(target)
            self._listening.listen(128)
        except OSError:
            self._listening.close()
            raise
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        accepted: list[socket.socket] = []
        while True:
            ready, _, _ = select.select([self._woken, self._listening, *accepted], [], [])
            if self._woken in ready:
                break
            for one in ready:
                if one is self._listening:
                    connection, _ = one.accept()
                    self.connections += 1
                    if self._closing:
                        connection.sendall(self._answer)
                        connection.close()
                    else:
                        accepted.append(connection)
                    continue
                try:
                    data = one.recv(65536)
                except ConnectionResetError:
                    data = b""
                self.received += data
                if data:
                    one.sendall(self._answer)
                else:
                    accepted.remove(one)
                    one.close()
        for one in (*accepted, self._listening, self._woken):
            one.close()

    def close(self) -> None:
        """Close all connections; new ones are refused."""
        if self._thread.is_alive():
            self._wake.send(b"x")
            self._thread.join()
            self._wake.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Forwarder:
    """A process that forwards connections to servers, with a round trip added to each answer.

    routes: the address at which it listens -> the server's. Killed and started again, it is a
    network that is interrupted while the servers go on.
    """

    def __init__(self, routes: Mapping[str, str], round_trip: float = 0.0) -> None:
        self.routes = dict(routes)
        self.round_trip = round_trip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def addresses(self) -> list[str]:
        """Return the addresses at which it listens, in the order of the servers."""
        return list(self.routes)

    def start(self) -> None:
        """Start it, and wait until it listens at all addresses."""
        assert self._process is None, "the forwarder runs already"
        pairs = [text for route in self.routes.items() for text in route]
        command = [sys.executable, str(FORWARDER), str(self.round_trip), *pairs]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout
        assert self._process.stdout.readline() == b"ready\n", "the forwarder has exited"

    def kill(self) -> None:
        """Kill it: connections are closed, and new ones are refused."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def hang(self) -> None:
        """Stop it: connections stay, and nothing comes through."""
        assert self._process
        stop(self._process.pid)

    def resume(self) -> None:
        """Let it go on after hang(), with what has arrived meanwhile."""
        assert self._process
        os.kill(self._process.pid, signal.SIGCONT)


class Fleet:
    """memcached servers in a network of the test's own, and the server file that lists some."""

    def __init__(self, network: int, path: Path) -> None:
        self.path = path
        self.servers: list[Memcached] = []
        self.prefix: tuple[str, ...] = ()  # of the commands of programs that use the servers
        self._network = network
        self._addresses = 0
        self._forwarders: list[Forwarder] = []
        # Short, as sockets' paths must be, and open to nobody, who runs the servers.
        self.folder = Path(tempfile.mkdtemp(prefix="ketama-"))
        self.folder.chmod(0o777)

    def address(self, host: str | None = None) -> str:
        """Return an address that nobody else has: of a host, "unix", or IPv4 by default."""
        self._addresses += 1
        assert self._addresses <= 100, "a network has 100 ports of ::1"
        if host == "unix":
            return str(self.folder / f"{self._addresses}.sock")
        port = 7000 + 100 * self._network + self._addresses - 1
        return f"{host or f'127.{self._network}.0.1'}:{port}"

    def start(self, count: int = 1, host: str | None = None) -> list[Memcached]:
        """Start servers, with IPv4 addresses, or at a host ("[::1]", "localhost", "unix")."""
        started = [Memcached(self.address(host)) for _ in range(count)]
        self.servers += started
        for server in started:
            server.start()
        return started

    def write(self, weights: Mapping[str, int] | None = None) -> None:
        """Replace the server file: address -> weight, or by default all servers, equally."""
        if weights is None:
            weights = {server.address: 100 for server in self.servers}
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_text("".join(f"{address} {weight}\n" for address, weight in weights.items()))
        new.replace(self.path)

    def forward(self, round_trip: float = 0.0) -> Forwarder:
        """Start a forwarder to all servers, each at an address of its own."""
        routes = {self.address(): server.address for server in self.servers}
        forwarder = Forwarder(routes, round_trip)
        self._forwarders.append(forwarder)
        forwarder.start()
        return forwarder

    def at(self, address: str) -> Memcached:
        """Return the server at an address."""
        return next(server for server in self.servers if server.address == address)

    def holders(self, key: str) -> list[Memcached]:
        """Return the servers, of those that run, which hold a key."""
        return [s for s in self.servers if s.running and s.get(key) is not None]

    def close(self) -> None:
        """Kill all processes."""
        for forwarder in self._forwarders:
            forwarder.kill()
        for server in self.servers:
            server.kill()
        shutil.rmtree(self.folder)
