"""The folder of keys that etcd has for one fleet, and what is read there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ketama.fleet.gateway import Gateway, decode, encode, understanding

if TYPE_CHECKING:
    from typing import Any

TXN = "/v3/kv/txn"


class Snapshot(NamedTuple):
    """What the engine has of a fleet at one moment.

    servers: the list, or None. revision: of the list's last change; 0 without a list.
    next: a list that is prepared, if any. before: the list that was replaced last, if any; a
    watch does not read it. next_revision: of the prepared list's last change; 0 without one.
    """

    servers: bytes | None
    revision: int
    next: bytes | None
    before: bytes | None
    next_revision: int = 0


class Folder:
    """The keys of one fleet, as the gateway takes them.

    servers: of the list. next: of the prepared one. before: of the one that was replaced last.
    changed: of a few bytes that are written with each change of the list or the prepared one.
    clients: of the folder of the machines' reports, not encoded.
    """

    def __init__(self, gateway: Gateway, domain: str) -> None:
        self._gateway = gateway
        folder = f"/ketama/{domain}/".encode()
        self.servers, self.next = encode(folder + b"servers"), encode(folder + b"next")
        self.before, self.changed = encode(folder + b"before"), encode(folder + b"changed")
        self.clients = folder + b"clients/"

    def read(self, *, before: bool = True) -> tuple[Snapshot, int]:
        """Return what the engine has, and the engine's revision then.

        before: also the list that was replaced last.
        """
        answer = self._gateway.call(TXN, {"success": self.ranges(before=before)})
        with understanding(self._gateway.url):
            return self.snapshot(answer), int(answer["header"]["revision"])

    def revisions(self) -> tuple[int, int]:
        """Return the revisions of the list and of the prepared one; 0 without one."""
        ranges = self.ranges(before=False, keys_only=True)
        answer = self._gateway.call(TXN, {"success": ranges})
        with understanding(self._gateway.url):
            found = self.snapshot(answer)
        return found.revision, found.next_revision

    def ranges(self, *, before: bool = True, keys_only: bool = False) -> list[dict[str, Any]]:
        """Return the requests whose answers `snapshot` understands."""
        keys = [self.servers, self.next, *([self.before] if before else [])]
        return [{"request_range": {"key": key, "keys_only": keys_only}} for key in keys]

    def snapshot(self, answer: dict[str, Any]) -> Snapshot:
        """Return what the answers to `ranges` say."""
        found = [row["response_range"].get("kvs", [None])[0] for row in answer["responses"]]
        texts = [None if pair is None else decode(pair.get("value", "")) for pair in found]
        revisions = [0 if pair is None else int(pair["mod_revision"]) for pair in found]
        before = texts[2] if len(texts) > 2 else None
        return Snapshot(texts[0], revisions[0], texts[1], before, revisions[1])
