"""The connections of emcache to one server."""

from __future__ import annotations

import asyncio
import ssl as tls
from typing import Any

from emcache import CommandError
from emcache.protocol import MemcacheAsciiProtocol

from ketama.clients.connections import Connections
from ketama.clients.probe import FLUSH_DELAYS, endpoint

# How answers begin that say that a server cannot do what it was asked.
REFUSALS = (b"ERROR", b"SERVER_ERROR")


class RefusalError(CommandError):
    """A server's answer was ERROR or SERVER_ERROR."""


class Answers:
    """Makes the futures of a connection's answers, as its event loop would."""

    def __init__(self) -> None:
        self._latest: asyncio.Future[Any] | None = None
        self._error: Exception | None = None

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of the running loop."""
        self._latest = future = asyncio.get_running_loop().create_future()
        if self._error is not None:  # the connection was lost before the request
            future.set_exception(self._error)
        return future

    def fail(self, error: Exception) -> None:
        """Make the pending request and all later ones raise an error."""
        self._error = self._error or error
        if self._latest is not None and not self._latest.done():
            self._latest.set_exception(error)


class Connection(MemcacheAsciiProtocol):
    """A connection whose pending request fails as soon as the connection is lost.

    It also fails if the answer to get is ERROR or SERVER_ERROR, after which emcache's parser
    would wait for values.
    """

    def __init__(self) -> None:
        super().__init__()
        self._expects_values = False  # and has received nothing of them
        self._answers = Answers()
        self._loop = self._answers  # type: ignore[assignment] # nothing else is asked of it

    async def _extract_multi_line_data(self, data: bytes) -> Any:
        self._expects_values = True
        return await super()._extract_multi_line_data(data)

    def data_received(self, data: bytes) -> None:
        """Pass data to the parser of the pending request."""
        unparsed = self._expects_values or self._parser is None
        self._expects_values = False
        if unparsed and data.startswith(REFUSALS):
            line = data.partition(b"\r\n")[0]
            self.close(RefusalError(f"Command finished with error, response returned {line!r}"))
        else:
            super().data_received(data)

    def usable(self) -> bool:
        """Return whether it is open."""
        return not self._closed

    def close(self, error: Exception | None = None) -> None:
        """Close it at once. A pending request raises the error."""
        self._answers.fail(error or ConnectionResetError("the server closed the connection"))
        if not self._closed:
            self._closed = True
            if self._transport is not None:
                self._transport.abort()


class Connector:
    """Makes connections, with TLS, and with a name and a password, if there are any."""

    def __init__(
        self, context: tls.SSLContext | None, username: str | None, password: str | None
    ) -> None:
        self._context = context
        self._login = (username, password) if username and password else None

    async def __call__(self, address: str) -> Connection:
        """Return a new connection to an address."""
        loop = asyncio.get_running_loop()
        where = endpoint(address)
        if isinstance(where, tuple):
            made = loop.create_connection(Connection, *where, ssl=self._context)
        else:
            made = loop.create_unix_connection(Connection, where, ssl=self._context)
        _, connection = await made
        if self._login is not None:
            try:
                await connection.auth(*self._login)
            except BaseException:
                connection.close()
                raise
        return connection


class Server(Connections[Connection]):
    """The connections to one server."""

    async def ask(self, command: str, *args: Any) -> Any:
        """Return what a command of emcache's protocol returns on one of the connections."""
        async with self.connection() as connection:
            return await getattr(connection, command)(*args)

    async def uptime(self) -> float:
        """Return for how many seconds it has been up; over a new connection."""
        answer = await self._ask_once("stats_command")
        for line in answer.split(b"\r\n"):
            if line.startswith(b"STAT uptime "):
                return float(line.split()[2])
        raise CommandError(f"{self.address} does not tell its uptime")

    async def flush(self) -> None:
        """Remove all its items; over a new connection."""
        for delay in FLUSH_DELAYS:
            answer = await self._ask_once("flush_all_command", delay, False)
            if answer != b"OK":
                raise CommandError(f"{self.address} refused flush_all: {answer!r:.80}")

    async def _ask_once(self, command: str, *args: Any) -> bytes:
        connection = await self.new()
        try:
            answer: bytes = await asyncio.wait_for(
                getattr(connection, command)(*args), self.timeout
            )
        finally:
            connection.close()
        return answer


def tls_context(verify: bool, extra_ca: str | None) -> tls.SSLContext:
    """Return what TLS connections need. extra_ca: a file of certificates to trust as well."""
    context = tls.create_default_context()
    if extra_ca is not None:
        context.load_verify_locations(cafile=extra_ca)
    if not verify:
        context.check_hostname = False
        context.verify_mode = tls.CERT_NONE
    return context
