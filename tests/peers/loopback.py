"""Loopback addresses, servers on them that say which one they are, and clients."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from model.names import split
from waiting import wait_for

from peers.questions import Draw, some_port


def addresses_in(number: int, *, v6: str, sockets: str) -> list[Draw]:
    """Return functions that draw addresses of a network, and of Unix sockets.

    v6: how ::1 is written; sockets: what a socket's address begins with.
    """

    def ip(chance: random.Random) -> str:
        host = f"127.{number}.{chance.randrange(1, 4)}.{chance.randrange(1, 255)}"
        return f"{host}:{some_port(chance)}"

    def name(chance: random.Random) -> str:
        # A number of 16 bits at the end: it is resolved, and programs take it for a name.
        return f"127.{number}.{chance.randrange(2000, 60000)}:{some_port(chance)}"

    def ipv6(chance: random.Random) -> str:
        # One host has the ports of all networks, below those of outgoing connections.
        return f"{v6}:{7000 + 100 * number + chance.randrange(100)}"

    def unix_socket(chance: random.Random) -> str:
        return f"{sockets}/{chance.randrange(10**6)}.sock"

    return [ip, name, ipv6, unix_socket]


def listen(address: str) -> socket.socket:
    """Return a listening socket at an address."""
    parts = split(address)
    if parts.path:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(parts.path)
    else:
        host = parts.host.strip("[]")
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(parts.port)))
    listener.listen(64)
    return listener


class Saying(asyncio.Protocol):
    """A connection that answers memcached's get, whatever the key, with one value."""

    def __init__(self, value: bytes) -> None:
        self.value = value
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection's transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer the commands that have come in whole."""
        *lines, self.rest = (self.rest + data).split(b"\r\n")
        answers = []
        for line in lines:
            command, *keys = line.split()
            if command == b"version":  # proxies ask for it first
                answers.append(b"VERSION 1\r\n")
                continue
            extra = b" 1" if command == b"gets" else b""
            for key in keys:
                head = b"VALUE %b 0 %d%b\r\n" % (key, len(self.value), extra)
                answers.append(head + self.value + b"\r\n")
            answers.append(b"END\r\n")
        self.transport.write(b"".join(answers))


async def serve(addresses: Iterable[str], until: asyncio.Event, ready: threading.Event) -> None:
    """Serve memcached's get at each address, until the event."""
    loop = asyncio.get_running_loop()
    made: list[Saying] = []

    def making(address: str) -> Callable[[], Saying]:
        def make() -> Saying:
            made.append(Saying(address.encode()))
            return made[-1]

        return make

    servers = [
        await loop.create_server(making(address), sock=listen(address)) for address in addresses
    ]
    ready.set()
    await until.wait()
    for server in servers:
        server.close()
    for connection in made:
        connection.transport.abort()


@contextlib.contextmanager
def saying_servers(addresses: Iterable[str]) -> Iterator[None]:
    """Serve memcached's get at each address, whose text is every key's value."""
    loop = asyncio.new_event_loop()
    until, ready = asyncio.Event(), threading.Event()
    serving = serve({*addresses}, until, ready)
    thread = threading.Thread(target=loop.run_until_complete, args=[serving])
    thread.start()
    wait_for(lambda: ready.is_set() or not thread.is_alive())
    try:
        assert ready.is_set(), "the servers could not listen"
        yield
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(until.set)
        thread.join()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def connect(address: tuple[str, int]) -> socket.socket:
    """Connect to a server as soon as it listens."""

    def connected() -> socket.socket | None:
        try:
            return socket.create_connection(address)
        except ConnectionRefusedError:
            return None

    made = wait_for(connected)
    assert made is not None
    return made


def values(address: tuple[str, int], keys: Sequence[str]) -> list[str]:
    """Return the value that a memcached server or proxy has of each key, asked one by one."""
    with connect(address) as client:
        sender = threading.Thread(
            target=client.sendall, args=[b"".join(b"get %b\r\n" % k.encode() for k in keys)]
        )
        sender.start()
        found = []
        with client.makefile("rb") as answers:
            for key in keys:
                head = answers.readline()
                assert head.startswith(b"VALUE %b 0 " % key.encode()), (key, head)
                found.append(answers.readline().decode().rstrip())
                assert answers.readline() == b"END\r\n"
        sender.join()
    return found


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a server in the end."""
    try:
        yield
    finally:
        process.kill()
        process.wait()
