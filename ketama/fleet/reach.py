"""Whether this machine can connect to the servers of a list."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from ketama.addresses import parse_address

TIMEOUT = 2.0  # seconds
AT_ONCE = 16
PORT = 11211  # of an address without one


def unreachable_servers(addresses: Iterable[str]) -> list[str]:
    """Return those servers that cannot be connected to, each with the reason."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [problem for problem in pool.map(_problem, addresses) if problem]


def _problem(address: str) -> str:
    try:
        _connect(address)
    except (OSError, ValueError) as error:
        return f"{address}: {getattr(error, 'strerror', None) or error}"
    return ""


def _connect(address: str) -> None:
    parsed = parse_address(address)
    if parsed.path:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(parsed.path)
        return
    socket.create_connection((parsed.host, parsed.port or PORT), TIMEOUT).close()
