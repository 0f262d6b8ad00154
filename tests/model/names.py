"""What stands for a server in labels, from its address."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

PORT = "11211"


class RefusedError(ValueError):
    """A list of servers that a profile cannot hash."""


class Address(NamedTuple):
    """An address, split: a host and a port, each as written, or the path of a socket."""

    host: str = ""
    port: str = ""
    path: str = ""


def split(address: str) -> Address:
    path = address.removeprefix("unix:")
    if path.startswith("/"):
        return Address(path=path)
    if address.startswith("[") and address.endswith("]"):
        return Address(address)
    host, colon, port = address.rpartition(":")
    if colon and port.isascii() and port.isdigit():
        return Address(host, port)
    return Address(address)


def short(host: str, port: str) -> str:
    return host if port == PORT else f"{host}:{port}"


def long(host: str, port: str) -> str:
    return f"{host}:{port}"


def slashed(host: str, port: str) -> str:
    return f"/{host}:{port}"


def twice(host: str, port: str) -> str:
    return f"{host}/{host}:{port}"


def zero_byte(host: str, port: str) -> str:
    return f"{host}\0{port}"


def from_parts(
    address: str,
    form: Callable[[str, str], str],
    *,
    brackets: bool = False,
    port: str | None = None,
    socket: str | None = None,
) -> str:
    """Return a name made of the address's parts.

    brackets: whether those of an IPv6 address stay.
    port: what stands for a missing one; None: that is refused.
    socket: what follows a socket's path; None: sockets are refused.
    """
    parts = split(address)
    if parts.path:
        if socket is None:
            raise RefusedError(f"{address}: a socket")
        return parts.path + socket
    port = parts.port or port
    if port is None:
        raise RefusedError(f"{address}: no port")
    host = parts.host
    if not brackets and host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return form(host, port)


def as_written(address: str) -> str:
    return address


def default_port(address: str, port: int) -> str:
    """Return what comes before the first colon, if the default port comes right after it."""
    host, _, rest = address.partition(":")
    return host if rest.split(":")[0] == str(port) else address


def with_slash(address: str) -> str:
    return address if "/" in address else f"/{address}"


def evcache(address: str) -> str:
    parts = split(address)
    if parts.path:
        raise RefusedError(f"{address}: a socket")
    both = parts.host if "/" in parts.host else f"{parts.host}/{parts.host}"
    return f"{both}:{PORT}"


libmemcached = partial(from_parts, form=short, port=PORT, socket=":0")
libmemcached_spy = partial(from_parts, form=slashed, port=PORT)
twemproxy = partial(from_parts, form=short, brackets=True, socket=":")
java_short = partial(from_parts, form=short, brackets=True, port=PORT)
nginx = partial(from_parts, form=zero_byte, brackets=True, port="", socket="\0")
pingora = partial(from_parts, form=zero_byte)
memcached_proxy = partial(from_parts, form=long)
memcached_proxy_twemproxy = partial(from_parts, form=short)
memcached_proxy_evcache = partial(from_parts, form=twice)
libmc = partial(from_parts, form=short, port=PORT)
dalli = partial(from_parts, form=long, port=PORT, socket="")
