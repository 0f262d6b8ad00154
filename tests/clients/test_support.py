"""What the other tests here stand on: each helper does what it says."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import termios
import time
from pathlib import Path

import pytest
from network import network
from waiting import wait_for

import ketama
from clients.memcached import Fleet, Listener, accepts, connect


def test_networks() -> None:
    """Each is held once, and what goes wrong while one is held is passed on."""
    with network() as one, network() as other:
        assert one != other
    with pytest.raises(FileNotFoundError, match="gone"), network():
        raise FileNotFoundError("gone")


@pytest.mark.parametrize("host", [None, "[::1]", "localhost", "unix"])
def test_a_server(fleet: Fleet, host: str | None) -> None:
    """It accepts connections at once, wherever it listens, and stores what it is given."""
    (server,) = fleet.start(host=host)
    assert accepts(server.address)
    server.set("k", b"two\r\nlines", flags=7)
    assert (server.get("k"), server.flags("k"), server.ttl("k")) == (b"two\r\nlines", 7, -1)
    assert (server.get("x"), server.flags("x"), server.ttl("x")) == (None, None, None)
    server.set("k", b"", expiry=1000)
    assert server.get("k") == b""
    assert 0 < (server.ttl("k") or 0) <= 1000


def test_it_runs_as_nobody(fleet: Fleet) -> None:
    """Where root starts it, it drops privileges, as memcached demands."""
    (server,) = fleet.start()
    owner = Path(f"/proc/{server.pid}/status").read_text().split("Uid:")[1].split()[1]
    assert int(owner) != 0


def test_kill_and_restart(fleet: Fleet) -> None:
    """A killed server closes connections and refuses new ones; restarted, it is empty."""
    (server,) = fleet.start()
    server.set("k", b"v")
    with connect(server.address) as connection:
        server.kill()
        assert not server.running
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert not accepts(server.address)
    server.start()
    assert accepts(server.address)
    assert server.get("k") is None
    first = server.pid
    server.restart()
    assert server.pid != first


def test_hang_and_resume(fleet: Fleet) -> None:
    """A hung server accepts, answers nothing, and later answers what it was asked."""
    (server,) = fleet.start()
    server.set("k", b"v")
    server.hang()
    assert "State:\tT" in Path(f"/proc/{server.pid}/status").read_text()
    with connect(server.address) as connection:
        connection.sendall(b"get k\r\n")
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
        server.resume()
        connection.settimeout(60)
        assert connection.recv(100) == b"VALUE k 0 1\r\nv\r\nEND\r\n"
    server.hang()  # and is killed in the end all the same


def test_counts(fleet: Fleet) -> None:
    """Gets, flushes and connections are counted, those of others apart."""
    (server,) = fleet.start()
    gets, made = server.stat("cmd_get"), server.stat("total_connections")
    server.get("k")
    server.get("k")
    assert server.stat("cmd_get") == gets + 2
    assert server.stat("total_connections") == made + 4
    assert server.stat("cmd_flush") == 0
    with connect(server.address) as one, connect(server.address):
        one.sendall(b"flush_all\r\n")
        assert one.recv(10) == b"OK\r\n"
        assert server.stat("cmd_flush") == 1
        assert server.connections() == 2
    wait_for(lambda: server.connections() == 0)


def test_the_server_file(four: Fleet) -> None:
    """The four servers are in it, with their weights, and it is replaced in one step."""
    assert [(s.address, s.weight) for s in ketama.Continuum(four.path).servers] == [
        (server.address, 100 * number) for number, server in enumerate(four.servers, 1)
    ]
    before = four.path.stat().st_ino
    with four.path.open() as old:
        four.write({"10.0.0.1:11211": 5})
        assert len(old.readlines()) == 4
    assert four.path.read_text() == "10.0.0.1:11211 5\n"
    assert four.path.stat().st_ino != before
    four.write()
    assert four.path.read_text().split() == [
        text for server in four.servers for text in (server.address, "100")
    ]
    assert os.listdir(four.path.parent) == [four.path.name]


def test_who_holds_a_key(four: Fleet) -> None:
    """Those that run and have it."""
    one, two, three, _ = four.servers
    for server in (one, two, three):
        server.set("k", b"v")
    one.kill()
    assert four.holders("k") == [two, three]
    assert four.at(two.address) is two


@pytest.mark.parametrize("host", [None, "[::1]", "unix"])
def test_a_listener(fleet: Fleet, host: str | None) -> None:
    """It takes a dead server's place, counts connections, and answers nothing."""
    (server,) = fleet.start(host=host)
    with pytest.raises(OSError, match="in use"), Listener(fleet.start()[0].address):
        pass
    server.kill()
    with Listener(server.address) as listener:
        with connect(server.address) as connection:
            connection.sendall(b"get k\r\n")
            wait_for(lambda: listener.received == b"get k\r\n")
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
        connect(server.address).close()
        wait_for(lambda: listener.connections == 2)
    assert not accepts(server.address)
    with Listener(server.address, closing=True), connect(server.address) as connection:
        assert connection.recv(1) == b""
    server.start()


def unread(connection: socket.socket) -> int:
    """Return the number of bytes that have arrived and were not read."""
    return int.from_bytes(fcntl.ioctl(connection, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_a_forwarder(fleet: Fleet) -> None:
    """What is asked through it reaches the right server, in order."""
    servers = fleet.start(3)
    forwarder = fleet.forward(round_trip=0.01)
    for number, (server, address) in enumerate(
        zip(servers, forwarder.addresses, strict=True), 1
    ):
        for key in range(100):
            server.set(f"k{key}", str(1000 * number + key).encode())
        with connect(address) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for key in range(100):
                connection.sendall(b"get k%d\r\n" % key)
            connection.sendall(b"quit\r\n")
            with connection.makefile("rb") as answers:
                values = answers.read().split(b"\r\n")[1::3]
        assert [*map(int, values)] == [1000 * number + key for key in range(100)]


@pytest.mark.parametrize("round_trip", [0, 0.2])
def test_a_forwarder_of_much(fleet: Fleet, round_trip: float) -> None:
    """More than the buffers of sockets hold, which nobody reads for a while, is not lost."""
    (server,) = fleet.start()
    (address,) = fleet.forward(round_trip).addresses
    value = os.urandom(500_000)
    server.set("big", value)
    with connect(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(b"get big\r\n" * 40 + b"quit\r\n")
        seen = [-1]
        while seen[-50:] != [seen[-1]] * 50 or not seen[-1]:
            time.sleep(0.001)
            seen.append(unread(connection))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        with connection.makefile("rb") as answers:
            for _ in range(40):
                assert answers.readline() == b"VALUE big 0 500000\r\n"
                assert answers.read(500_000) == value
                assert answers.read(7) == b"\r\nEND\r\n"
            assert answers.read() == b""


def test_a_forwarder_delays(fleet: Fleet) -> None:
    """No answer comes before the round trip is over."""
    fleet.start()
    forwarder = fleet.forward(round_trip=0.5)
    with connect(forwarder.addresses[0]) as connection:
        begin = time.monotonic()
        connection.sendall(b"get k\r\n")
        assert connection.recv(5) == b"END\r\n"
        assert time.monotonic() - begin >= 0.5


def test_a_forwarder_is_interrupted(fleet: Fleet) -> None:
    """Killed or stopped, it is a network that is away while the server goes on."""
    (server,) = fleet.start()
    forwarder = fleet.forward()
    (address,) = forwarder.addresses
    with connect(address) as connection:
        connection.sendall(b"get k\r\n")
        assert connection.recv(5) == b"END\r\n"
        forwarder.kill()
        assert connection.recv(1) == b""
    assert not accepts(address)
    server.set("k", b"v")
    forwarder.start()
    with connect(address) as connection:
        forwarder.hang()
        connection.sendall(b"get k\r\n")
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
        forwarder.resume()
        connection.settimeout(60)
        assert connection.recv(100) == b"VALUE k 0 1\r\nv\r\nEND\r\n"
        server.kill()
        assert connection.recv(1) == b""
    with connect(address) as connection:
        assert connection.recv(1) == b""
