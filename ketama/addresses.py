"""Server addresses, split into host and port: one parser for checks, clients and profiles.

The forms of an address:

    cache1:11211         host and port
    cache1, 10.0.0.1     a host alone
    [2001:db8::1]:11211  an IPv6 address and a port
    2001:db8::1          an IPv6 address alone, with or without brackets
    /run/memcached.sock  a Unix socket; unix:/run/memcached.sock as well
"""

from __future__ import annotations

import socket
from typing import NamedTuple

PORT_MAX = 65535
_DIGITS_MAX = len(str(PORT_MAX))


class Address(NamedTuple):
    """A server's address, split.

    host: a name or an IP address, without brackets; "" for a Unix socket.
    port: 1 to 65535; None if the address has none.
    path: of the Unix socket; "" for a host.
    """

    host: str
    port: int | None = None
    path: str = ""


def parse_address(text: str) -> Address:
    """Return a server's address, split into host and port, or the path of its socket.

    Nothing is resolved, and host names are not checked. If the whole text is an IPv6 address,
    it has no port; otherwise the port follows the last colon.

    Raises ValueError if the port is not a number from 1 to 65535, or if a closing bracket is
    missing or followed by anything but a port.
    """
    path = text.removeprefix("unix:")
    if path.startswith("/"):
        return Address("", None, path)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError(f"missing ']' in {text!a}")
        if rest and not rest.startswith(":"):
            raise ValueError(f"unexpected {rest!a} after ']'")
        return Address(host, _port(rest[1:]) if rest else None)
    if ":" not in text or _is_ipv6(text):
        return Address(text)
    host, _, port = text.rpartition(":")
    return Address(host, _port(port))


def find_address(text: str) -> Address | None:
    """Return what `parse_address` returns, or None if that would raise."""
    try:
        return parse_address(text)
    except ValueError:
        return None


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX:
        port = int(text)
        if 0 < port <= PORT_MAX:
            return port
    raise ValueError(f"invalid port {text!a:.80}: must be 1-{PORT_MAX}")


def _is_ipv6(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    except (OSError, ValueError):  # ValueError: a NUL byte, or not ASCII
        return False
    return True
