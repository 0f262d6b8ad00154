"""Hear of the changes of a fleet's list, also from an etcd that has thousands to tell."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from random import uniform
from typing import TYPE_CHECKING, NamedTuple

from urllib3.exceptions import HTTPError

from ketama.fleet.errors import EngineError
from ketama.fleet.gateway import decode, encode, parsed, understanding
from ketama.fleet.pools import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ketama.fleet.folder import Folder, Snapshot
    from ketama.fleet.gateway import Gateway, Stream

WATCH = "/v3/watch"
LARGE = 64 << 10  # bytes of a list that etcd should not send to all machines at once
RATE = 50e6  # bytes of lists a second that an etcd of two cores sends
SPREAD_MAX = 60.0  # seconds


class Notice(NamedTuple):
    """What is written with each change, for machines that do not watch a large list itself.

    digest: of the new list; empty if only the prepared one has changed. spread: the time within
    which machines read what is new, seconds.
    """

    digest: str
    spread: float

    def text(self) -> bytes:
        """Return what etcd keeps."""
        return json.dumps(self._asdict()).encode()


def spread_over(size: int, machines: int) -> float:
    """Return within how many seconds machines should read so many bytes each."""
    return min(size * machines / RATE, SPREAD_MAX)


def is_large(*texts: bytes | None) -> bool:
    """Return whether machines read a list of theirs, instead of being sent it."""
    return any(len(text or b"") > LARGE for text in texts)


class Watch:
    """The watch of one fleet's list and of the prepared one.

    etcd sends them to each machine that watches them. Large ones, as bucket maps are, would
    keep it busy for long, and take memory for each machine. So where they are large, a machine
    watches the notice of a change, and reads them within the time that this states, when
    chance has it. A list that was prepared is there already: machines switch to it at once.
    """

    def __init__(self, gateway: Gateway, folder: Folder) -> None:
        self._gateway = gateway
        self._folder = folder
        self._stream: Stream | None = None

    def changes(self, heard: Callable[[], object] | None = None) -> Iterator[Snapshot]:
        """Yield what the engine has now, and then after each change; as `Store.watch`."""
        current, revision = self._folder.read(before=False)
        yield current
        member = self._gateway.member
        large = is_large(current.servers, current.next)
        try:
            with closing(self._open(revision + 1, large)) as stream:
                self._stream = stream
                for following in self._follow(stream, current, revision, heard):
                    yield following
                    if is_large(following.servers, following.next) != large:
                        return
        except (HTTPError, OSError) as error:
            self._gateway.leave(member)
            if self._stream is not None and self._stream.ended:
                return
            if isinstance(error, EngineError):
                raise
            reason = f"the watch ended: {reason_of(error)}"
            raise self._gateway.unreachable(reason, member) from None
        finally:
            self._stream = None

    def interrupt(self) -> None:
        """Make `changes` end, in another thread."""
        if (stream := self._stream) is not None:
            stream.end()

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is at a member that has failed to answer something else."""
        stream = self._stream
        return stream is not None and stream.member != self._gateway.member

    def _open(self, revision: int, large: bool) -> Stream:
        request = {"key": self._folder.changed, "start_revision": str(revision)}
        if not large:
            end = encode(decode(self._folder.servers) + b"\0")
            request.update(key=self._folder.next, range_end=end)
        return self._gateway.stream(WATCH, {"create_request": request})

    def _follow(
        self,
        stream: Stream,
        current: Snapshot,
        revision: int,
        heard: Callable[[], object] | None,
    ) -> Iterator[Snapshot]:
        """Yield what the engine has after each change that a stream tells."""
        for line in stream.lines():
            with understanding(self._gateway.url):
                result = self._result(line, stream.member)
                events = [
                    event
                    for event in result.get("events", [])
                    if int(event["kv"]["mod_revision"]) > revision
                ]
                last = events[-1]["kv"] if events else {}
            if result.get("canceled"):
                raise self._cancelled(result.get("cancel_reason") or "compacted", stream.member)
            if result.get("created"):
                stream.wait_without_limit()
                if heard is not None:
                    heard()
            if not events:
                continue
            if last.get("key") == self._folder.changed:
                current, revision = self._noticed(stream, current, last)
            else:
                with understanding(self._gateway.url):
                    for event in events:
                        current = self._after(current, event)
            if not stream.ended:
                yield current
        raise self._gateway.unreachable("the watch has ended", stream.member)

    def _result(self, line: bytes, member: int) -> dict[str, Any]:
        document = parsed(line)
        if "error" in document:
            raise self._gateway.refusal_of(document, member)
        result: dict[str, Any] = document.get("result", {})
        return result

    def _cancelled(self, reason: str, member: int) -> EngineError:
        if "permission denied" in reason:
            return self._gateway.refusal_of({"error": reason}, member)
        return self._gateway.unreachable(f"the watch was cancelled: {reason}", member)

    def _after(self, current: Snapshot, event: dict[str, Any]) -> Snapshot:
        """Return what the engine has after an event of the list, or of the prepared one."""
        pair = event["kv"]
        deleted = event.get("type") == "DELETE"
        value = None if deleted else decode(pair.get("value", ""))
        revision = 0 if deleted else int(pair["mod_revision"])
        if pair["key"] == self._folder.servers:
            return current._replace(servers=value, revision=revision)
        if pair["key"] == self._folder.next:
            return current._replace(next=value, next_revision=revision)
        return current  # another key, between these two

    def _noticed(
        self, stream: Stream, current: Snapshot, pair: dict[str, Any]
    ) -> tuple[Snapshot, int]:
        """Return what the engine has after a notice, and since which revision."""
        with understanding(self._gateway.url):
            notice = _parse_notice(decode(pair.get("value", "")))
            revision = int(pair["mod_revision"])
        if current.next is not None and digest_of(current.next) == notice.digest:
            now = current._replace(
                servers=current.next, revision=revision, next=None, next_revision=0
            )
            return now, revision
        if stream.wait(uniform(0, notice.spread)):  # noqa: S311
            return current, revision
        return self._folder.read(before=False)


def digest_of(text: bytes) -> str:
    """Return the SHA-256 of a list, in hexadecimal."""
    return hashlib.sha256(text).hexdigest()


def _parse_notice(text: bytes) -> Notice:
    """Return a notice; without a spread if it was not written by a store."""
    try:
        document = parsed(text)
        digest, spread = str(document["digest"]), float(document["spread"])
    except (KeyError, OverflowError, TypeError, ValueError):
        return Notice("", 0.0)
    return Notice(digest, spread if 0 <= spread <= SPREAD_MAX else 0.0)
