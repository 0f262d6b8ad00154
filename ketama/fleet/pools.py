"""Connections to etcd's members, with limits of time."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import contextmanager, suppress
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from urllib3.response import HTTPResponse

    from ketama.fleet.credentials import Credentials
    from ketama.fleet.url import FleetUrl

CONNECT, ANSWER = 2.0, 5.0  # seconds that a member gets until its next byte
WHOLE = 15.0  # seconds that it gets for an answer; of a watch, for its headers

# A peer that disappears without a word is noticed within 30 seconds.
_SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]
# What urllib3 puts before the reason.
_CONNECTION = re.compile(r"(?:<[^>]*>|\w+\([^)]*\)): ")
_IN_HANDSHAKE = "in the TLS handshake"
# A server without TLS answers a handshake with text, or closes. Where it closes before it has
# read all of it, the kernel resets the connection.
_NO_TLS = (
    "UNEXPECTED_EOF",
    "closed (EOF)",
    "WRONG_VERSION_NUMBER",
    "record layer failure",
    _IN_HANDSHAKE,
)
_UNKNOWN_ISSUER = ("unable to get local issuer", "self-signed", "self signed")


@contextmanager
def _limited(connected: socket.socket) -> Iterator[None]:
    """Shut a connection down where the block takes too long, although some bytes come."""
    late = threading.Event()

    def cut() -> None:
        late.set()
        with suppress(OSError):  # not as TLS does it, which would wait
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    timer = threading.Timer(WHOLE, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (HTTPError, HTTPException, OSError):
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


class _Connection(HTTPConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        with _limited(self.sock):
            return super().getresponse()


class _TlsConnection(HTTPSConnection):
    def connect(self) -> None:
        try:
            super().connect()
        except ConnectionError as error:  # before it, urllib3 raises an error of its own
            raise OSError(error.errno, f"{error.strerror} {_IN_HANDSHAKE}") from None

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        with _limited(self.sock):
            return super().getresponse()


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def make_pool(
    url: FleetUrl, host: str, port: int, credentials: Credentials
) -> urllib3.HTTPConnectionPool:
    """Return the connections to one member."""
    common: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=CONNECT, read=ANSWER),
        "retries": False,
        "maxsize": 2,
        "socket_options": _SOCKET_OPTIONS,
    }
    if not url.tls:
        return _Pool(host, port, **common)
    return _TlsPool(
        host,
        port,
        cert_reqs="CERT_REQUIRED",
        ca_certs=credentials.cacert,
        cert_file=credentials.cert,
        key_file=credentials.key,
        **common,
    )


def reason_of(error: Exception) -> str:
    """Return why a member was not reached, without the names of classes around it."""
    if isinstance(error, ProtocolError) and isinstance(error.args[-1], Exception):
        cause = error.args[-1]
        if isinstance(cause, (IncompleteRead, RemoteDisconnected)):
            return "the connection was closed"
        error = OSError(getattr(cause, "strerror", None) or cause)
    text = " ".join(str(error).split())
    short = _CONNECTION.sub("", text)
    if any(words in text for words in _NO_TLS):
        short += ": does etcd use TLS on this port? etcds:// is with TLS, etcd:// without"
    elif any(words in text for words in _UNKNOWN_ISSUER):
        short += ": set KETAMA_ETCD_CACERT to the path of the certificates that sign etcd's"
    return short or type(error).__name__
