"""A list of which etcd sends only the news that it has changed, as most bucket maps are."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_for

from fleet.etcd import Cluster
from fleet.machines import follower_of
from ketama.admin import buckets
from ketama.fleet import Client, EngineError, Snapshot, Store, rollback, watch
from ketama.fleet import following as module
from ketama.fleet.folder import Folder
from ketama.fleet.gateway import Gateway, decode
from ketama.fleet.stamp import stamped

SMALL = b"10.0.0.1:11211 600\n"


@pytest.fixture(scope="module")
def bucket_map(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A map of 65,536 buckets."""
    path = tmp_path_factory.mktemp("servers") / "shop.servers"
    path.write_text("".join(f"10.0.0.{number}:11211 600\n" for number in range(1, 9)))
    return buckets.new_map(path, buckets=65536)


class Seen:
    """What watches have asked for: keys that they watch, reads, and pauses before these."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.reads = 0
        self.bounds: list[float] = []


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Count what watches ask for, and let none of them pause."""
    seen = Seen()
    stream, read = Gateway.stream, Folder.read

    def watched(self: Gateway, path: str, body: dict[str, Any]) -> object:
        seen.keys.append(decode(body["create_request"]["key"]).rpartition(b"/")[2].decode())
        return stream(self, path, body)

    def counted(self: Folder, *, before: bool = True) -> object:
        seen.reads += not before
        return read(self, before=before)

    def at_once(least: float, most: float) -> float:
        assert least == 0
        seen.bounds.append(most)
        return 0.0

    monkeypatch.setattr(Gateway, "stream", watched)
    monkeypatch.setattr(Folder, "read", counted)
    monkeypatch.setattr(watch, "uniform", at_once)
    return seen


@contextmanager
def watching(store: Store) -> Iterator[Iterator[Snapshot]]:
    """Watch with a store of its own; yield what comes after the first snapshot."""
    heard = threading.Event()
    with closing(Store(store.url.text)) as own:
        changes = own.watch(heard.set)
        next(changes)
        found: list[Snapshot] = []
        arrived = threading.Semaphore(0)

        def collect() -> None:
            for snapshot in changes:
                found.append(snapshot)
                arrived.release()

        def each() -> Iterator[Snapshot]:
            while True:
                arrived.acquire()
                yield found.pop(0)

        thread = threading.Thread(target=collect)
        thread.start()
        try:
            heard.wait()
            yield each()
        finally:
            own.interrupt()
            thread.join()


def versions_of(store: Store, text: bytes, count: int) -> list[bytes]:
    """Return a list in some versions."""
    return [stamped(text, store.domain, 10**14 + number) for number in range(count)]


def test_a_change_is_a_notice_and_a_read(store: Store, bucket_map: bytes, seen: Seen) -> None:
    first, second = versions_of(store, bucket_map, 2)
    revision = store.write(first, 0)
    with watching(store) as changes:
        assert (seen.keys, seen.reads) == (["changed"], 1)
        revision = store.write(second, revision)
        assert next(changes) == Snapshot(second, revision, None, None)
        assert seen.reads == 2


def test_machines_read_within_a_time_that_grows_with_them(
    store: Store, bucket_map: bytes, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = versions_of(store, bucket_map, 3)
    revision = store.write(first, 0)
    lease = store.lease(300) or 0
    for number in range(40):
        store.report(Client(f"web{number}", 1, "ok", since=1e9), lease)
    with watching(store) as changes:
        revision = store.write(second, revision)
        next(changes)
        # They read the list and the prepared one then.
        store.write(third, revision, prepare=True)
        assert next(changes).next == third
        monkeypatch.setattr(watch, "RATE", 1.0)
        store.write(None, revision, prepare=True)
        assert next(changes).next is None
    size = len(second)
    assert seen.bounds == [40 * size / 50e6, 40 * 2 * size / 50e6, 60.0]
    store.forget(lease)


def test_a_prepared_list_is_used_at_once(store: Store, bucket_map: bytes, seen: Seen) -> None:
    first, second, third = versions_of(store, bucket_map, 3)
    revision = store.write(first, 0)
    with watching(store) as changes:
        store.write(second, revision, prepare=True)
        prepared = next(changes)
        assert (prepared.servers, prepared.next, seen.reads) == (first, second, 2)
        revision = store.write(second, revision)
        assert next(changes) == Snapshot(second, revision, None, None)
        assert seen.reads == 2
        # Of two lists, the one that is prepared may not be the one that comes.
        store.write(first, revision, prepare=True)
        next(changes)
        revision = store.write(third, revision)
        assert next(changes) == Snapshot(third, revision, None, None)


def test_two_changes_during_a_pause_are_one_read(
    store: Store, bucket_map: bytes, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = versions_of(store, bucket_map, 4)
    revision = store.write(texts[0], 0)
    paused, go_on = threading.Event(), threading.Event()

    def blocked(*_: float) -> float:
        paused.set()
        go_on.wait()
        return 0.0

    monkeypatch.setattr(watch, "uniform", blocked)
    with watching(store) as changes:
        revision = store.write(texts[1], revision)
        paused.wait()
        revision = store.write(texts[2], revision)
        go_on.set()
        assert next(changes).servers == texts[2]
        store.write(texts[3], revision)
        assert next(changes).servers == texts[3]
    assert seen.reads == 3


def test_a_list_that_grows_and_shrinks(
    store: Store, bucket_map: bytes, seen: Seen, tmp_path: Path
) -> None:
    path = tmp_path / "copy"
    revision = 0
    with follower_of(store, path):
        for number, text in enumerate([SMALL, bucket_map, bucket_map, SMALL, SMALL]):
            text = stamped(text, store.domain, 10**14 + number)
            revision = store.write(text, revision)
            wait_for(lambda text=text: path.exists() and path.read_bytes() == text)  # type: ignore[misc]
            expected = "changed" if len(text) > watch.LARGE else "next"
            wait_for(lambda expected=expected: seen.keys and seen.keys[-1] == expected)  # type: ignore[misc]
    assert seen.keys[-3:] == ["next", "changed", "next"]


def test_a_follower_stops_during_its_pause(
    store: Store, bucket_map: bytes, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = threading.Event()

    def long(*_: float) -> float:
        paused.set()
        return 1e6

    first, second = versions_of(store, bucket_map, 2)
    revision = store.write(first, 0)
    path = tmp_path / "copy"
    monkeypatch.setattr(module, "END", 300.0)
    with follower_of(store, path):
        wait_for(lambda: path.exists() and seen.keys == ["changed"])
        monkeypatch.setattr(watch, "uniform", long)
        store.write(second, revision)
        paused.wait()
    assert path.read_bytes() == first
    assert "watch" not in [thread.name for thread in threading.enumerate()]


def test_what_an_operator_puts_by_hand(
    engine: Cluster,
    store: Store,
    bucket_map: bytes,
    seen: Seen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody announces it: the read that finds silent watches finds that."""
    first, second = versions_of(store, bucket_map, 2)
    store.write(first, 0)
    path = tmp_path / "copy"
    keys = f"/ketama/{store.domain}"
    monkeypatch.setattr(module, "SILENCE", (0.05, 0.1))
    with follower_of(store, path):
        wait_for(lambda: path.exists() and seen.keys == ["changed"])
        for notice in (b"", b"{", b"[]", b'{"digest": 1, "spread": "x"}', b'{"spread": NaN}'):
            reads = seen.reads
            engine.put(f"{keys}/changed", notice)
            wait_for(lambda reads=reads: seen.reads > reads)  # type: ignore[misc]
        for spread in ("-1", "NaN", "1e999", "61"):
            engine.put(f"{keys}/changed", b'{"digest": "x", "spread": %s}' % spread.encode())
        wait_for(lambda: len(seen.bounds) == 9)
        assert set(seen.bounds) == {0.0}
        assert seen.keys == ["changed"]
        engine.put(f"{keys}/servers", second)
        wait_for(lambda: path.read_bytes() == second)


def test_a_notice_says_which_list_it_is_about(
    engine: Cluster, store: Store, bucket_map: bytes
) -> None:
    text, *_ = versions_of(store, bucket_map, 1)
    store.write(text, 0)
    found = engine.get(f"/ketama/{store.domain}/changed")
    assert json.loads(found) == {"digest": watch.digest_of(text), "spread": 0.0}


def test_a_list_that_does_not_fit_beside_the_one_before(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A list that etcd has accepted can be changed, though not rolled back."""
    first, second, third = (
        stamped(SMALL + b"# " + size * b"x" + b"\n", store.domain, 10**14 + size)
        for size in (800_000, 800_001, 1_700_000)
    )
    revision = store.write(first, store.write(SMALL, 0))
    assert store.read().before == SMALL
    assert caplog.messages == []
    revision = store.write(second, revision)
    kept = Snapshot(second, revision, None, None)
    assert store.read() == kept
    assert "the earlier list was not kept" in caplog.text
    with pytest.raises(EngineError, match="no earlier list to roll back to"):
        rollback(store)
    with pytest.raises(EngineError, match=r"larger than etcd accepts .*: raise its --max"):
        store.write(third, revision)
    assert store.read() == kept
    store.write(SMALL, revision)
    assert store.read().before == second
