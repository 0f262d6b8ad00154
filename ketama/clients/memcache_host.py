"""python-memcached's connection to a server, which keeps its error for the client to judge."""

from __future__ import annotations

import select
from socket import AF_UNIX, IPPROTO_TCP, TCP_NODELAY
from socket import socket as Socket  # noqa: N812

import memcache

from ketama.clients.probe import InvalidAddressError, connect, endpoint

if not hasattr(getattr(memcache, "Client", None), "_get_server"):
    raise ImportError(
        f"{memcache.__file__} is not python-memcached, which has the same import name: "
        "pip uninstall memcache python-memcached, then pip install 'libketama[memcache]'",
        name="memcache",
        path=memcache.__file__,
    )

FAILURES = (OSError, memcache._Error, memcache._ConnectionDeadError)


class Host(memcache._Host):
    """A connection to one server, which keeps its error instead of being dead for a while."""

    socket: Socket | None

    def __init__(self, server: str, timeout: float | None = None) -> None:
        self.socket = None
        self.failure: Exception | None = None
        try:
            where = endpoint(server)
        except InvalidAddressError as error:
            where, self.failure = server, error
        if isinstance(where, str):
            name = f"unix:{where}"
        else:
            name = "inet6:[{}]:{}" if ":" in where[0] else "inet:{}:{}"
            name = name.format(*where)
        super().__init__(name, socket_timeout=timeout)
        self.server = server
        self._readable = select.poll()

    def __del__(self) -> None:
        self.close_socket()

    def mark_dead(self, reason: object) -> None:
        """Close the connection, and keep the reason."""
        if self.failure is None:
            self.failure = (
                reason
                if isinstance(reason, OSError)
                else ConnectionResetError(f"{self.server}: {reason}")
            )
        self.close_socket()

    def _get_socket(self) -> Socket | None:
        """Return the connected socket, connecting first if necessary; None after an error."""
        if self.failure is not None:
            return None  # the client decides whether a command is repeated
        if self.socket is None:
            try:
                made = connect(self.server, self.socket_timeout)
            except OSError as error:
                self.failure = error
                return None
            self._readable = select.poll()
            self._readable.register(made, select.POLLIN)
            if made.family != AF_UNIX:
                made.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            self.socket, self.buffer = made, b""
        return self.socket

    def is_idle(self) -> bool:
        """Return whether there is nothing to read: no end, and no answer that nobody awaits."""
        return not (self.buffer or (self.socket is not None and self._readable.poll(0)))

    def close(self) -> None:
        """Close the connection."""
        self.close_socket()

    abandon = close  # sends nothing
