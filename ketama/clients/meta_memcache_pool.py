"""The connections of meta-memcache to one server, which report when it fails."""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Callable

from meta_memcache.connection.memcache_socket import MemcacheSocket
from meta_memcache.connection.pool import ConnectionPool
from meta_memcache.errors import MemcacheServerError, ServerMarkedDownError

from ketama.clients.probe import connect


class Pool(ConnectionPool):
    """The connections to one server, which report when it fails.

    report: called with the server's address and the error.
    timeouts: of a connection, and of each step of a request, in seconds.
    """

    def __init__(
        self,
        server: str,
        report: Callable[[str, BaseException], object],
        max_pool_size: int,
        timeouts: tuple[float, float],
    ) -> None:
        self._report = report
        self._timeouts = timeouts
        self._sockets: dict[MemcacheSocket, socket.socket] = {}
        # While a connection is in use: the exception that its user was handling before.
        self._before: dict[MemcacheSocket, BaseException | None] = {}
        super().__init__(server, self._connect, 0, max_pool_size)

    def __del__(self) -> None:
        for made in self._sockets.values():
            made.close()

    def _connect(self) -> socket.socket:
        made = connect(self.server, self._timeouts[0])
        made.settimeout(self._timeouts[1])
        if made.family != socket.AF_UNIX:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _create_connection(self) -> MemcacheSocket:
        try:
            made = self._connect()
        except OSError as error:
            self._errors = next(self._errors_counter)
            self._report(self.server, error)
            raise ServerMarkedDownError(self.server, f"{self.server}: {error}") from error
        self._created = next(self._created_counter)
        connection = MemcacheSocket(made, self._read_buffer_size, version=self._version)
        self._sockets[connection] = made
        return connection

    def _discard_connection(self, conn: MemcacheSocket, error: bool = False) -> None:
        self._sockets.pop(conn, None)
        super()._discard_connection(conn, error)

    def _reset_after_fork(self) -> None:
        sockets, self._sockets, self._before = self._sockets, {}, {}
        super()._reset_after_fork()
        for inherited in sockets.values():  # of other threads, which are not in the child
            inherited.close()

    def _is_reset(self, connection: MemcacheSocket) -> bool:
        """Return whether the server has closed an idle connection."""
        ready = select.poll()
        ready.register(self._sockets[connection], select.POLLIN)
        return bool(ready.poll(0))

    def _pop(self) -> MemcacheSocket:
        while True:
            try:
                connection = self._pool.popleft()
            except IndexError:
                return self._create_connection()
            if not self._is_reset(connection):
                return connection
            self._discard_connection(connection)

    def pop_connection(self) -> MemcacheSocket:
        """Return a connection for one request."""
        connection = self._pop()
        self._before[connection] = sys.exc_info()[1]
        return connection

    def release_connection(self, conn: MemcacheSocket, error: bool) -> None:
        """Take a connection back, unless an exception has left answers on their way."""
        before = self._before.pop(conn, None)
        raised = sys.exc_info()[1]
        if raised is before:
            raised = None
        cause = raised and (raised.__cause__ or raised)
        if isinstance(cause, OSError):
            self._report(self.server, cause)
        super().release_connection(conn, error or raised is not None)

    def connect(self) -> None:
        """Connect to the server if there is no connection. Raises ServerMarkedDownError."""
        self._pool.appendleft(self._pop())

    def retire(self) -> None:
        """Close the connections that are idle, and the others once they are."""
        self._max_pool_size = 0
        while self._pool:
            try:
                self._discard_connection(self._pool.popleft())
            except IndexError:  # another thread took it
                return


class Nobody(Pool):
    """No server: each request fails.

    error: the reason; None: all servers that the key could go to are down.
    """

    def __init__(self, error: MemcacheServerError | None = None) -> None:
        super().__init__(error.server if error else "all servers", lambda *_: None, 0, (0, 0))
        self._reason = "no server can be asked: all that this key could go to are down"
        self._cause: BaseException | None = None
        if error is not None:  # not kept, as its traceback refers to the client
            self._reason, self._cause = str(error), error.__cause__

    def _create_connection(self) -> MemcacheSocket:
        raise ServerMarkedDownError(self.server, self._reason) from self._cause
