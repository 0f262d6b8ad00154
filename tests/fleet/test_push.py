"""Push, pull, roll back and edit, on a real etcd."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from clients.pages import DOCS, examples_of
from command import as_json, fits_schema, refusal, run, text

import ketama
from fleet.etcd import Cluster
from ketama import ServersError, fleet
from ketama.admin import buckets
from ketama.fleet import ConflictError, EngineError, RefusedError, Store, pushing
from ketama.fleet.files import replace_copy
from ketama.fleet.stamp import VERSION_MAX, accept, stamped
from ketama.fleet.watch import Watch

MORE = b"10.0.0.3:11211 600\n"


def servers_of(store: Store) -> bytes:
    text = store.read().servers
    assert text is not None
    return text


def test_a_pushed_file_is_the_value_byte_for_byte(
    engine: Cluster, store: Store, listed: Path
) -> None:
    body = listed.read_bytes()
    done = fleet.push(listed, store)
    assert (done.written, done.before, done.diff, done.file_written) == (True, 0, None, True)
    assert engine.get(f"/ketama/{store.domain}/servers") == listed.read_bytes()
    stamp = accept(listed.read_bytes(), store.domain)
    assert (stamp.version, stamp.body) == (done.version, body)
    again = fleet.push(listed, store)
    assert (again.written, again.version) == (False, done.version)


def test_two_operators_cannot_overwrite_each_other(
    store: Store, listed: Path, tmp_path: Path
) -> None:
    fleet.push(listed, store)
    other = tmp_path / "other.servers"
    version = fleet.pull(store, other)
    assert other.read_bytes() == listed.read_bytes()
    other.write_bytes(other.read_bytes() + MORE)
    done = fleet.push(other, store)
    assert done.before == version < done.version
    assert done.diff is not None
    assert done.diff.added == ("10.0.0.3:11211",)
    stale = listed.read_bytes() + b"10.0.0.4:11211 600\n"
    listed.write_bytes(stale)
    with pytest.raises(ConflictError, match=f"was pulled at version {version}"):
        fleet.push(listed, store)
    assert listed.read_bytes() == stale
    assert servers_of(store) == other.read_bytes()
    with pytest.raises(ConflictError, match="changes that were not pushed"):
        fleet.pull(store, listed)
    assert fleet.pull(store, listed, force=True) == done.version
    assert listed.read_bytes() == other.read_bytes()


def test_a_write_counts_only_at_the_revision_that_was_read(store: Store, listed: Path) -> None:
    fleet.push(listed, store)
    seen = store.read()
    new = stamped(servers_of(store) + MORE, store.domain, 10**15)
    store.write(new, seen.revision)
    with pytest.raises(ConflictError):
        store.write(stamped(new + b"10.0.0.4:1 1\n", store.domain, 10**15 + 1), seen.revision)
    assert servers_of(store) == new
    assert store.read().before == seen.servers


def test_a_file_without_a_version_replaces_nothing(
    store: Store, listed: Path, tmp_path: Path
) -> None:
    fleet.push(listed, store)
    new = tmp_path / "new.servers"
    new.write_bytes(MORE)
    with pytest.raises(ConflictError, match="has no version, so it was not pulled"):
        fleet.push(new, store)
    # With the list that the fleet has, it may become a copy of it.
    new.write_bytes(listed.read_bytes().partition(b"\n")[2])
    assert not fleet.push(new, store).written
    assert new.read_bytes() == listed.read_bytes()


def test_a_file_of_another_fleet_is_refused(
    engine: Cluster, store: Store, listed: Path
) -> None:
    fleet.push(listed, store)
    other = Store(engine.url("another"))
    with pytest.raises(RefusedError, match=f"for domain {store.domain}, not another"):
        fleet.push(listed, other)
    assert other.read().servers is None
    other.close()


def test_an_invalid_file_is_refused(store: Store, listed: Path) -> None:
    fleet.push(listed, store)
    before = servers_of(store)
    listed.write_bytes(before + b"10.0.0.3:11211 lots\n")
    with pytest.raises(ServersError) as raised:
        fleet.push(listed, store)
    assert (raised.value.filename, raised.value.lineno) == (str(listed), 4)
    assert servers_of(store) == before


def test_more_than_max_moved_is_refused(store: Store, listed: Path) -> None:
    fleet.push(listed, store)
    listed.write_bytes(listed.read_bytes() + MORE)
    with pytest.raises(ServersError, match="more than the limit of 20 %"):
        fleet.push(listed, store, max_moved=0.2)
    tried = fleet.push(listed, store, max_moved=0.5, dry_run=True)
    assert not tried.written
    assert tried.diff is not None
    assert fleet.push(listed, store, max_moved=0.5).written
    with pytest.raises(ValueError, match="max_moved"):
        fleet.push(listed, store, max_moved=2)


def test_a_map_becomes_a_ring_again(store: Store, listed: Path, tmp_path: Path) -> None:
    """A push and a roll-back replace a map by a list, and tell what that moves."""
    fleet.push(listed, store)
    ring = ketama.Continuum(listed)
    map_text = buckets.new_map(listed, buckets=1024)
    with fleet.edit(store) as servers:
        servers.replace(map_text)
    map_path = tmp_path / "map"
    map_path.write_bytes(map_text)
    moved = ketama.Continuum(map_path).diff(ring).moved
    assert moved > 0.01
    with pytest.raises(ServersError, match="more than the limit of 1 %"):
        fleet.rollback(store, max_moved=0.01)
    pulled = tmp_path / "pulled"
    fleet.pull(store, pulled)
    line = pulled.read_bytes().partition(b" profile=")[0]
    pulled.write_bytes(line + b"\n" + listed.read_bytes().partition(b"\n")[2])
    with pytest.raises(ServersError, match="more than the limit of 1 %"):
        fleet.push(pulled, store, max_moved=0.01)
    done = fleet.rollback(store)
    assert done.diff is not None
    assert done.diff.moved == moved
    now = tmp_path / "now"
    fleet.pull(store, now)
    assert ketama.Continuum(now).diff(ring).moved == 0


@pytest.mark.parametrize("change", ["drain", "fill", "list"])
def test_what_is_applied_to_a_pulled_file_can_be_pushed(
    change: str, store: Store, listed: Path, tmp_path: Path
) -> None:
    """It keeps the version of the file; so the second step of a plan can be pushed as well."""
    if change != "list":
        listed.write_bytes(buckets.new_map(listed, buckets=64))
    fleet.push(listed, store)
    begun = listed.read_bytes()
    address = begun.splitlines()[-1].split()[0].decode()
    if change == "drain":
        texts = buckets.drain(begun, "map", address, 0.1)
    elif change == "fill":
        texts = buckets.fill(begun, "map", "a:1", 600, 0.1)
    else:
        texts = [begun.partition(b"\n")[2] + MORE, b"#ketama profile=dalli\na:1 1\n"]
    assert len(texts) > 1
    for text_of_step in texts:
        fleet.pull(store, listed)
        with ketama.edit(listed) as servers:
            servers.replace(text_of_step)
        with pytest.raises(ConflictError, match="has changes that were not pushed"):
            fleet.pull(store, listed)
        done = fleet.push(listed, store)
        assert done.written
        body = text_of_step.partition(b"\n")[2] if b"#ketama" in text_of_step else text_of_step
        assert accept(servers_of(store), store.domain).body == body
    listed.write_bytes(servers_of(store))
    with ketama.edit(listed) as servers:
        servers.replace(begun)  # states a version of its own, which is not the newest
    with pytest.raises(ConflictError, match="was pulled at version"):
        fleet.push(listed, store)


def test_a_list_put_past_the_check_can_be_replaced(
    engine: Cluster, store: Store, listed: Path
) -> None:
    fleet.push(listed, store)
    good = listed.read_bytes()
    engine.put(f"/ketama/{store.domain}/servers", b"garbage")
    listed.write_bytes(good + MORE)
    with pytest.raises(ServersError, match="what would move is unknown"):
        fleet.push(listed, store, max_moved=0.5)
    with pytest.raises(RefusedError, match="does not state"):
        fleet.pull(store, listed)
    assert fleet.push(listed, store).diff is None
    assert servers_of(store) == listed.read_bytes()


NAMED_TWICE = b"10.0.0.1:11211 600 n\n10.0.0.2:11211 600 n\n"
NOT_WHOLE = b"#ketama profile=buckets buckets=16\n10.0.0.1:11211 1 0-7\n"


@pytest.mark.parametrize("wrong", [NAMED_TWICE, NOT_WHOLE])
def test_a_list_that_is_wrong_as_a_whole_can_be_replaced(
    wrong: bytes, engine: Cluster, url: str, store: Store, listed: Path
) -> None:
    """Each of its lines is valid."""
    fleet.push(listed, store)
    engine.put(f"/ketama/{store.domain}/servers", stamped(wrong, store.domain, 1))
    done = fleet.push(listed, store)
    assert (done.written, done.diff) == (True, None)
    assert servers_of(store) == listed.read_bytes()
    engine.put(f"/ketama/{store.domain}/servers", stamped(wrong, store.domain, 1))
    if wrong == NOT_WHOLE:
        assert "8 of 16 buckets have no server" in refusal(1, "apply", listed, url)
        listed.write_bytes(b"#ketama profile=libketama\n10.0.0.1:11211 600\n")
    assert as_json("apply", listed, url)["written"]
    assert accept(servers_of(store), store.domain).body.endswith(b"10.0.0.1:11211 600\n") == (
        wrong == NOT_WHOLE
    )


@pytest.mark.parametrize(
    "first", [b"", b"#ketama domain=DOMAIN version=5 sha256=0123456789abcdef\n"]
)
def test_a_list_that_machines_refuse_is_not_unchanged(
    first: bytes, engine: Cluster, url: str, store: Store, listed: Path
) -> None:
    """The same servers are written anew, with what their machines need."""
    body = listed.read_bytes()
    refused = first.replace(b"DOMAIN", store.domain.encode()) + body
    key = f"/ketama/{store.domain}/servers"
    engine.put(key, refused)
    assert fleet.push(listed, store, dry_run=True).written is False
    assert fleet.push(listed, store).written
    assert accept(servers_of(store), store.domain).body == body
    engine.put(key, refused)
    assert as_json("apply", listed, url)["written"]
    assert accept(servers_of(store), store.domain).body == body


def test_an_older_version_of_the_same_servers_is_no_change(
    url: str, store: Store, listed: Path, tmp_path: Path
) -> None:
    fleet.push(listed, store)
    older = tmp_path / "older"
    older.write_bytes(stamped(listed.read_bytes(), store.domain, 1))
    assert not as_json("apply", older, url)["written"]
    assert servers_of(store) == listed.read_bytes()


def test_a_pull_keeps_another_list_of_the_same_version(
    store: Store, listed: Path, tmp_path: Path
) -> None:
    """Etcd may have lost data, and have got that version again."""
    version = fleet.push(listed, store).version
    other = tmp_path / "other"
    text = stamped(MORE, store.domain, version)
    other.write_bytes(text)
    with pytest.raises(ConflictError, match="the fleet has another list of that, so etcd"):
        fleet.pull(store, other)
    assert other.read_bytes() == text
    fleet.pull(store, other, force=True)
    assert other.read_bytes() == listed.read_bytes()


def test_edits_that_are_refused_end_like_pushes(
    engine: Cluster, url: str, store: Store
) -> None:
    """The version is used up, so that no list can follow."""
    last = stamped(b"10.0.0.1:11211 600\n", store.domain, VERSION_MAX)
    engine.put(f"/ketama/{store.domain}/servers", last)
    assert "the largest possible" in refusal(1, "add", url, "10.0.0.2:11211", "600")


def test_a_key_of_somebody_else_is_no_prepared_list(
    engine: Cluster, store: Store, listed: Path
) -> None:
    """It is between the two that are watched."""
    fleet.push(listed, store)
    changes = store.watch()
    first = next(changes)
    engine.put(f"/ketama/{store.domain}/previous", b"hello")
    assert next(changes) == first
    store.interrupt()


def test_a_roll_back_is_a_new_version(store: Store, listed: Path) -> None:
    with pytest.raises(EngineError, match="no earlier list"):
        fleet.rollback(store)
    first = fleet.push(listed, store)
    body = listed.read_bytes().partition(b"\n")[2]
    listed.write_bytes(listed.read_bytes() + MORE)
    second = fleet.push(listed, store)
    assert not fleet.rollback(store, dry_run=True).written
    back = fleet.rollback(store)
    assert first.version < second.version < back.version
    assert accept(servers_of(store), store.domain).body == body
    assert fleet.rollback(store).version > back.version
    assert accept(servers_of(store), store.domain).body == body + MORE


def test_the_version_passes_all_that_the_fleet_knows(store: Store, listed: Path) -> None:
    far = 299912310000000
    lease = store.lease(60)
    assert lease is not None
    fleet.push(listed, store)
    store.report(fleet.Client("m1", far, "ok"), lease)
    with fleet.edit(store) as editing:
        editing.set_weight("10.0.0.1:11211", 500)
    assert editing.version == far + 1
    store.report(fleet.Client("m1", far, "ready", ready=far + 7), lease)
    with fleet.edit(store) as editing:
        editing.set_weight("10.0.0.1:11211", 400)
    assert editing.version == far + 8
    assert store.clients() == [fleet.Client("m1", far, "ready", ready=far + 7)]
    store.forget(lease)
    assert store.clients() == []


def test_an_engine_that_lost_changes_takes_a_newer_file(
    engine: Cluster, store: Store, listed: Path
) -> None:
    fleet.push(listed, store)
    old = listed.read_bytes()
    listed.write_bytes(old + MORE)
    newer = fleet.push(listed, store)
    engine.put(f"/ketama/{store.domain}/servers", old)
    with pytest.raises(ConflictError, match="etcd has lost changes"):
        fleet.pull(store, listed)
    done = fleet.push(listed, store)
    assert done.written
    assert done.version > newer.version
    # With the list of the engine as well, for the machines have a higher version.
    engine.put(f"/ketama/{store.domain}/servers", stamped(listed.read_bytes(), store.domain, 5))
    assert fleet.push(listed, store).version > done.version


def test_an_old_file_is_refused_while_the_engine_has_lost_its_data(
    engine: Cluster, store: Store, listed: Path
) -> None:
    version = fleet.push(listed, store).version
    lease = store.lease(300) or 0
    store.report(fleet.Client("m1", version + 5, "ok"), lease)
    engine.ctl("del", f"/ketama/{store.domain}/servers")
    with pytest.raises(ConflictError, match=f"has {version + 5}: .* the file of machine m1"):
        fleet.push(listed, store)
    store.report(fleet.Client("m1", version, "ok"), lease)
    assert fleet.push(listed, store).written
    store.forget(lease)


def test_a_version_after_which_there_is_none(store: Store, listed: Path) -> None:
    fleet.push(listed, store)
    store.write(stamped(MORE, store.domain, 10**18 - 1), store.read().revision)
    with (
        pytest.raises(RefusedError, match=r"servers, next and before by etcdctl del"),
        fleet.edit(store) as editing,
    ):
        editing.add("10.0.0.1:11211", 500)


def test_an_edit_during_a_pull_is_not_lost(
    store: Store, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.push(listed, store)
    copy = tmp_path / "copy"
    fleet.pull(store, copy)
    listed.write_bytes(listed.read_bytes() + MORE)
    fleet.push(listed, store)
    edited = copy.read_bytes() + b"10.0.0.9:11211 600\n"

    def late(*arguments: Any) -> bool:
        copy.write_bytes(edited)
        return replace_copy(*arguments)

    monkeypatch.setattr(pushing, "replace_copy", late)
    with pytest.raises(ConflictError, match="changes that were not pushed"):
        fleet.pull(store, copy)
    assert copy.read_bytes() == edited


def test_a_file_that_cannot_be_given_the_version(
    url: str, store: Store, listed: Path, tmpfs: Path
) -> None:
    path = tmpfs / "list"
    path.write_bytes(listed.read_bytes() + b"10.0.0.1:11211 600\n")
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    shown = text("push", path, url)
    assert "list:3: warning: " in shown
    assert shown.endswith(f"{path}: could not be given the new version: pull it again\n")
    assert accept(servers_of(store), store.domain).body == path.read_bytes()


def test_arguments_that_are_invalid(store: Store, listed: Path) -> None:
    with pytest.raises(ValueError, match="cannot be removed"):
        store.write(None, 0)
    with pytest.raises(ValueError, match="max_moved"), fleet.edit(store, max_moved=2):
        pass


def test_a_watch_of_what_the_engine_has_forgotten(
    engine: Cluster, store: Store, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.push(listed, store)
    engine.ctl("compact", str(store._folder.read()[1]))
    real = Watch._open
    monkeypatch.setattr(Watch, "_open", lambda self, revision, large: real(self, 1, large))
    changes = store.watch()
    next(changes)
    with pytest.raises(fleet.UnreachableError, match=r"was cancelled: .*compacted"):
        next(changes)


def test_an_edit_of_a_fleet(store: Store, listed: Path) -> None:
    with pytest.raises(EngineError, match="no list yet"), fleet.edit(store):
        pass
    fleet.push(listed, store)
    with fleet.edit(store, max_moved=0.5) as editing:
        version = editing.version
        editing.add("10.0.0.3:11211", 600)
    assert editing.version > version
    assert servers_of(store).endswith(MORE)
    with fleet.edit(store, dry_run=True) as editing:
        editing.remove("10.0.0.3:11211")
    with fleet.edit(store) as editing:
        pass
    assert servers_of(store).endswith(MORE)
    with (
        pytest.raises(ServersError, match="limit of 10 %"),
        fleet.edit(store, max_moved=0.1) as editing,
    ):
        editing.remove("10.0.0.3:11211")
    with pytest.raises(ConflictError), fleet.edit(store) as outer:  # noqa: PT012
        with fleet.edit(store) as inner:
            inner.set_weight("10.0.0.3:11211", 500)
        outer.set_weight("10.0.0.3:11211", 400)
    assert servers_of(store).endswith(b"10.0.0.3:11211 500\n")


def test_a_watch_begins_with_what_is_there(store: Store, listed: Path) -> None:
    heard = threading.Event()
    changes = store.watch(heard.set)
    assert next(changes).servers is None
    pushing = threading.Thread(
        target=lambda: (heard.wait(60), fleet.push(listed, Store(store.url.text)))
    )
    pushing.start()
    assert next(changes).servers == servers_of(store)
    pushing.join()
    store.interrupt()
    with pytest.raises(StopIteration):
        next(changes)


def test_an_engine_that_is_not_there() -> None:
    store = Store("etcd://127.0.0.1:1,[::1]:1/shop")
    with pytest.raises(fleet.UnreachableError) as raised:
        store.read()
    assert "Connection refused" in str(raised.value)
    assert raised.value.filename == "etcd://127.0.0.1:1,[::1]:1/shop"


def test_the_commands(url: str, listed: Path, tmp_path: Path) -> None:
    shown = text("push", listed, url)
    assert "nothing to compare with" in shown
    version = ketama.fleet.stamp.read_stamp(listed.read_bytes()).version
    assert f"{url}: version {version}" in shown
    assert "unchanged" in text("push", listed, url)
    pulled = tmp_path / "pulled"
    assert text("pull", url, pulled) == f"{pulled}: version {version}\n"
    found = fits_schema("pull", as_json("pull", url, pulled))
    assert found == {"url": url, "file": str(pulled), "version": version}
    pulled.write_bytes(pulled.read_bytes() + MORE)
    assert "dry run" in text("push", "-n", pulled, url)
    assert "limit of 20 %" in refusal(1, "push", "--max-moved=20%", pulled, url)
    found = fits_schema("push", as_json("push", pulled, url))
    assert found["version_before"] == version < found["version"]
    assert (found["written"], found["file_written"]) == (True, True)
    assert found["diff"]["added"] == ["10.0.0.3:11211"]
    listed.write_bytes(listed.read_bytes() + b"10.0.0.4:11211 600\n")
    assert "was pulled at version" in refusal(1, "push", listed, url)
    assert "not pushed" in refusal(1, "pull", url, listed)
    found = fits_schema("push", as_json("rollback", url))
    assert found["diff"]["removed"] == ["10.0.0.3:11211"]
    assert (found["file"], found["file_written"]) == (None, False)


def test_commands_report_errors_in_one_line(url: str, listed: Path) -> None:
    assert "must be etcd://" in refusal(2, "push", listed, "http://x/y")
    assert "invalid domain" in refusal(2, "push", listed, "etcd://x/")
    assert "no list yet" in refusal(3, "pull", url, listed)
    message = refusal(3, "pull", "etcd://127.0.0.1:1/x", listed)
    assert message.startswith("ketama: etcd://127.0.0.1:1/x: 127.0.0.1:1: Failed to establish")
    assert "Connection refused" in message
    message = refusal(3, "pull", url.replace("etcd:", "etcds:"), listed)
    assert "does etcd use TLS on this port? etcds:// is with TLS" in message
    assert "No such file" in refusal(3, "push", listed.with_name("none"), url)
    listed.write_bytes(b"a:1 x\n")
    assert f"{listed}:1: " in refusal(1, "push", listed, url)
    assert run("push", "--help").returncode == 0


def test_the_example_of_the_reference(store: Store, listed: Path) -> None:
    listed.write_text("".join(f"10.0.0.{number}:11211 600\n" for number in range(9)))
    fleet.push(listed, store)
    (example,) = examples_of(DOCS / "api" / "fleet.md")
    code = example.code.replace("etcd://etcd1,etcd2,etcd3/shop", store.url.text)
    exec(code.replace("expected=120", "expected=0"))
    text = store.read().servers
    assert text is not None
    assert b"10.0.1.9:11211 600" in text
