"""What is kept of a fleet in etcd: its list, the one before, the next one, and its machines."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ketama.fleet.credentials import Credentials, find_credentials
from ketama.fleet.errors import ConflictError, EngineError, UnreachableError
from ketama.fleet.folder import TXN, Folder, Snapshot
from ketama.fleet.gateway import Gateway, decode, encode, parsed, understanding
from ketama.fleet.stamp import VERSION_MAX, read_stamp
from ketama.fleet.url import FleetUrl, parse_url
from ketama.fleet.verdict import REFUSED, STATES
from ketama.fleet.watch import Notice, Watch, digest_of, is_large, spread_over

logger = logging.getLogger("ketama.fleet")

RANGE = "/v3/kv/range"
GRANT, KEEP_ALIVE, PUT = "/v3/lease/grant", "/v3/lease/keepalive", "/v3/kv/put"
REVOKE = "/v3/lease/revoke"
ATTEMPTS = 3  # of a write whose answer did not come
SINCE_MAX = 253402300800  # seconds since 1970: the year 10000
REASON_MAX = 1000  # characters of what a machine reports


class Client(NamedTuple):
    """What a machine has reported.

    machine: its name. version: of its file, 0 if that has none. state: `ok`, `edited` ...
    reason: why it refused something, else "". ready: the version of the prepared list that it
    can switch to, 0 if none. since: when it got into this state, seconds since 1970.
    """

    machine: str
    version: int
    state: str
    reason: str = ""
    ready: int = 0
    since: float = 0.0


class Store:
    """One fleet's part of an engine: etcd, by its JSON gateway.

    url: such as etcd://host1,host2:2379/domain.
    credentials: None: those of the environment, see `find_credentials`.

    Raises ValueError where the URL is invalid, CredentialsError where the credentials are, and
    KetamaOSError where a file of them cannot be read.

    All methods raise UnreachableError where no member of the engine answers, and EngineError
    where it refuses; threads may share a store.
    """

    def __init__(self, url: str, credentials: Credentials | None = None) -> None:
        self.url: FleetUrl = parse_url(url)
        found = find_credentials() if credentials is None else credentials
        self._gateway = Gateway(self.url, found)
        self._folder = Folder(self._gateway, self.url.domain)
        self._watch = Watch(self._gateway, self._folder)

    @property
    def domain(self) -> str:
        """The name of the fleet."""
        return self.url.domain

    def close(self) -> None:
        """Close all connections."""
        self.interrupt()
        self._gateway.close()

    def read(self) -> Snapshot:
        """Return what a majority of the engine's members agrees on now."""
        return self._folder.read()[0]

    def write(self, text: bytes | None, revision: int, *, prepare: bool = False) -> int:
        """Replace the list, if it is still at a revision; return its new revision.

        The list so far becomes the one before, and a prepared one is dropped. If etcd does not
        accept both lists in one request, there is no list before; a warning is logged.

        text: the new list. revision: of the list that it replaces; 0 for the first one.
        prepare: only prepare the list: machines check it, and report `ready`. None as the text
            drops a prepared list.

        Raises ConflictError where the list has another revision. If an answer does not come,
        the write may have been carried out; so it is tried again, and the value that is then
        there decides. If no answer comes to that either, UnreachableError says so.
        """
        if text is None and not prepare:
            raise ValueError("a list cannot be removed")
        sent, failed = False, ""
        for _ in range(ATTEMPTS):
            try:
                current, now = self._folder.read()
                if sent and text in _written(current, prepare):
                    return current.revision
                if current.revision != revision:
                    raise ConflictError(f"{self.url.text}: {_CHANGED}")
                if prepare and text is not None and _is_older(text, current.next):
                    raise ConflictError(f"{self.url.text}: {_PREPARED}")
                sent = True
                return self._write(text, current, prepare=prepare, now=now)
            except UnreachableError as error:
                if not sent:
                    raise
                failed = str(error.strerror)
        raise UnreachableError(errno.EHOSTUNREACH, f"{failed}; {_UNKNOWN}", self.url.text)

    def _write(
        self, text: bytes | None, current: Snapshot, *, prepare: bool, now: int | None = None
    ) -> int:
        """Write if the list is still `current`, and none was prepared after revision `now`."""
        compared = [
            {
                "key": self._folder.servers,
                "target": "MOD",
                "result": "EQUAL",
                "mod_revision": str(current.revision),
            }
        ]
        if prepare and now is not None:
            compared.append(
                {
                    "key": self._folder.next,
                    "target": "MOD",
                    "result": "LESS",
                    "mod_revision": str(now + 1),
                }
            )
        kept: list[dict[str, Any]] = []
        if text is None:
            changes = [_delete(self._folder.next)]
        elif prepare:
            changes = [_put(self._folder.next, text)]
        else:
            changes = [_put(self._folder.servers, text), _delete(self._folder.next)]
            if current.servers is not None:
                kept = [_put(self._folder.before, current.servers)]
        changes.append(_put(self._folder.changed, self._notice(text, current, prepare).text()))
        body = {
            "compare": compared,
            "success": changes + kept,
            "failure": self._folder.ranges(),
        }
        try:
            answer = self._gateway.call(TXN, body)
        except EngineError as error:
            if not kept or error.errno != errno.EMSGSIZE:
                raise
            # Otherwise a list that etcd has accepted could never be changed again.
            body["success"] = [*changes, _delete(self._folder.before)]
            answer = self._gateway.call(TXN, body)
            if answer.get("succeeded"):
                logger.warning("%s: %s", self.url.text, _NOT_KEPT)
        with understanding(self.url):
            if answer.get("succeeded"):
                return current.revision if prepare else int(answer["header"]["revision"])
            # The gateway may have asked twice, because the first answer did not come.
            found = self._folder.snapshot(answer)
        if text in _written(found, prepare):
            return found.revision
        raise ConflictError(f"{self.url.text}: {_CHANGED}")

    def _notice(self, text: bytes | None, current: Snapshot, prepare: bool) -> Notice:
        lists = [text or b"", current.servers or b"" if prepare else b""]
        digest = "" if prepare else digest_of(lists[0])
        if not is_large(*lists):
            return Notice(digest, 0.0)
        return Notice(digest, spread_over(sum(map(len, lists)), len(self.clients())))

    def watch(self, heard: Callable[[], object] | None = None) -> Iterator[Snapshot]:
        """Yield what the engine has now, and then after each change, without an end.

        A list of more than 64 KiB is not sent to all machines when it changes: each one reads
        it, after a pause of its own that grows with the number of machines. The list before
        is left out.

        heard: called once the engine has confirmed that it will report changes.

        Ends after `interrupt`, or when the list has become larger or smaller than that, and
        raises UnreachableError when the member fails or loses the others; call it again then,
        after a pause. It always begins with a read, which renews the token if that is needed,
        and watches from there: an old revision may be one that the engine has lost.
        """
        return self._watch.changes(heard)

    def has_changed(self, since: Snapshot) -> bool:
        """Return whether the list or the prepared one has changed since then."""
        return self._folder.revisions() != (since.revision, since.next_revision)

    def interrupt(self) -> None:
        """Make a `watch` in another thread end, and the next one use another member."""
        self._watch.interrupt()

    @property
    def is_watching_elsewhere(self) -> bool:
        """Whether a watch is at a member that has failed to answer something else."""
        return self._watch.is_elsewhere

    def lease(self, seconds: int, lease: int | None = None) -> int | None:
        """Return a new lease, or keep one for as long again; None: that has ended."""
        if lease is None:
            answer = self._gateway.call(GRANT, {"TTL": str(seconds)})
            with understanding(self.url):
                return int(answer["ID"])
        answer = self._gateway.call(KEEP_ALIVE, {"ID": str(lease)})
        with understanding(self.url):
            return lease if int(answer.get("result", {}).get("TTL", 0)) > 0 else None

    def report(self, client: Client, lease: int) -> None:
        """Say what a machine has; forgotten when the lease ends.

        Raises EngineError with errno ENOENT where it has ended already.
        """
        document = client._asdict()
        name = document.pop("machine")
        put = {
            "key": encode(self._folder.clients + name.encode()),
            "value": encode(json.dumps(document).encode()),
            "lease": str(lease),
        }
        try:
            self._gateway.call(PUT, put)
        except EngineError as error:
            if "lease not found" not in str(error.strerror):
                raise
            raise EngineError(errno.ENOENT, error.strerror, self.url.text) from None

    def holder(self, machine: str) -> int:
        """Return the lease of a machine's report; 0 if it has not reported."""
        answer = self._gateway.call(
            RANGE, {"key": encode(self._folder.clients + machine.encode())}
        )
        with understanding(self.url):
            return next((int(pair["lease"]) for pair in answer.get("kvs", [])), 0)

    def forget(self, lease: int) -> None:
        """End a lease, and with it the report under it."""
        self._gateway.call(REVOKE, {"ID": str(lease)})

    def clients(self) -> list[Client]:
        """Return what the machines have reported, in the order of their names.

        A report that cannot be read counts as `refused`.
        """
        end = self._folder.clients[:-1] + bytes([self._folder.clients[-1] + 1])
        body = {"key": encode(self._folder.clients), "range_end": encode(end)}
        answer = self._gateway.call(RANGE, body)
        with understanding(self.url):
            return [self._client(pair) for pair in answer.get("kvs", [])]

    def _client(self, pair: dict[str, Any]) -> Client:
        name = decode(pair["key"]).removeprefix(self._folder.clients).decode(errors="replace")
        try:
            return _parse_report(name, parsed(decode(pair.get("value", ""))))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            return Client(name, 0, REFUSED, "its report cannot be read: is its follower newer?")


def _is_older(text: bytes, prepared: bytes | None) -> bool:
    """Return whether machines would take one prepared list for another one, or an older one."""
    return read_stamp(text).version <= read_stamp(prepared or b"").version


def _written(found: Snapshot, prepare: bool) -> tuple[bytes | None, ...]:
    """Return the texts of which one is what was written, if it was.

    It is the list before if another operator has replaced it in the meantime.
    """
    return (found.next,) if prepare else (found.servers, found.before)


def _parse_report(name: str, document: dict[str, Any]) -> Client:
    """Return what a machine has reported; raises what a wrong document leads to."""
    client = Client(
        name,
        int(document["version"]),
        str(document["state"]),
        str(document.get("reason", ""))[:REASON_MAX],
        int(document.get("ready", 0)),
        float(document.get("since", 0)),
    )
    versions = range(VERSION_MAX + 1)
    if client.version not in versions or client.ready not in versions:
        raise ValueError("no version is so large")
    if client.state not in STATES or not 0 <= client.since < SINCE_MAX:
        raise ValueError("no follower writes this")
    return client


_CHANGED = "another operator has changed the list in the meantime; nothing was written"
_PREPARED = "another operator has prepared a list in the meantime; nothing was written"
_UNKNOWN = "the change may have been written: see what the fleet has before you repeat it"
_NOT_KEPT = (
    "the earlier list was not kept, so this cannot be rolled back: both are larger than etcd "
    "accepts in one request: raise its --max-request-bytes"
)


def _put(key: str, value: bytes) -> dict[str, Any]:
    return {"request_put": {"key": key, "value": encode(value)}}


def _delete(key: str) -> dict[str, Any]:
    return {"request_delete_range": {"key": key}}
