"""Ask one memcached server, over a connection of its own, whether it is back."""

from __future__ import annotations

import errno
import socket

from ketama.addresses import Address, parse_address

PORT = 11211
# A server tells its uptime in whole seconds, by a clock that may be late by one.
UPTIME_LATE_S = 2
# The delays of the flush_all commands that empty a server. memcached compares times in whole
# seconds, and newer versions, such as 1.6.45, may keep what was read or written in the second
# of a plain flush_all. A delay of 1 removes everything up to the end of that second, and at
# once. Another kind of server may only do that a second later, so the first has none.
FLUSH_DELAYS = (0, 1)


class InvalidAddressError(OSError, ValueError):
    """A server cannot be reached, because its address in the server file is invalid."""


def endpoint(address: str) -> tuple[str, int] | str:
    """Return the host and the port of an address, or the path of its Unix socket.

    The port is 11211 if the address has none. Raises InvalidAddressError, which is an OSError:
    one wrong line of a server file is one server that is down.
    """
    try:
        parsed: Address = parse_address(address)
    except ValueError as error:
        raise InvalidAddressError(errno.EINVAL, str(error), address) from None
    return parsed.path or (parsed.host, parsed.port or PORT)


def connect(address: str, timeout: float | None) -> socket.socket:
    """Return a connection to a server. Raises OSError if there is none within the timeout."""
    where = endpoint(address)
    if isinstance(where, tuple):
        return socket.create_connection(where, timeout)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(where)
    except BaseException:
        connection.close()
        raise
    return connection


def _ask(address: str, timeout: float, command: bytes, last: tuple[bytes, ...]) -> list[bytes]:
    """Send a command, and return the lines of the answer, up to one of the last ones."""
    lines: list[bytes] = []
    with connect(address, timeout) as connection, connection.makefile("rb") as answer:
        connection.sendall(command)
        while not lines or not lines[-1].startswith(last):
            line = answer.readline(1000)
            if not line.endswith(b"\r\n"):
                raise ConnectionAbortedError(f"{address} closed the connection")
            lines.append(line[:-2])
    return lines


def uptime(address: str, timeout: float) -> float:
    """Return for how many seconds a server has been up.

    timeout: in seconds, for each step. Raises OSError if it does not answer as memcached.
    """
    for line in _ask(address, timeout, b"stats\r\n", (b"END", b"ERROR", b"SERVER_ERROR")):
        name, _, value = line.removeprefix(b"STAT ").partition(b" ")
        if name == b"uptime" and value.isdigit():
            return float(value)
    raise ConnectionAbortedError(f"{address} does not tell its uptime")


def flush(address: str, timeout: float) -> None:
    """Remove all items of a server. Raises OSError if it does not confirm that."""
    for delay in FLUSH_DELAYS:
        [line] = _ask(address, timeout, b"flush_all %d\r\n" % delay, (b"",))
        if line != b"OK":
            raise ConnectionAbortedError(f"{address} refused flush_all: {line[:80].decode()!r}")


def was_restarted(up_for: float, down_for: float) -> bool:
    """Return whether a server that was down was restarted meanwhile, and so is empty.

    up_for: its uptime, in seconds; down_for: for how long it was down. False if in doubt.
    """
    return up_for + UPTIME_LATE_S < down_for
