"""What a network, a clock and other users may do to a fleet on a real etcd."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import COMMAND, as_json, measured, refusal, run
from needs import need
from waiting import wait_for

from fleet.etcd import Cluster, running
from fleet.machines import Machine
from ketama import fleet
from ketama.fleet import Store, pools


@contextmanager
def accepting(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[int]]]:
    """Run a server; yield its address, and a list that grows with each connection.

    answer: what to do with one; it is closed after that.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    met: list[int] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            met.append(1)
            with connection:
                answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}", met
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def hang_up(connection: socket.socket) -> None:
    """Close at once, as a balancer does that has no member left."""


def test_a_member_that_hangs_up_ends_no_command(
    url: str, store: Store, listed: Path, tmp_path: Path
) -> None:
    """The write after that is a signal, SIGPIPE, which the command does not ignore else."""
    fleet.push(listed, store)
    with accepting(hang_up) as (address, met):
        for _ in range(5):
            done = run("show", f"etcd://{address}/shop", capture_output=True)
            assert (done.returncode, done.stderr.count(b"\n")) == (3, 1)
            assert address.encode() in done.stderr
            assert b"Error" not in done.stderr  # no name of a class
        machine = Machine(tmp_path, f"etcd://{address}/shop", "web1")
        machine.start()
        try:
            count = len(met)
            wait_for(lambda: len(met) > count + 10 or machine.process.poll() is not None)  # type: ignore[union-attr]
            assert machine.end() == 0
        finally:
            machine.kill()


def read_some(connection: socket.socket) -> None:
    """Read a part and close, as a server without TLS may; the kernel resets what has more."""
    connection.recv(1)


@pytest.mark.parametrize("answer", [hang_up, read_some])
def test_a_handshake_that_is_cut_off_names_the_likely_cause(
    answer: Callable[[socket.socket], None],
) -> None:
    """The remedy is the same, whether the end or a reset arrives first."""
    with accepting(answer) as (address, _):
        message = refusal(3, "show", f"etcds://{address}/shop")
    assert "does etcd use TLS on this port? etcds:// is with TLS" in message


def test_a_reader_that_goes_away_still_ends_a_command(
    url: str, store: Store, listed: Path
) -> None:
    fleet.push(listed, store)
    with subprocess.Popen(
        [*COMMAND, "fleet", "--watch", "--json", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=measured(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        with fleet.edit(store) as servers:
            servers.set_weight("10.0.0.1:11211", 100)
        assert process.wait() == -signal.SIGPIPE
        assert process.stderr.read() == b""


@pytest.mark.parametrize("claimed", ["version", "ready"])
def test_a_machine_that_lies_uses_up_no_versions(
    engine: Cluster, url: str, store: Store, listed: Path, claimed: str
) -> None:
    first = fleet.push(listed, store).version
    report = json.dumps({"version": first, "state": "ok", claimed: 10**18 - 2}).encode()
    engine.put(f"/ketama/{store.domain}/clients/liar", report)
    listed.write_bytes(listed.read_bytes() + b"10.0.0.3:11211 600\n")
    second = fleet.push(listed, store).version
    assert first < second < 10**15
    with fleet.edit(store) as servers:
        servers.remove("10.0.0.3:11211")
    assert second < servers.version < 10**15
    if claimed == "version":
        assert not fleet.status(store).lost
        (machine,) = as_json("fleet", url, code=1)["machines"]
        assert machine["state"] == "refused"
        assert machine["reason"].startswith("it reports a version that no clock leads to")


def test_a_report_that_is_nested_deeply_or_long(
    engine: Cluster, url: str, store: Store, listed: Path
) -> None:
    version = fleet.push(listed, store).version
    folder = f"/ketama/{store.domain}/clients"
    engine.put(f"{folder}/deep", 100_000 * b"[")
    long = {"version": version, "state": "refused", "reason": 50_000 * "\x1b[31m\n"}
    engine.put(f"{folder}/long\nname", json.dumps(long).encode())
    listed.write_bytes(listed.read_bytes() + b"10.0.0.3:11211 600\n")
    assert fleet.push(listed, store).written
    deep, much = as_json("fleet", url, code=1)["machines"]
    assert deep["reason"].startswith("its report cannot be read")
    assert len(much["reason"]) == 1000
    done = run("fleet", url)
    assert (done.returncode, b"\x1b" in done.stdout, done.stderr) == (1, False, b"")
    assert len(done.stdout) < 10_000


def test_an_engine_that_is_full(listed: Path, tmp_path: Path) -> None:
    """Its files stay, what to do is said, and after that all goes on."""
    with running(tmp_path / "etcd", 1, "--quota-backend-bytes=4000000") as full:
        url = full.url()
        store = Store(url)
        fleet.push(listed, store)
        machine = Machine(tmp_path, url, "web1")
        machine.start()
        try:
            wait_for(lambda: [one.state for one in store.clients()] == ["ok"])
            for number in range(9):
                full.ctl("put", f"x{number}", stdin=1_000_000 * b"x", check=False)
            assert b"NOSPACE" in full.ctl("alarm", "list").stdout
            text = listed.read_bytes()
            done = run("add", url, "10.0.0.3:11211", "600")
            assert (done.returncode, done.stderr.count(b"\n")) == (3, 1)
            assert b"etcd is full" in done.stderr
            assert b"run 'etcdctl alarm disarm'" in done.stderr
            assert machine.text == text
            other = Machine(tmp_path, url, "web2")
            other.start()
            wait_for(lambda: other.text == text and b"etcd is full" in other.log.read_bytes())
            assert other.end() == 0
            full.ctl("del", "--prefix", "x")
            revision = json.loads(full.ctl("get", "x", "-w=json").stdout)["header"]["revision"]
            full.ctl("compact", str(revision))
            full.ctl("defrag")
            full.ctl("alarm", "disarm")
            version = as_json("add", url, "10.0.0.3:11211", "600")["version"]
            wait_for(lambda: [one.version for one in store.clients()] == [version])
            assert machine.end() == 0
        finally:
            machine.kill()
            store.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_takes_the_report_back(
    store: Store, listed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    fleet.push(listed, store)
    machine = Machine(tmp_path, store.url.text, "web1", lease=3000)
    machine.prefix = (need("env"), "--default-signal")  # the tests may run under nohup
    machine.start()
    try:
        wait_for(lambda: [one.state for one in store.clients()] == ["ok"])
        assert machine._end(number) == 0
        assert store.clients() == []
    finally:
        machine.kill()


def test_a_follower_under_nohup_ignores_hangups(
    store: Store, listed: Path, tmp_path: Path
) -> None:
    fleet.push(listed, store)
    machine = Machine(tmp_path, store.url.text, "web1")
    machine.prefix = (need("nohup"),)
    machine.start()
    try:
        wait_for(lambda: [one.state for one in store.clients()] == ["ok"])
        assert machine.process is not None
        machine.process.send_signal(signal.SIGHUP)
        listed.write_bytes(listed.read_bytes() + b"10.0.0.3:11211 600\n")
        fleet.push(listed, store)
        wait_for(lambda: machine.text == listed.read_bytes())
        assert machine.end() == 0
    finally:
        machine.kill()


@pytest.mark.parametrize(
    "begun",
    [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"],
    ids=["headers", "body"],
)
def test_a_member_that_answers_by_the_byte_is_left(
    url: str, store: Store, listed: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(pools, "WHOLE", 0.5)
    fleet.push(listed, store)
    cut: list[bool] = []

    def dribble(connection: socket.socket) -> None:
        try:
            connection.sendall(begun)
            for _ in range(200):  # less than ANSWER apart
                time.sleep(0.05)
                connection.sendall(b"x")
        except OSError:
            cut.append(True)

    with accepting(dribble) as (address, _):
        mixed = Store(url.replace("etcd://", f"etcd://{address},"))
        mixed._gateway.member = 0
        assert mixed.read().servers == listed.read_bytes()
        mixed.close()
    assert cut == [True]


def test_an_answer_that_is_cut_is_asked_of_another_member(
    url: str, store: Store, listed: Path
) -> None:
    fleet.push(listed, store)
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"header":{"revision":"1"},'

    def cut(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(answer)

    with accepting(cut) as (address, met):
        mixed = Store(url.replace("etcd://", f"etcd://{address},"))
        mixed._gateway.member = 0
        assert mixed.read().servers == listed.read_bytes()
        mixed.close()
        assert met
