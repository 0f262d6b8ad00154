"""A follower on a real etcd: what it replaces, what it leaves alone, and what it reports."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, refusal
from needs import need
from waiting import wait_for

from fleet.etcd import Cluster, running
from fleet.machines import Machine, follower_of, following
from ketama import fleet
from ketama.admin.images import image_of
from ketama.fleet import (
    Client,
    EngineError,
    Follower,
    Snapshot,
    Store,
    UnreachableError,
    backoff,
)
from ketama.fleet import following as module
from ketama.fleet.files import replace_copy
from ketama.fleet.stamp import read_stamp, stamped
from ketama.fleet.watch import Watch

MORE = b"10.0.0.3:11211 600\n"


def watching() -> list[threading.Thread]:
    """The threads of followers that watch an engine."""
    return [thread for thread in threading.enumerate() if thread.name == "watch"]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.02)


def push(store: Store, listed: Path, more: bytes = b"") -> bytes:
    """Push the list, with more lines; return its text."""
    if more:
        listed.write_bytes(listed.read_bytes() + more)
    fleet.push(listed, store)
    return listed.read_bytes()


def reported(store: Store, state: str) -> Client:
    """Wait until the machine reports a state."""
    (found, *_) = wait_for(lambda: [one for one in store.clients() if one.state == state])
    return found


def test_a_new_machine_gets_the_list_and_each_change(
    store: Store, listed: Path, tmp_path: Path
) -> None:
    first = push(store, listed)
    path = tmp_path / "copy"
    with follower_of(store, path):
        wait_for(lambda: path.exists() and path.read_bytes() == first)
        client = reported(store, "ok")
        assert client.version == read_stamp(first).version
        assert client.machine == "web1"
        wait_for(lambda: image_of(str(path), b""))
        second = push(store, listed, MORE)
        wait_for(lambda: path.read_bytes() == second)
        wait_for(lambda: store.clients()[0].version == read_stamp(second).version)
    assert store.clients() == []  # it takes its report back
    assert sorted(file.name for file in tmp_path.iterdir() if "edit" in file.name) == []


def test_the_list_that_a_machine_has_already_is_accepted(
    store: Store, listed: Path, tmp_path: Path
) -> None:
    path = tmp_path / "copy"
    path.write_bytes(listed.read_bytes())  # as it came by scp
    first = push(store, listed)
    with follower_of(store, path):
        wait_for(lambda: path.read_bytes() == first)


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("restarted", [True, False])
def test_an_edit_by_hand_is_left_alone_until_the_next_version(
    store: Store, listed: Path, tmp_path: Path, versioned: bool, restarted: bool
) -> None:
    first = push(store, listed)
    path = tmp_path / "copy"
    if not restarted:
        path.write_bytes(first)
    edited = first + b"10.0.0.9:11211 600\n"
    edited = edited if versioned else edited.partition(b"\n")[2]
    if restarted:
        path.write_bytes(edited)
    with follower_of(store, path):
        if not restarted:
            reported(store, "ok")
            path.write_bytes(edited)
        client = reported(store, "edited")
        assert client.version == read_stamp(first).version
        assert path.read_bytes() == edited
        second = push(store, listed, MORE)
        wait_for(lambda: path.read_bytes() == second)
        reported(store, "ok")


def test_an_edit_that_is_undone_is_ok_again(store: Store, listed: Path, tmp_path: Path) -> None:
    first = push(store, listed)
    path = tmp_path / "copy"
    with follower_of(store, path):
        reported(store, "ok")
        path.write_bytes(first + MORE)
        reported(store, "edited")
        path.write_bytes(first)
        reported(store, "ok")
        path.unlink()
        wait_for(lambda: path.exists() and path.read_bytes() == first)


def test_a_file_never_goes_to_a_lower_version(
    engine: Cluster, store: Store, listed: Path, tmp_path: Path
) -> None:
    first = push(store, listed)
    second = push(store, listed, MORE)
    path = tmp_path / "copy"
    key = f"/ketama/{store.domain}/servers"
    with follower_of(store, path):
        wait_for(lambda: path.exists() and path.read_bytes() == second)
        engine.put(key, first)
        assert reported(store, "ahead").version == read_stamp(second).version
        assert path.read_bytes() == second
        engine.put(key, stamped(first, store.domain, read_stamp(second).version))
        reported(store, "conflict")
        assert path.read_bytes() == second
        engine.ctl("del", key)
        client = reported(store, "ahead")
        assert client.reason == "etcd has no list"
        assert path.read_bytes() == second
        third = push(store, listed, b"10.0.0.4:11211 600\n")
        wait_for(lambda: path.read_bytes() == third)
        reported(store, "ok")


def test_a_file_that_changes_before_it_is_locked_is_judged_again(
    store: Store, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(store, listed)
    path = tmp_path / "copy"
    newer = stamped(MORE, store.domain, FUTURE)

    def late(*arguments: Any) -> bool:
        path.write_bytes(newer)  # as another operator's pull may
        return replace_copy(*arguments)

    monkeypatch.setattr(module, "replace_copy", late)
    with follower_of(store, path):
        reported(store, "ahead")
        assert path.read_bytes() == newer


def test_a_file_of_another_fleet_is_an_edit(store: Store, listed: Path, tmp_path: Path) -> None:
    other = stamped(MORE, "other", 10**17)
    path = tmp_path / "copy"
    path.write_bytes(other)
    push(store, listed)
    with follower_of(store, path):
        reported(store, "edited")
        assert path.read_bytes() == other
        second = push(store, listed, MORE)
        wait_for(lambda: path.read_bytes() == second)


def test_the_version_of_another_fleet_does_not_count(
    store: Store, listed: Path, tmp_path: Path
) -> None:
    """So a fleet that is yet to begin can begin with any file."""
    path = tmp_path / "copy"
    path.write_bytes(stamped(MORE, "other", 202611245334335))
    with follower_of(store, path):
        assert reported(store, "edited").version == 0
        assert fleet.push(listed, store).written


def test_each_problem_of_the_engine_is_logged_once(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another one is news: it may be the cause."""
    monkeypatch.setattr(backoff, "LONGEST", 0.01)
    wrong: list[EngineError] = [
        UnreachableError(errno.EHOSTUNREACH, reason, "etcd://a/x") for reason in "ab"
    ]
    wrong.append(EngineError(errno.EACCES, "denied", "etcd://a/x"))

    def failing(self: Store, heard: object) -> Iterator[Snapshot]:
        raise wrong.pop(0) if len(wrong) > 1 else wrong[0]
        yield

    monkeypatch.setattr(Store, "watch", failing)
    with caplog.at_level("WARNING", "ketama.fleet"), follower_of(store, tmp_path / "copy"):
        wait_for(lambda: "denied" in caplog.text)
    kept = f"; keeping {tmp_path / 'copy'} as it is"
    found = [record.getMessage() for record in caplog.records if kept in record.getMessage()]
    assert found == [f"etcd://a/x: a{kept}", f"etcd://a/x: denied{kept}"]


BODY = b"10.0.0.1:11211 600\n10.0.0.8:11211 600\n"
FUTURE = 299912310000000


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "the list is empty"),
        ("cut", "its checksum is not that of its text"),
        ("garbage", "does not state domain, version and sha256"),
        ("another domain", "it is for domain other"),
        ("no version", "does not state domain, version and sha256"),
        ("invalid", "line 2: "),
        ("endless version", "does not state domain, version and sha256"),
    ],
)
def test_a_bad_value_changes_nothing(
    engine: Cluster, store: Store, listed: Path, tmp_path: Path, kind: str, reason: str
) -> None:
    good = stamped(BODY, store.domain, FUTURE)
    value = {
        "empty": b"",
        "cut": good[:-20],
        "garbage": bytes(range(1, 256)) * 4,
        "another domain": stamped(BODY, "other", FUTURE),
        "no version": BODY,
        "invalid": stamped(b"10.0.0.1:11211 many\n" + BODY, store.domain, FUTURE),
        "endless version": good.replace(b"%d" % FUTURE, 5000 * b"9"),
    }[kind]
    first = push(store, listed)
    path = tmp_path / "copy"
    with follower_of(store, path):
        reported(store, "ok")
        before = path.stat()
        engine.put(f"/ketama/{store.domain}/servers", value)
        client = reported(store, "refused")
        assert reason in client.reason
        assert path.read_bytes() == first
        assert path.stat().st_ino == before.st_ino
        second = push(store, listed, MORE)
        wait_for(lambda: path.read_bytes() == second)
        reported(store, "ok")


def test_a_file_that_cannot_be_written_is_reported_and_tried_again(
    store: Store, listed: Path, tmp_path: Path
) -> None:
    first = push(store, listed)
    path = tmp_path / "later" / "copy"
    with follower_of(store, path):
        client = reported(store, "refused")
        assert client.reason == f"{path}: No such file or directory"
        assert client.version == 0
        path.parent.mkdir()
        wait_for(lambda: path.exists() and path.read_bytes() == first)
        reported(store, "ok")


def test_a_file_system_that_is_full_or_read_only(
    store: Store, listed: Path, tmpfs: Path
) -> None:
    path = tmpfs / "copy"
    first = push(store, listed)
    with follower_of(store, path):
        wait_for(lambda: path.exists() and path.read_bytes() == first)
        filler = tmpfs / "filler"
        with suppress(OSError):
            filler.write_bytes(bytes(2**20))
        second = push(store, listed, MORE)
        client = reported(store, "refused")
        assert client.reason == f"{path}: No space left on device"
        assert client.version == read_stamp(first).version
        assert path.read_bytes() == first
        filler.unlink()
        wait_for(lambda: path.read_bytes() == second)
        reported(store, "ok")
        subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
        third = push(store, listed, b"10.0.0.4:11211 600\n")
        assert reported(store, "refused").reason.endswith("Read-only file system")
        assert path.read_bytes() == second
        subprocess.run(["mount", "-o", "remount,rw", str(tmpfs)], check=True)
        wait_for(lambda: path.read_bytes() == third)
        reported(store, "ok")
        assert os.listdir(tmpfs) == ["copy"]


def test_a_symbolic_link_stays_one(store: Store, listed: Path, tmp_path: Path) -> None:
    first = push(store, listed)
    (tmp_path / "real").mkdir()
    target, path = tmp_path / "real" / "copy", tmp_path / "copy"
    target.write_bytes(first)
    path.symlink_to(target)
    with follower_of(store, path):
        reported(store, "ok")
        second = push(store, listed, MORE)
        wait_for(lambda: target.read_bytes() == second)
        assert path.is_symlink()
        # It may be made to lead elsewhere.
        other = tmp_path / "real" / "other"
        other.write_bytes(first)
        path.unlink()
        path.symlink_to(other)
        wait_for(lambda: other.read_bytes() == second)


def test_two_followers_of_one_file(store: Store, listed: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy"
    with follower_of(store, path, "a"), follower_of(store, path, "b"):
        for number in range(5):
            text = push(store, listed, b"10.0.1.%d:11211 600\n" % number)
            version = read_stamp(text).version
            wait_for(
                lambda version=version: [(one.version, one.state) for one in store.clients()]  # type: ignore[misc]
                == 2 * [(version, "ok")]
            )
            assert path.read_bytes() == text
    assert sorted(os.listdir(tmp_path)) == ["copy", "shop.servers"]


def test_a_change_is_one_request(
    store: Store, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is kept alive in its own time, however often the list changes."""
    push(store, listed)
    asked: list[str] = []
    for name in ("lease", "holder", "report"):
        real = getattr(Store, name)

        def counted(*args: Any, name: str = name, real: Any = real) -> object:
            asked.append(name)
            return real(*args)

        monkeypatch.setattr(Store, name, counted)
    with follower_of(store, tmp_path / "copy", lease=3000):
        reported(store, "ok")
        asked.clear()
        for number in range(3):
            version = read_stamp(push(store, listed, b"10.0.2.%d:11211 600\n" % number)).version
            wait_for(lambda version=version: store.clients()[0].version == version)  # type: ignore[misc]
        assert asked == 3 * ["report"]


def test_two_machines_of_one_name(
    store: Store, listed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As cloned hosts are: only one report can be there, so none of them may be ok."""
    text = push(store, listed)
    with follower_of(store, tmp_path / "a", lease=2):
        reported(store, "ok")
        with follower_of(store, tmp_path / "b", lease=2):
            wait_for(lambda: (tmp_path / "b").exists())
            client = reported(store, "refused")
            assert client.reason == module.RIVAL
            assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == text
        # The report of the one that is left comes back.
        reported(store, "ok")
    assert f"web1: {module.RIVAL}" in caplog.messages


def test_a_follower_that_stops_leaves_no_watch(
    store: Store, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one that is just being opened."""
    push(store, listed)
    real, opening, stopped = Watch._open, threading.Event(), threading.Event()

    def slow(self: Watch, revision: int, large: bool) -> object:
        opening.set()
        stopped.wait()
        return real(self, revision, large)

    monkeypatch.setattr(Watch, "_open", slow)
    monkeypatch.setattr(module, "END", 300)
    end = Store.interrupt

    def late(self: Store) -> None:
        end(self)
        stopped.set()  # so that the watch opens after it was told to end

    monkeypatch.setattr(Store, "interrupt", late)
    with follower_of(store, tmp_path / "copy"):
        opening.wait()
    assert watching() == []


def test_a_watch_that_has_become_silent_is_replaced(
    store: Store, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE", (0.05, 0.1))
    first = push(store, listed)
    path = tmp_path / "copy"
    # Its watch hears of nothing, as one from a revision that the engine has lost.
    real = Watch._open
    calls: list[int] = []

    def deaf(self: Watch, revision: int, large: bool) -> object:
        calls.append(revision)
        return real(self, revision + (10**6 if len(calls) == 1 else 0), large)

    monkeypatch.setattr(Watch, "_open", deaf)
    with follower_of(store, path):
        wait_for(lambda: path.exists() and path.read_bytes() == first)
        wait_for(lambda: calls)
        second = push(store, listed, MORE)
        wait_for(lambda: path.read_bytes() == second)
        wait_for(lambda: len(calls) > 1)


def test_pauses_grow_and_are_random() -> None:
    pauses = backoff.Backoff()
    first = [pauses.pause() for _ in range(300)]
    assert first[0] <= backoff.FIRST
    assert backoff.LONGEST / 2 < max(first) <= backoff.LONGEST
    assert len(set(first)) == 300
    pauses.reset()
    assert pauses.pause() <= backoff.FIRST


def test_a_machine_name_that_is_no_key(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="invalid machine"):
        Follower(store, tmp_path / "copy", machine="a/b")
    with pytest.raises(ValueError, match="at most 255 characters"):
        Follower(store, tmp_path / "copy", machine=256 * "a")
    message = refusal(2, "follow", "--machine", "a/b", store.url.text, tmp_path / "copy")
    assert "invalid machine" in message
    assert "not found" in refusal(2, "follow", "--user", "nobody-", store.url.text, "x")


class Manager:
    """A service manager: what it is told."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(300)

    def next(self) -> list[str]:
        """Return the lines of the next message."""
        return self._socket.recv(4096).decode().splitlines()

    def drain(self) -> list[list[str]]:
        """Return all messages that have come so far."""
        self._socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.next())
        except BlockingIOError:
            return found
        finally:
            self._socket.settimeout(300)

    def close(self) -> None:
        """Go away."""
        self._socket.close()


def test_the_manager_is_told_through_an_outage(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "etcd://127.0.0.1:1/shop", "web1")
    machine.file.write_bytes(stamped(MORE, "shop", 5))
    manager = Manager(tmp_path)
    machine.start(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="200000")
    try:
        # The file is good, so the machine is ready, although there is no engine.
        assert manager.next() == ["READY=1"]
        for _ in range(3):
            assert manager.next() == ["WATCHDOG=1", "STATUS=version 5, behind"]
        assert machine.end() == 0
        assert manager.drain()[-1] == ["STOPPING=1"]
    finally:
        machine.kill()
        manager.close()
    assert machine.log.read_text().count("Connection refused") == 1


def test_a_file_that_is_brought_while_there_is_no_engine_makes_ready(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "etcd://127.0.0.1:1/shop", "web1")
    manager = Manager(tmp_path)
    machine.start(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="200000")
    try:
        assert manager.next() == ["WATCHDOG=1", "STATUS=version 0, behind"]
        machine.file.write_bytes(stamped(MORE, "shop", 5))
        while manager.next() != ["READY=1"]:
            pass
        assert manager.next() == ["WATCHDOG=1", "STATUS=version 5, behind"]
        assert machine.end() == 0
    finally:
        machine.kill()
        manager.close()


def test_an_invalid_file_does_not_make_ready(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "etcd://127.0.0.1:1/shop", "web1")
    machine.file.write_text("10.0.0.1:11211 many\n")
    manager = Manager(tmp_path)
    machine.start(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="200000")
    try:
        for _ in range(3):
            assert manager.next() == ["WATCHDOG=1", "STATUS=version 0, behind"]
        assert machine.end() == 0
    finally:
        machine.kill()
        manager.close()


def test_a_follower_that_stops_in_an_outage(
    listed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with running(tmp_path / "etcd") as cluster:
        store = Store(cluster.url())
        push(store, listed)
        with follower_of(store, tmp_path / "copy"):
            reported(store, "ok")
            cluster.kill()
        assert caplog.messages[-1].endswith("the report stays until its lease ends")
        store.close()


def test_a_new_machine_is_ready_when_it_has_the_list(
    store: Store, listed: Path, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, store.url.text, "web1")
    manager = Manager(tmp_path)
    machine.start(NOTIFY_SOCKET=manager.address)
    try:
        assert manager.next()[0] == "WATCHDOG=1"
        reported(store, "behind")
        assert ["READY=1"] not in manager.drain()
        first = push(store, listed)
        while manager.next() != ["READY=1"]:
            pass
        assert machine.text == first
    finally:
        machine.kill()
        manager.close()


def test_a_killed_follower_is_forgotten_with_its_lease(
    store: Store, listed: Path, tmp_path: Path
) -> None:
    push(store, listed)
    with following(tmp_path, store.url.text, ["web1"]) as (machine,):
        reported(store, "ok")
        machine.kill()
        assert [client.machine for client in store.clients()] == ["web1"]
        wait_for(lambda: not store.clients())


def test_a_lease_that_has_ended_is_granted_again(
    store: Store, listed: Path, tmp_path: Path
) -> None:
    push(store, listed)
    with following(tmp_path, store.url.text, ["web1"]) as (machine,):
        reported(store, "ok")
        assert machine.process is not None
        os.kill(machine.process.pid, signal.SIGSTOP)
        wait_for(lambda: not store.clients())
        os.kill(machine.process.pid, signal.SIGCONT)
        reported(store, "ok")


def test_the_unit_is_valid(tmp_path: Path) -> None:
    unit = ROOT / "packaging" / "systemd" / "ketama-follow@.service"
    text = unit.read_text()
    ketama = Path(sys.executable).with_name("ketama")
    installed = tmp_path / unit.name.replace("@", "@shop")
    installed.write_text(text.replace("/usr/bin/ketama", str(ketama)))
    done = subprocess.run(
        [need("systemd-analyze"), "verify", "--man=no", installed], capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    # By systemd's own measure, tenths of 10 points of exposure, it is hardened.
    command = [need("systemd-analyze"), "security", "--offline=true", "--threshold=15"]
    done = subprocess.run([*command, installed], capture_output=True)
    assert done.returncode == 0, done.stdout.decode()
    # And it is read: an unknown directive is found.
    installed.write_text(installed.read_text().replace("NoNewPrivileges", "NoNewRights"))
    done = subprocess.run(
        [need("systemd-analyze"), "verify", "--man=no", installed], capture_output=True
    )
    assert b"NoNewRights" in done.stderr
    shutil.rmtree(tmp_path)
