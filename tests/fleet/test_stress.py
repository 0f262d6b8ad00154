"""Faults that take longer to come about: members that stop, disappear or go back in time."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from needs import need
from waiting import wait_for

from fleet.etcd import Cluster, Member, free_ports
from fleet.machines import Machine, all_have, following
from fleet.networks import address, namespaces
from ketama import fleet
from ketama.fleet import Store
from ketama.fleet.stamp import accept

pytestmark = pytest.mark.stress

KILLS, PUSHES_MIN = 80, 80


def push(listed: Path, store: Store, number: int) -> bytes:
    """Push one server more; return the list."""
    listed.write_bytes(listed.read_bytes() + b"10.0.1.%d:11211 600\n" % number)
    fleet.push(listed, store)
    return listed.read_bytes()


def states(store: Store) -> set[str]:
    """Return the states that machines are in."""
    return {machine.state for machine in fleet.status(store).machines}


def test_an_engine_restored_from_a_snapshot(
    three: Cluster, listed: Path, tmp_path: Path
) -> None:
    url = three.url()
    store = Store(url)
    with following(tmp_path, url, ["web1", "web2", "web3"]) as machines:
        fleet.push(listed, store)
        saved = tmp_path / "saved"
        three.ctl("snapshot", "save", str(saved), member=three.members[0])
        for number in range(3):
            newest = push(listed, store, number)
        wait_for(partial(all_have, machines, newest))
        three.kill()
        three.wipe()
        for member in three.members:
            subprocess.run(
                [
                    *(need("etcdctl"), "snapshot", "restore", saved, f"--name={member.name}"),
                    f"--data-dir={member.folder}",
                    f"--initial-cluster={three.peers}",
                    f"--initial-advertise-peer-urls={member.peer}",
                ],
                env={**os.environ, "ETCDCTL_API": "3"},
                check=True,
                capture_output=True,
            )
        three.start()
        wait_for(lambda: len(store.clients()) == 3 and states(store) == {"ahead"})
        found = fleet.status(store)
        assert (found.is_ok(3), found.lost) == (False, True)
        assert all_have(machines, newest)
        healed = push(listed, store, 9)
        wait_for(partial(all_have, machines, healed))
        wait_for(lambda: fleet.status(store).is_ok(3))


def test_a_member_that_is_stopped_is_left(three: Cluster, listed: Path, tmp_path: Path) -> None:
    url = three.url()
    store = Store(url)
    names = [f"web{i}" for i in range(6)]
    with following(tmp_path, url, names) as machines:
        text = push(listed, store, 0)
        wait_for(partial(all_have, machines, text))
        for number, member in enumerate(three.members):
            assert member.process is not None
            member.process.send_signal(signal.SIGSTOP)
            text = push(listed, store, number + 1)
            wait_for(partial(all_have, machines, text))
            wait_for(lambda: fleet.status(store).is_ok(6))
            member.process.send_signal(signal.SIGCONT)
            three.wait()


def test_an_outage_of_all_members(three: Cluster, listed: Path, tmp_path: Path) -> None:
    url = three.url()
    store = Store(url)
    with following(tmp_path, url, ["web1", "web2"]) as machines:
        text = push(listed, store, 0)
        wait_for(partial(all_have, machines, text))
        nodes = [machine.file.stat().st_ino for machine in machines]
        processes = [machine.process and machine.process.pid for machine in machines]
        three.kill()
        with pytest.raises(fleet.UnreachableError):
            store.read()
        time.sleep(20)  # the longest pause between attempts, and more
        assert [machine.file.stat().st_ino for machine in machines] == nodes
        three.start()
        text = push(listed, store, 1)
        wait_for(partial(all_have, machines, text))
        wait_for(lambda: fleet.status(store).is_ok(2))
        assert [machine.process and machine.process.pid for machine in machines] == processes


class Reader(threading.Thread):
    """Reads a file in a loop, and counts incomplete lists."""

    def __init__(self, path: Path, domain: str) -> None:
        super().__init__()
        self.path, self.domain = path, domain
        self.reads, self.broken = 0, 0
        self.ended = threading.Event()

    def run(self) -> None:
        """Read until `ended` is set."""
        last = 0
        while not self.ended.is_set():
            text = self.path.read_bytes()
            self.reads += 1
            try:
                version = accept(text, self.domain).version
            except fleet.RefusedError:
                self.broken += 1
                continue
            self.broken += version < last
            last = version


def test_a_follower_is_killed_at_any_moment(
    three: Cluster, listed: Path, tmp_path: Path
) -> None:
    url = three.url()
    store = Store(url)
    text = push(listed, store, 0)
    machine = Machine(tmp_path, url, "web1")
    machine.start()
    wait_for(lambda: machine.text == text)
    reader = Reader(machine.file, store.domain)
    reader.start()
    pushed, ended = [0], threading.Event()

    def pushing() -> None:
        own = Store(url)
        while not ended.is_set():
            with fleet.edit(own) as editing:
                editing.set_weight("10.0.0.1:11211", 500 + pushed[0] % 100)
            pushed[0] += 1

    pusher = threading.Thread(target=pushing)
    pusher.start()
    try:
        for _ in range(KILLS):
            before = machine.text
            wait_for(lambda before=before: machine.text != before)  # type: ignore[misc]
            time.sleep(random.uniform(0, 0.05))
            machine.kill()
            machine.start()
    finally:
        ended.set()
        pusher.join()
        reader.ended.set()
        reader.join()
    newest = store.read().servers
    try:
        wait_for(lambda: machine.text == newest)
        wait_for(lambda: [file.name for file in machine.folder.iterdir()] == ["shop.servers"])
        print(
            f"{KILLS} kills, {pushed[0]} pushes, {reader.reads} reads, {reader.broken} broken"
        )
        assert (reader.broken, pushed[0] >= PUSHES_MIN) == (0, True)
    finally:
        machine.kill()


@pytest.fixture
def networks() -> Iterator[list[str]]:
    """Three network namespaces."""
    with namespaces(3) as made:
        yield made


def test_followers_leave_a_member_that_is_isolated(
    networks: list[str], listed: Path, tmp_path: Path
) -> None:
    """Its clients still reach it, but it reaches no other member."""
    folder = tmp_path / "etcd"
    folder.mkdir()
    cluster = Cluster(folder, 3)
    for i, member in enumerate(cluster.members):
        cluster.members[i] = Member(member.name, folder, free_ports(2), address(i))
        cluster.members[i].prefix = ("ip", "netns", "exec", networks[i])
    url = cluster.url()
    try:
        cluster.start()
        store = Store(url)
        names = [f"web{i}" for i in range(6)]
        with following(tmp_path, url, names) as machines:
            text = push(listed, store, 0)
            wait_for(partial(all_have, machines, text))
            for number, name in enumerate(networks):
                others = [address(i) for i in range(3) if i != number]
                for other in others:
                    route = ["route", "add", "blackhole", f"{other}/32"]
                    subprocess.run([need("ip"), "-n", name, *route], check=True)
                text = push(listed, store, number + 1)
                wait_for(partial(all_have, machines, text))
                wait_for(lambda: fleet.status(store).is_ok(6))
                for other in others:
                    route = ["route", "del", "blackhole", f"{other}/32"]
                    subprocess.run([need("ip"), "-n", name, *route], check=True)
                cluster.wait()
    finally:
        cluster.kill()
        shutil.rmtree(folder)
