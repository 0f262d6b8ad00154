"""Requests to etcd's JSON gateway, at whichever of its members answers."""

from __future__ import annotations

import errno
import json
import random
import threading
from base64 import b64decode, b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING

from urllib3.exceptions import HTTPError

from ketama.fleet.errors import EngineError, UnreachableError
from ketama.fleet.pools import make_pool, reason_of
from ketama.fleet.refusals import (
    is_authentication_off,
    is_of_one_member,
    refusal,
    refusal_by_http,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from urllib3.response import BaseHTTPResponse

    from ketama.fleet.credentials import Credentials
    from ketama.fleet.url import FleetUrl

LINE_MAX = 64 << 20  # bytes of a line in a watch


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


class Stream:
    """The lines of a watch that a member sends.

    member: the number of the member that sends it.
    """

    def __init__(self, response: BaseHTTPResponse, member: int) -> None:
        self.member = member
        self._response = response
        self._ended = threading.Event()

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
        self._ended.set()
        try:
            self._response.shutdown()
        except (ValueError, RuntimeError, OSError):
            self._response.close()  # it has ended by itself

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait, until `end` is called at the latest; return whether it was."""
        return self._ended.wait(seconds)

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
        self._pools = [make_pool(url, host, port, credentials) for host, port in url.members]
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
        headers = {**self._login(member), "Grpc-Metadata-hasleader": "true"}
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
        login = self._login(member)
        try:
            return self._ask(member, path, body, login)
        except EngineError as error:
            ended = "token" in str(error.strerror) or not login
            if self._credentials.user is None or error.errno != errno.EACCES or not ended:
                raise
        self._token = None  # it has expired, or users are back
        return self._ask(member, path, body, self._login(member))

    def _login(self, member: int) -> dict[str, str]:
        """Return the header that says who asks; it stays valid for this thread's request."""
        token = self._token
        if token is None:
            token = self._token = self._authenticate(member)
        return {"Authorization": token} if token else {}

    def _authenticate(self, member: int) -> str:
        """Return a new token; empty if none is needed."""
        name, password = self._credentials.user, self._credentials.password
        if name is None:
            return ""
        try:
            answer = self._ask(
                member, "/v3/auth/authenticate", {"name": name, "password": password}, {}
            )
        except EngineError as error:
            if is_authentication_off(error):  # as after the loss of all data
                return ""
            raise
        with understanding(self.url):
            token = str(answer["token"])
            if not (token.isascii() and token.isprintable()):  # as a header must be
                raise ValueError("no token of etcd's")
        return token

    def _ask(
        self, member: int, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        response = self._post(member, path, body, headers, preload_content=True)
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
            raise self.unreachable(reason_of(error), member) from None

    def _rest(self, response: BaseHTTPResponse, member: int) -> bytes:
        try:
            return response.read(4096)
        except (HTTPError, OSError) as error:
            raise self.unreachable(reason_of(error), member) from None
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
        if status >= 500:
            return self.unreachable(f"HTTP status {status}: {text}", member)
        return refusal_by_http(status, text, self.url)

    def _error(self, code: int, reason: str, member: int) -> EngineError:
        reason = reason.removeprefix("etcdserver: ")
        if is_of_one_member(code, reason):
            return self.unreachable(reason, member)
        return refusal(code, reason, self.url, self._credentials.user)


def _code(value: object) -> int:
    """Return the status code of gRPC that an error has; 0 if it has none."""
    return value if isinstance(value, int) else 0
