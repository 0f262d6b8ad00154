"""Many followers of an engine of three members, and what becomes of both."""

from __future__ import annotations

import re
import threading
from functools import partial
from pathlib import Path

import pytest
from waiting import wait_for

from fleet.etcd import Cluster, running
from fleet.machines import all_have, follower_of, following
from ketama import fleet
from ketama.fleet import Follower, Store
from ketama.fleet import following as module

PUSHES, FOLLOWERS = 50, 20


def test_every_machine_gets_every_version(three: Cluster, listed: Path, tmp_path: Path) -> None:
    url = three.url("many")
    store = Store(url)
    names = [f"web{i:02}" for i in range(FOLLOWERS)]
    with following(tmp_path, url, names) as machines:
        for number in range(PUSHES):
            listed.write_bytes(listed.read_bytes() + b"10.0.1.%d:11211 600\n" % number)
            fleet.push(listed, store)
            text = listed.read_bytes()
            wait_for(partial(all_have, machines, text))
            assert three.get("/ketama/many/servers") == text
        version = fleet.stamp.read_stamp(text).version
        wait_for(
            lambda: [(client.version, client.state) for client in store.clients()]
            == FOLLOWERS * [(version, "ok")]
        )
        assert [client.machine for client in store.clients()] == names
    store.close()


def test_an_outage_is_logged_in_words(
    listed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the engine, the member and what happened, once, and when it is over."""
    copy = tmp_path / "copy"
    with caplog.at_level("INFO", "ketama.fleet"), running(tmp_path / "etcd") as cluster:
        store = Store(cluster.url())
        fleet.push(listed, store)
        with follower_of(store, copy):
            wait_for(lambda: [client.state for client in store.clients()] == ["ok"])
            cluster.kill()
            wait_for(lambda: "keeping" in caplog.text)
            cluster.start()
            wait_for(lambda: "answers again" in caplog.text)
        store.close()
    (said,) = [line for line in caplog.messages if "keeping" in line]
    member = cluster.members[0].client.removeprefix("http://")
    how = "(the connection was closed|Connection reset by peer)"
    expected = f"{re.escape(f'{cluster.url()}: {member}')}: the watch ended: {how}; keeping .*"
    assert re.fullmatch(expected, said)


def test_the_loss_of_all_data_changes_no_file(
    three: Cluster, listed: Path, tmp_path: Path
) -> None:
    url = three.url("lost")
    store = Store(url)
    with following(tmp_path, url, ["web1", "web2", "web3"]) as machines:
        for number in range(20):  # so that the engine's revision is high
            listed.write_bytes(listed.read_bytes() + b"10.0.1.%d:11211 600\n" % number)
            fleet.push(listed, store)
        old = listed.read_bytes()
        wait_for(lambda: all_have(machines, old))
        nodes = [machine.file.stat().st_ino for machine in machines]
        three.kill()
        three.wipe()
        three.start()
        assert store.read().servers is None
        wait_for(lambda: [client.state for client in store.clients()] == 3 * ["ahead"])
        assert [machine.text for machine in machines] == 3 * [old]
        assert [machine.file.stat().st_ino for machine in machines] == nodes
        listed.write_bytes(old + b"10.0.2.1:11211 600\n")
        fleet.push(listed, store)
        new = listed.read_bytes()
        wait_for(lambda: all_have(machines, new))
        wait_for(lambda: {client.state for client in store.clients()} == {"ok"})
    store.close()


def test_a_watch_begins_at_the_revision_that_the_engine_has(
    tmp_path: Path, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss of data, one from an older revision would be silent for ever."""
    monkeypatch.setattr(module, "SILENCE", (1e6, 1e6))  # nothing else may help
    with running(tmp_path / "etcd") as one:
        store, own = Store(one.url()), Store(one.url())
        for number in range(5):
            listed.write_bytes(listed.read_bytes() + b"10.0.1.%d:11211 600\n" % number)
            fleet.push(listed, store)
        copy = tmp_path / "copy"
        follower = Follower(own, copy, machine="web1")
        thread = threading.Thread(target=follower.run)
        thread.start()
        try:
            wait_for(lambda: copy.exists() and copy.read_bytes() == listed.read_bytes())
            one.kill()
            one.wipe()
            one.start()
            wait_for(
                lambda: follower.client.state == "ahead" and own._watch._stream is not None
            )
            listed.write_bytes(listed.read_bytes() + b"10.0.2.1:11211 600\n")
            fleet.push(listed, store)
            wait_for(lambda: copy.read_bytes() == listed.read_bytes())
        finally:
            follower.stop()
            thread.join()
            store.close()
            own.close()
