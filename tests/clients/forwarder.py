"""Forward connections with a delay: forwarder.py ROUND_TRIP LISTEN SERVER [LISTEN SERVER ...].

ROUND_TRIP is in seconds; each direction has half of it. Prints "ready" once it listens. If a
server refuses a connection, the client's is accepted and closed.
"""

from __future__ import annotations

import ctypes
import select
import socket
import sys
import time
from collections import deque

PR_SET_TIMERSLACK = 29
CHUNK = 1 << 18


def endpoint(address: str) -> tuple[socket.socket, str | tuple[str, int]]:
    """Return a socket of the address's family, and what it is bound or connected to."""
    if address.startswith("/"):
        return socket.socket(socket.AF_UNIX), address
    host, _, port = address.rpartition(":")
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made, (host.strip("[]"), int(port))


class Forwarder:
    """All connections of one process, which knows them by their file descriptors."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.listening: dict[int, tuple[socket.socket, str]] = {}
        self.sockets: dict[int, socket.socket] = {}
        self.peers: dict[int, int] = {}
        self.reading: set[int] = set()
        # In order of time, as all are delayed by the same: when, to whom, what; b"" is the end.
        self.delayed: deque[tuple[float, socket.socket, bytes]] = deque()
        self.unsent: dict[int, bytes] = {}
        self.ready = select.epoll()

    def listen(self, address: str, server: str) -> None:
        """Listen at an address, for a server."""
        made, target = endpoint(address)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(target)
        made.listen(512)
        self.listening[made.fileno()] = made, server
        self.ready.register(made, select.EPOLLIN)

    def accept(self, descriptor: int) -> None:
        """Accept a connection, and connect to its server."""
        listening, server = self.listening[descriptor]
        client, _ = listening.accept()
        upstream, target = endpoint(server)
        try:
            upstream.connect(target)
        except OSError:
            client.close()
            upstream.close()
            return
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for one, other in ((client, upstream), (upstream, client)):
            one.setblocking(False)
            self.sockets[one.fileno()] = one
            self.peers[one.fileno()] = other.fileno()
            self.reading.add(one.fileno())
            self.ready.register(one, select.EPOLLIN)

    def read(self, descriptor: int, *, enabled: bool) -> None:
        """Read a socket from now on, or no longer."""
        if enabled:
            self.reading.add(descriptor)
        else:
            self.reading.discard(descriptor)
        self.watch(descriptor)

    def watch(self, descriptor: int) -> None:
        """Wait for data, for room, or for neither."""
        events = select.EPOLLIN if descriptor in self.reading else 0
        events |= select.EPOLLOUT if descriptor in self.unsent else 0
        # A reset is always reported: with EPOLLET once, and not again and again.
        self.ready.modify(descriptor, events or select.EPOLLET)

    def receive(self, descriptor: int) -> None:
        """Receive what there is, for the peer, later."""
        if descriptor not in self.reading:
            return
        try:
            data = self.sockets[descriptor].recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.read(descriptor, enabled=False)
        peer = self.sockets[self.peers[descriptor]]
        self.delayed.append((time.monotonic() + self.delay, peer, data))

    def send(self, peer: socket.socket, data: bytes) -> None:
        """Send data, or what the socket has room for; close both sides at the end."""
        descriptor = peer.fileno()
        if descriptor < 0:
            return
        if descriptor in self.unsent:
            self.unsent[descriptor] += data  # an end is seen again when its side is read again
        elif not data:
            self.close(descriptor)
        else:
            try:
                sent = peer.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close(descriptor)
                return
            if sent < len(data):
                self.unsent[descriptor] = data[sent:]
                self.watch(descriptor)
                self.read(self.peers[descriptor], enabled=False)

    def send_rest(self, descriptor: int) -> None:
        """Go on with what a socket had no room for; then its peer is read again."""
        if rest := self.unsent.pop(descriptor, b""):
            self.watch(descriptor)
            self.read(self.peers[descriptor], enabled=True)
            self.send(self.sockets[descriptor], rest)

    def close(self, descriptor: int) -> None:
        """Close a connection's two sides."""
        for one in (descriptor, self.peers[descriptor]):
            self.read(one, enabled=False)
            self.unsent.pop(one, None)
            del self.peers[one]
            self.sockets.pop(one).close()

    def run(self) -> None:
        """Forward for ever."""
        # Of all calls that wait, it is select() that Python lets wait for microseconds, and
        # epoll that does not get slower with the number of connections.
        while True:
            wait = max(0.0, self.delayed[0][0] - time.monotonic()) if self.delayed else None
            select.select([self.ready], [], [], wait)
            for descriptor, events in self.ready.poll(0):
                if descriptor in self.listening:
                    self.accept(descriptor)
                    continue
                if events & select.EPOLLOUT:
                    self.send_rest(descriptor)
                if events & ~select.EPOLLOUT:
                    self.receive(descriptor)
            while self.delayed and self.delayed[0][0] <= time.monotonic():
                _, peer, data = self.delayed.popleft()
                self.send(peer, data)


def main(round_trip: str, *addresses: str) -> None:
    """Forward as the command line says."""
    # By default the kernel lets a wait take 50 microseconds longer.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    forwarder = Forwarder(float(round_trip) / 2)
    for address, server in zip(addresses[::2], addresses[1::2], strict=True):
        forwarder.listen(address, server)
    print("ready", flush=True)
    forwarder.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
