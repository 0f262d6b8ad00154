"""Requests to etcd's JSON gateway, at whichever of its members answers."""

from __future__ import annotations

import errno
import json
import random
import re
import socket
import threading
from base64 import b64decode, b64encode
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import TYPE_CHECKING

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ProtocolError

from ketama.fleet.errors import EngineError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from urllib3.response import BaseHTTPResponse, HTTPResponse

    from ketama.fleet.credentials import Credentials
    from ketama.fleet.url import FleetUrl

CONNECT, ANSWER = 2.0, 5.0  # seconds that a member gets until its next byte
WHOLE = 15.0  # seconds that it gets for an answer; of a watch, for its headers
LINE_MAX = 64 << 20  # bytes of a line in a watch

# Status codes of gRPC. At these, another member may do better.
_ELSEWHERE = (
    1,  # cancelled: the member is shutting down
    4,  # deadline exceeded
    10,  # aborted
    13,  # internal: the connection between gateway and member
    14,  # unavailable: no leader, request timed out
)
_UNAUTHENTICATED = 16
_NO_LEADER = ("no leader", "leader changed", "server stopped", "timed out")
_WRONG_PASSWORD = "invalid user ID or password"  # noqa: S105
_AUTH_OFF = "authentication is not enabled"
# What urllib3 puts before the reason.
_CONNECTION = re.compile(r"(?:<[^>]*>|\w+\([^)]*\)): ")
_NO_TLS = ("UNEXPECTED_EOF", "closed (EOF)", "WRONG_VERSION_NUMBER", "record layer failure")
_UNKNOWN_ISSUER = ("unable to get local issuer", "self-signed", "self signed")
# With JWT, each change of users or roles ends all tokens.
_TOKEN_ENDED = ("auth token", "revision of auth store is old")
_NO_SPACE = "database space exceeded"
_TOO_LARGE = ("request is too large", "larger than max")

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


def encode(data: bytes) -> str:
    """Return bytes as the gateway takes them."""
    return b64encode(data).decode()


def decode(text: str) -> bytes:
    """Return what the gateway means."""
    return b64decode(text)


def parsed(data: bytes) -> Any:
    """Parse a JSON document. Raises ValueError if it is invalid or nested too deeply."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


@contextmanager
def understanding(url: FleetUrl) -> Iterator[None]:
    """Raise EngineError where the block finds that an answer is not one of etcd's."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        reason = "an answer is not one of etcd's: is this etcd's client URL?"
        raise EngineError(errno.EPROTO, reason, url.text) from None


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
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        with _limited(self.sock):
            return super().getresponse()


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class Stream:
    """The lines of a watch that a member sends.

    member: the number of the member that sends it.
    """

    def __init__(self, response: BaseHTTPResponse, member: int) -> None:
        self.member = member
        self._response = response
        self._ended = False

    def wait_without_limit(self) -> None:
        """Let the next line take any time."""
        connection = self._response.connection
        connected = getattr(connection, "sock", None)
        if connected is not None:
            connected.settimeout(None)

    def lines(self) -> Iterator[bytes]:
        """Yield each line, also if it comes in pieces, or with others; until it ends."""
        begun = bytearray()
        while data := self._response.read1():
            begun += data
            if len(begun) > LINE_MAX:
                raise OSError(errno.EMSGSIZE, f"a line has more than {LINE_MAX} bytes")
            *whole, rest = begun.split(b"\n")
            begun = bytearray(rest)
            yield from map(bytes, whole)

    def end(self) -> None:
        """Make `lines` end, from another thread."""
        self._ended = True
        try:
            self._response.shutdown()
        except (ValueError, RuntimeError, OSError):
            self._response.close()  # it has ended by itself

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


class Gateway:
    """The members of one engine, asked one after the other until one answers.

    It stays with a member as long as that answers. Threads may share it.
    """

    def __init__(self, url: FleetUrl, credentials: Credentials) -> None:
        if url.tls:
            credentials.check_files()
        self.url = url
        self._credentials = credentials
        self._pools = [_pool(url, host, port, credentials) for host, port in url.members]
        self.member = random.randrange(len(self._pools))  # noqa: S311 - spreads the load
        self._token: str | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections that wait to be used again."""
        for pool in self._pools:
            pool.close()

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of the first member that has one.

        Raises UnreachableError where none has: the request may have been carried out all the
        same. EngineError where the engine refuses it.
        """
        failed: UnreachableError | None = None
        for _ in range(len(self._pools) + 1):  # the first one's connection may have been old
            member = self.member
            try:
                return self._authenticated(member, path, body)
            except UnreachableError as error:
                failed = failed or error
                # After the loss of all data, etcd may wait for ever for what an old token is
                # of: a position in its log that it has not reached again.
                self._token = None
                self.leave(member)
        if failed is None:
            raise AssertionError("there is no member")
        raise failed

    def leave(self, member: int) -> None:
        """Ask the next member from now on, unless that is so already."""
        with self._lock:
            if self.member == member:
                self.member = (member + 1) % len(self._pools)

    def stream(self, path: str, body: dict[str, Any]) -> Stream:
        """Return the lines of a watch at the present member.

        An open watch outlives its token, but a new one with an old token waits for ever; so
        call this right after something else has been answered. With the header, a member that
        has lost the others says so.
        """
        member = self.member
        headers = {**self._headers(), "Grpc-Metadata-hasleader": "true"}
        response = self._post(member, path, body, headers, preload_content=False)
        if response.status != 200:
            data = self._rest(response, member)
            raise self._refusal(response.status, data, member)
        return Stream(response, member)

    def unreachable(self, reason: str, member: int) -> UnreachableError:
        """Return the error for a member that does not do its work."""
        host, port = self.url.members[member]
        return UnreachableError(errno.EHOSTUNREACH, f"{host}:{port}: {reason}", self.url.text)

    def refusal_of(self, document: dict[str, Any], member: int) -> EngineError:
        """Return the error that a document has in place of a result."""
        error = document.get("error")
        if isinstance(error, dict):  # in a watch
            reason = str(error.get("message", ""))
            return self._error(_code(error.get("grpc_code")), reason, member)
        # 3.4 has the reason as `error`, 3.5 as `message`.
        reason = str(document.get("message") or error or document)
        return self._error(_code(document.get("code")), reason, member)

    def _authenticated(self, member: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if self._credentials.user is None:
            return self._ask(member, path, body)
        if self._token is None:
            self._authenticate(member)
        try:
            return self._ask(member, path, body)
        except EngineError as error:
            ended = "token" in str(error.strerror) or not self._token
            if error.errno != errno.EACCES or not ended:
                raise
        self._authenticate(member)  # the token has expired, or users are back
        return self._ask(member, path, body)

    def _authenticate(self, member: int) -> None:
        name, password = self._credentials.user, self._credentials.password
        self._token = None
        try:
            answer = self._ask(
                member, "/v3/auth/authenticate", {"name": name, "password": password}
            )
        except EngineError as error:
            if _AUTH_OFF in str(error.strerror):  # as after the loss of all data
                self._token = ""
                return
            raise
        with understanding(self.url):
            token = str(answer["token"])
            if not (token.isascii() and token.isprintable()):  # as a header must be
                raise ValueError("no token of etcd's")
            self._token = token

    def _headers(self) -> dict[str, str]:
        return {"Authorization": self._token} if self._token else {}

    def _ask(self, member: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self._post(member, path, body, self._headers(), preload_content=True)
        if response.status != 200:
            raise self._refusal(response.status, response.data, member)
        try:
            document = parsed(response.data)
        except ValueError:
            raise self.unreachable("its answer is not JSON", member) from None
        if not isinstance(document, dict):
            raise self.unreachable("its answer is not a JSON object", member)
        if "error" in document:
            raise self.refusal_of(document, member)
        return document

    def _post(
        self,
        member: int,
        path: str,
        body: dict[str, Any],
        headers: dict[str, str],
        *,
        preload_content: bool,
    ) -> BaseHTTPResponse:
        try:
            return self._pools[member].urlopen(
                "POST",
                path,
                body=json.dumps(body).encode(),
                headers={"Content-Type": "application/json", **headers},
                preload_content=preload_content,
            )
        except (HTTPError, OSError) as error:
            raise self.unreachable(_reason(error), member) from None

    def _rest(self, response: BaseHTTPResponse, member: int) -> bytes:
        try:
            return response.read(4096)
        except (HTTPError, OSError) as error:
            raise self.unreachable(_reason(error), member) from None
        finally:
            response.close()

    def _refusal(self, status: int, data: bytes, member: int) -> EngineError:
        try:
            document = parsed(data.partition(b"\n")[0])
        except ValueError:
            document = None
        if isinstance(document, dict):
            return self.refusal_of(document, member)
        text = " ".join(data.decode(errors="backslashreplace").split())[:300]
        if "CommonName" in text:
            reason = (
                "the client's certificate has a common name (CN), which etcd's gateway refuses "
                "with authentication on: issue one without a CN, and set user and password"
            )
            return EngineError(errno.EACCES, reason, self.url.text)
        if status >= 500:
            return self.unreachable(f"HTTP status {status}: {text}", member)
        reason = f"HTTP status {status}: {text}: is this etcd's client URL?"
        return EngineError(errno.EPROTO, reason, self.url.text)

    def _error(self, code: int, reason: str, member: int) -> EngineError:
        reason = reason.removeprefix("etcdserver: ")
        if code in _ELSEWHERE or any(words in reason for words in _NO_LEADER):
            return self.unreachable(reason, member)
        if code == _UNAUTHENTICATED or any(words in reason for words in _TOKEN_ENDED):
            return EngineError(errno.EACCES, f"token expired: {reason}", self.url.text)
        user = self._credentials.user
        denied = "permission denied" in reason
        if "user name is empty" in reason or (denied and user is None):
            reason = (
                "etcd requires authentication: set KETAMA_ETCD_USER and "
                "KETAMA_ETCD_PASSWORD, or KETAMA_ETCD_CONFIG"
            )
        elif denied:
            reason = (
                f"permission denied: the roles of user {user} do not allow this under "
                f"/ketama/{self.url.domain}/; see 'etcdctl role get'"
            )
        elif _WRONG_PASSWORD in reason:
            reason = f"{reason}: see the user, {user}, and its password"
        elif any(words in reason for words in _TOO_LARGE):
            reason = f"the list is larger than etcd accepts ({reason})"
            return EngineError(errno.EMSGSIZE, reason, self.url.text)
        elif _NO_SPACE in reason:
            reason = (
                f"etcd is full ({reason}): compact and defragment it by etcdctl, or raise its "
                "--quota-backend-bytes; then run 'etcdctl alarm disarm'"
            )
            return EngineError(errno.ENOSPC, reason, self.url.text)
        return EngineError(errno.EACCES, reason, self.url.text)


def _pool(
    url: FleetUrl, host: str, port: int, credentials: Credentials
) -> urllib3.HTTPConnectionPool:
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


def _code(value: object) -> int:
    """Return the status code of gRPC that an error has; 0 if it has none."""
    return value if isinstance(value, int) else 0


def _reason(error: Exception) -> str:
    """Return why a member was not reached, without the names of classes around it."""
    if isinstance(error, ProtocolError) and isinstance(error.args[-1], Exception):
        cause = error.args[-1]
        error = OSError(getattr(cause, "strerror", None) or cause)
    text = " ".join(str(error).split())
    short = _CONNECTION.sub("", text)
    if any(words in text for words in _NO_TLS):
        short += ": does etcd use TLS on this port? etcds:// is with TLS, etcd:// without"
    elif any(words in text for words in _UNKNOWN_ISSUER):
        short += ": set KETAMA_ETCD_CACERT to the path of the certificates that sign etcd's"
    return short or type(error).__name__
