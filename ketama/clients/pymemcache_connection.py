"""A connection of pymemcache's whose answer may be read after requests to other servers."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Mapping
from typing import Any

from pymemcache.client.base import Client, check_key_helper
from pymemcache.exceptions import (
    MemcacheError,
    MemcacheIllegalInputError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownError,
)

from ketama.clients.probe import FLUSH_DELAYS, endpoint

RECEIVE_BYTES = 2**16
RECEIVE_ONE_BYTES = 2**12  # of an answer that has one value: a larger buffer costs time
AFTER_VALUE = b"\r\nEND\r\n"
KEY_MOST_BYTES = 250
FLAGS_MAX = 2**32 - 1
SEND_BYTES = 2**18
# What says that a server cannot be reached, or does not answer.
FAILURES = (OSError, MemcacheUnexpectedCloseError)
# Of these, what an idle connection says after its server was restarted.
RESETS = (ConnectionError, MemcacheUnexpectedCloseError)


class SerdeError(Exception):
    """Carries an error of a serializer or deserializer past those who wait for a server's.

    own: that error.
    """

    def __init__(self, own: Exception) -> None:
        super().__init__(own)
        self.own = own


class Serde:
    """A serializer whose errors are not taken for those of a server, and its deserializer."""

    def __init__(self, serde: Any) -> None:
        self._serde = serde
        self.deserialize = serde.deserialize

    def serialize(self, key: Any, value: Any) -> tuple[Any, int]:
        """Return a value as it is sent, and its flags."""
        try:
            data, flags = self._serde.serialize(key, value)
        except (OSError, MemcacheError) as error:
            raise SerdeError(error) from error
        return data, flags


class Connection(Client):
    """A connection to one server, with pymemcache's commands for single keys."""

    sock: socket.socket | None

    def _connect(self) -> None:
        """Connect to the first of the host's addresses that accepts: localhost has two."""
        self.close()
        if isinstance(self.server, tuple):
            sock = self.socket_module.create_connection(self.server, self.connect_timeout)
        else:
            sock = self.socket_module.socket(self.socket_module.AF_UNIX)
        try:
            if isinstance(self.server, tuple):
                if self.no_delay:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.socket_keepalive is not None:
                    self._keep_alive(sock)
                if self.tls_context is not None:
                    sock = self.tls_context.wrap_socket(sock, server_hostname=self.server[0])
            else:
                sock.settimeout(self.connect_timeout)
                sock.connect(self.server)
            sock.settimeout(self.timeout)
        except BaseException:
            sock.close()
            raise
        self.sock = sock

    def _keep_alive(self, sock: socket.socket) -> None:
        options = self.socket_keepalive
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, options.idle)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, options.intvl)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, options.cnt)

    def _store_cmd(self, name: bytes, values: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("flags") is not None:
            checked_flags(kwargs["flags"])
        return super()._store_cmd(name, values, *args, **kwargs)

    def abandon(self) -> None:
        """Close the descriptor, and send nothing: the parent process uses the connection."""
        if self.sock is not None:
            os.close(self.sock.detach())
            self.sock = None

    def is_reset(self) -> bool:
        """Return whether the server has closed the connection, or said what nobody asked."""
        if self.sock is None:
            return False
        ready = select.poll()
        ready.register(self.sock, select.POLLIN)
        return bool(ready.poll(0))

    def send(self, request: bytes) -> None:
        """Send a request, over a new connection if there is none."""
        if self.sock is None:
            self._connect()
        assert self.sock is not None  # noqa: S101
        if len(request) <= SEND_BYTES:
            self.sock.sendall(request)
            return
        # The timeout of sendall() is for all that it sends, and a server that takes much on a
        # busy network is not down.
        rest = memoryview(request)
        for begin in range(0, len(request), SEND_BYTES):
            self.sock.sendall(rest[begin : begin + SEND_BYTES])

    def _receive(self, rest: bytes, missing: int, at_once: int = RECEIVE_BYTES) -> bytes:
        """Return what is left of the answer, and at least so many bytes more."""
        assert self.sock is not None  # noqa: S101
        chunks = [rest]
        while missing > 0:
            chunk = self.sock.recv(max(at_once, missing))
            if not chunk:
                raise MemcacheUnexpectedCloseError
            chunks.append(chunk)
            missing -= len(chunk)
        return b"".join(chunks)

    def _deserialize(self, key: Any, data: bytes, flags: int) -> Any:
        try:
            return self.serde.deserialize(key, data, flags)
        except (OSError, MemcacheError) as error:
            raise SerdeError(error) from error

    def read_values(
        self, asked: Mapping[bytes, Any], cas: bool, data: bytes = b""
    ) -> dict[Any, Any]:
        """Return the values of an answer to get or gets, by the keys as they were given.

        asked: those keys, by the keys as they were sent.
        data: what of the answer has been received already.
        """
        values: dict[Any, Any] = {}
        at = 0
        while True:
            end = data.find(b"\r\n", at)
            if end < 0:
                data, at = self._receive(data[at:], 1), 0
                continue
            words = data[at:end].split(b" ")
            if words[0] != b"VALUE":
                break
            begin = end + 2
            try:
                flags, stop = int(words[2]), begin + int(words[3])
                unique = words[4] if cas else b""
            except (IndexError, ValueError):
                break
            if stop < begin:
                break
            if stop + 2 > len(data):
                data = self._receive(data[begin:], stop + 2 - len(data))
                begin, stop = 0, stop - begin
            key = asked.get(words[1])
            if key is None:
                raise MemcacheUnknownError(f"{words[1]!r} was not asked for")
            value = self._deserialize(key, data[begin:stop], flags)
            values[key] = (value, unique) if cas else value
            at = stop + 2
        if words != [b"END"] or end + 2 != len(data):
            self._raise_errors(data[at:end], b"get")
            raise MemcacheUnknownError(data[at : at + 32])
        return values

    def get_one(self, command: bytes, sent: bytes, key: Any, missing: Any) -> Any:
        """Return a key's value; with the command b"gets ", and its unique number."""
        self.send(command + sent + b"\r\n")
        data = self._receive(b"", 1, RECEIVE_ONE_BYTES)
        # Most answers have come whole, and need no loop.
        head, _, rest = data.partition(b"\r\n")
        words = head.split(b" ")
        if (
            command == b"get "
            and words[:2] == [b"VALUE", sent]
            and words[3:] == [b"%d" % (len(rest) - len(AFTER_VALUE))]
            and words[2].isdigit()
            and rest.endswith(AFTER_VALUE)
        ):
            return self._deserialize(key, rest[: -len(AFTER_VALUE)], int(words[2]))
        return self.read_values({sent: key}, command == b"gets ", data).get(key, missing)

    def read_lines(self, count: int, name: bytes) -> list[bytes]:
        """Return the lines of an answer that has so many, without their ends.

        Raises MemcacheClientError if the server has not understood a request.
        """
        data = self._receive(b"", 1)
        while (missing := count - data.count(b"\r\n")) > 0:
            data = self._receive(data, missing)
        lines = data.split(b"\r\n")
        if len(lines) != count + 1 or lines.pop():
            raise MemcacheUnknownError(data[-32:])
        for line in {*lines}:  # the server may read the rest of the request as commands
            if line.startswith((b"ERROR", b"CLIENT_ERROR")):
                self._raise_errors(line, name)
        return lines


def checked_key(key: Any, allow_unicode: bool, prefix: bytes) -> bytes:
    """Return a key as it is sent. Raises MemcacheIllegalInputError if it is invalid.

    prefix: is not checked, unless the key is bytes.
    """
    if (
        type(key) is str
        and 0 < len(key) <= KEY_MOST_BYTES - len(prefix)
        and key.isascii()
        and key.isprintable()
        and " " not in key
    ):
        return prefix + key.encode()
    # Let pymemcache say what is wrong, if anything is.
    sent: bytes = check_key_helper(key, allow_unicode, prefix)
    if not sent.strip():
        raise MemcacheIllegalInputError(f"Key is empty: {key!r}")
    return sent


def checked_expire(expire: int) -> int:
    """Return a time to live. Raises MemcacheIllegalInputError if it is no integer."""
    if not isinstance(expire, int):
        raise MemcacheIllegalInputError(f"expire must be integer, got bad value: {expire!r}")
    return expire


def checked_flags(flags: int) -> int:
    """Return flags that memcached accepts: it would read a value after others as commands."""
    if not 0 <= flags <= FLAGS_MAX:
        raise MemcacheIllegalInputError(f"Flags must be from 0 to {FLAGS_MAX}, not {flags!r}")
    return flags


class Connector:
    """Makes connections to servers, each with the same options.

    Not a part of the client, which refers to it: a client that is dropped closes its
    connections at once, without the cyclic garbage collector.
    """

    def __init__(self, kind: type[Connection], options: Mapping[str, Any]) -> None:
        self._kind = kind
        self._options = options

    def connect(self, address: str) -> Connection:
        """Return a connection, which connects when it is used."""
        return self._kind(endpoint(address), **self._options)

    def uptime(self, address: str, timeout: float) -> float:
        """Return for how many seconds a server has been up. Raises OSError."""
        with contextlib.closing(self._impatient(address, timeout)) as connection:
            try:
                return float(connection.stats()[b"uptime"])
            except (MemcacheError, KeyError, ValueError, IndexError) as error:
                reason = f"{address} does not tell its uptime"
                raise ConnectionAbortedError(reason) from error

    def flush(self, address: str, timeout: float) -> None:
        """Remove all items of a server. Raises OSError."""
        with contextlib.closing(self._impatient(address, timeout)) as connection:
            try:
                confirmed = all(connection.flush_all(d, noreply=False) for d in FLUSH_DELAYS)
            except MemcacheError as error:
                raise ConnectionAbortedError(f"{address} refused flush_all") from error
            if not confirmed:
                raise ConnectionAbortedError(f"{address} has not confirmed flush_all")

    def _impatient(self, address: str, timeout: float) -> Connection:
        connection = self.connect(address)
        connection.connect_timeout = connection.timeout = timeout
        return connection
