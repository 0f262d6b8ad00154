"""What `ketama fleet` says of the machines."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import (
    COMMAND,
    as_json,
    fits_schema,
    interruptible,
    measured,
    refusal,
    run,
    text,
)

from fleet.etcd import Cluster, running
from ketama import fleet
from ketama.fleet import Client, ConflictError, Snapshot, Store
from ketama.fleet.stamp import read_stamp, stamped

OLD = 202001010000000


class Reports:
    """What machines report, without the machines."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.lease = store.lease(300) or 0

    def send(self, machine: str, version: int, state: str, reason: str = "") -> None:
        """Report of a machine."""
        self._store.report(Client(machine, version, state, reason, since=1e9), self.lease)


@pytest.fixture
def reports(store: Store) -> Iterator[Reports]:
    """The reports of a fleet's machines."""
    made = Reports(store)
    yield made
    store.forget(made.lease)


def states(store: Store) -> dict[str, str]:
    return {machine.machine: machine.state for machine in fleet.status(store).machines}


def test_states_are_compared_with_the_version_of_the_engine(
    engine: Cluster, store: Store, listed: Path, reports: Reports
) -> None:
    assert fleet.status(store).problem == "etcd has no list"
    version = fleet.push(listed, store).version
    reports.send("a", version, "ok")
    assert fleet.status(store).is_ok()
    reports.send("b", OLD, "ok")
    reports.send("c", version + 1, "ok")
    reports.send("d", version, "refused", "disk full")
    found = fleet.status(store)
    assert states(store) == {"a": "ok", "b": "behind", "c": "ahead", "d": "refused"}
    assert (found.is_ok(), found.lost) == (False, True)
    assert found.groups[version, "ok"] == 1
    engine.put(f"/ketama/{store.domain}/servers", b"x")
    assert "the list is invalid" in fleet.status(store).problem
    engine.put(f"/ketama/{store.domain}/clients/e", b"garbage")
    assert states(store)["e"] == "refused"


class Racing(Store):
    """A store whose fleet gets a new list, and a machine that has it, after each read."""

    def read(self) -> Snapshot:
        """Return what was there before."""
        found = super().read()
        assert found.servers is not None
        stamp = read_stamp(found.servers)
        self.write(stamped(stamp.body, self.domain, stamp.version + 1), found.revision)
        self.report(Client("a", stamp.version + 1, "ok", since=1e9), self.lease(300) or 0)
        return found

    def write(self, text: bytes | None, revision: int, *, prepare: bool = False) -> int:
        """Write without a read."""
        return self._write(text, Snapshot(b"", revision, None, None), prepare=prepare)


def test_a_push_in_between_is_no_loss(url: str, store: Store, listed: Path) -> None:
    fleet.push(listed, store)
    racing = Racing(url)
    for _ in range(3):
        assert not fleet.status(racing).lost
    listed.write_bytes(listed.read_bytes() + b"10.0.0.3:11211 600\n")
    with pytest.raises(ConflictError, match="and edit that, or"):
        fleet.push(listed, racing)
    racing.close()


@pytest.mark.parametrize(
    "change",
    [
        {"state": "new"},
        {"version": -1},
        {"version": 10**18},
        {"ready": "x"},
        {"since": float("nan")},
        {"since": 1e300},
    ],
)
def test_a_report_that_no_follower_of_ours_writes(
    engine: Cluster, url: str, store: Store, listed: Path, change: dict[str, object]
) -> None:
    version = fleet.push(listed, store).version
    document = {"version": version, "state": "ok", **change}
    engine.put(f"/ketama/{store.domain}/clients/a", json.dumps(document).encode())
    found = fits_schema("fleet", as_json("fleet", url, code=1))
    assert found["machines"][0]["reason"].startswith("its report cannot be read")
    assert run("fleet", url).returncode == 1


def test_after_a_loss_there_is_one_remedy(url: str, reports: Reports) -> None:
    shown = run("fleet", url).stdout.decode()
    assert "problem: etcd has no list: push one\n" in shown
    reports.send("web1", OLD, "ahead")
    shown = run("fleet", url).stdout.decode()
    assert "problem: etcd has no list\n" in shown
    assert f"etcd has lost changes up to version {OLD}, which machine web1 has: push" in shown


def test_the_command(url: str, store: Store, listed: Path, reports: Reports) -> None:
    assert run("fleet", url).returncode == 1
    done = run("fleet", "--expect=0", url)
    assert (done.returncode, b"etcd has no list" in done.stdout) == (1, True)
    version = fleet.push(listed, store).version
    done = run("fleet", url)
    assert (done.returncode, b"1 machine missing" in done.stdout) == (1, True)
    assert text("fleet", "--expect=0", url)
    reports.send("web1", version, "ok")
    shown = text("fleet", url)
    assert shown.splitlines()[-1] == f"{store.domain}: version {version}, 1 machine: 1 ok"
    assert "web1" not in shown
    assert "web1" in text("fleet", "--all", url)
    assert fits_schema("fleet", as_json("fleet", url))["ok"]
    found = fits_schema("fleet", as_json("fleet", "--expect=2", url, code=1))
    assert (found["ok"], found["expected"], len(found["machines"])) == (False, 2, 1)
    reports.send("web2", OLD, "edited")
    reports.send("web3", version, "refused", "the list is empty")
    reports.send("web4", version + 5, "ahead")
    done = run("fleet", url)
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 1
    assert (
        f"{store.domain}: version {version}, 4 machines: 1 refused, 1 edited, 1 ahead"
        in (lines[-2])
    )
    assert f"etcd has lost changes up to version {version + 5}" in lines[-1]
    assert any("web3" in line and "the list is empty" in line for line in lines)
    found = fits_schema("fleet", as_json("fleet", url, code=1))
    assert found["machines"][1]["state"] == "edited"
    assert found["machines"][1]["since"] == "2001-09-09T01:46:40.000Z"


def test_the_ready_are_counted(store: Store, listed: Path, reports: Reports) -> None:
    version = fleet.push(listed, store).version
    current = store.read()
    assert current.servers is not None
    body = read_stamp(current.servers).body
    prepared = fleet.stamp.stamped(body, store.domain, version + 1)
    store.write(prepared, current.revision, prepare=True)
    reports.send("a", version, "ok")
    client = Client("b", version, "ok", ready=version + 1)
    store.report(client, reports.lease)
    assert states(store) == {"a": "ok", "b": "ready"}
    assert f"version {version + 1} is prepared" in text("fleet", store.url.text)


def test_metrics(url: str, store: Store, listed: Path, reports: Reports) -> None:
    version = fleet.push(listed, store).version
    reports.send("a", version, "ok")
    reports.send("b", version, "ok")
    shown = text("fleet", "--metrics", "--expect=2", url)
    domain = f'domain="{store.domain}"'
    assert f"ketama_fleet_ok{{{domain}}} 1\n" in shown
    assert f"ketama_fleet_version{{{domain}}} {version}\n" in shown
    assert f'ketama_fleet_machines{{{domain},state="ok",version="{version}"}} 2\n' in shown
    assert f"ketama_fleet_machines_expected{{{domain}}} 2\n" in shown
    assert shown.count("# TYPE ") == shown.count("# HELP ") == 5
    assert "goes with neither" in refusal(2, "fleet", "--metrics", "--json", url)
    done = run("fleet", "--metrics", "etcd://127.0.0.1:1/x")
    assert (done.returncode, done.stderr.count(b"\n")) == (3, 1)
    assert done.stdout.endswith(b'\nketama_fleet_ok{domain="x"} 0\n')


def test_a_roll_out_is_watched(url: str, store: Store, listed: Path, reports: Reports) -> None:
    version = fleet.push(listed, store).version
    command = [*COMMAND, "fleet", "--watch", "--json", url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, preexec_fn=interruptible, env=measured()
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["machines"] == []
        reports.send("a", version, "ok")
        found = fits_schema("fleet", json.loads(process.stdout.readline()))
        assert found["machines"][0]["state"] == "ok"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130


def test_a_roll_out_is_watched_through_an_outage(listed: Path, tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        url = cluster.url()
        store = Store(url)
        command = [*COMMAND, "fleet", "--watch", url]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=interruptible,
            env=measured(),
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"shop: version none, 0 machines\n"
            cluster.kill()
            assert b"Connection refused" in process.stderr.readline()  # once
            cluster.start()
            version = fleet.push(listed, store).version
            lines = iter(process.stdout.readline, b"")
            assert f"shop: version {version}, 0 machines\n".encode() in lines
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
            assert process.stderr.read() == b""
        store.close()


def test_of_many_machines_some_are_listed(
    url: str, store: Store, listed: Path, reports: Reports
) -> None:
    fleet.push(listed, store)
    for number in range(23):
        reports.send(f"web{number:02}", OLD, "behind")
    shown = run("fleet", url).stdout.decode()
    assert "and 3 more machines: see --all" in shown
    assert ("web19" in shown, "web20" in shown) == (True, False)
    assert "web22" in run("fleet", "--all", url).stdout.decode()
