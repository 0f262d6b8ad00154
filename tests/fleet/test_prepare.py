"""All machines check a list, and connect to its new servers, before any of them switches."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from command import run
from waiting import wait_for

from fleet.etcd import free_ports
from fleet.machines import Machine, following
from ketama import fleet
from ketama.admin import buckets
from ketama.fleet import ConflictError, NotReadyError, Preparation, Store
from ketama.fleet.gateway import encode
from ketama.fleet.stamp import read_stamp, stamped


@pytest.fixture
def server() -> Iterator[str]:
    """The address of something that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def add(listed: Path, address: str) -> None:
    listed.write_bytes(listed.read_bytes() + f"{address} 600\n".encode())


def test_machines_switch_when_all_are_ready(
    store: Store, listed: Path, tmp_path: Path, server: str
) -> None:
    fleet.push(listed, store)
    first = listed.read_bytes()
    add(listed, server)
    with following(tmp_path, store.url.text, ["web1", "web2"]) as machines:
        wait_for(lambda: all(machine.text == first for machine in machines))
        seen: list[tuple[int, int]] = []

        def progress(ready: int, of: int) -> None:
            # Nobody has switched while somebody is not ready.
            assert all(machine.text == first for machine in machines)
            seen.append((ready, of))

        preparation = Preparation(expected=2, timeout=300, on_progress=progress)
        done = fleet.push(listed, store, prepare=preparation)
        assert done.written
        assert seen[-1] == (2, 2)
        assert store.read().next is None
        second = listed.read_bytes()
        wait_for(lambda: all(machine.text == second for machine in machines))
        wait_for(lambda: {(one.state, one.ready) for one in store.clients()} == {("ok", 0)})


def test_a_server_that_cannot_be_reached_stops_the_switch(
    store: Store, listed: Path, tmp_path: Path
) -> None:
    fleet.push(listed, store)
    first = listed.read_bytes()
    (port,) = free_ports(1)
    add(listed, f"127.0.0.1:{port}")
    with following(tmp_path, store.url.text, ["web1"]) as (machine,):
        wait_for(lambda: machine.text == first)
        failed: list[BaseException] = []

        def attempt() -> None:
            own = Store(store.url.text)
            try:
                fleet.push(listed, own, prepare=Preparation(timeout=300))
            except NotReadyError as error:
                failed.append(error)
            own.close()

        pushing = threading.Thread(target=attempt)
        pushing.start()
        wait_for(lambda: [one.state for one in fleet.status(store).machines] == ["refused"])
        (found,) = fleet.status(store).machines
        assert found.reason == (
            f"prepared list: cannot connect to 127.0.0.1:{port}: Connection refused"
        )
        assert machine.text == first
        # The machine tries again, so the server may still be started.
        with socket.create_server(("127.0.0.1", port)):
            pushing.join()
        assert failed == []
        second = listed.read_bytes()
        wait_for(lambda: machine.text == second)


def test_the_new_servers_of_a_map(
    store: Store, listed: Path, tmp_path: Path, server: str
) -> None:
    """Machines connect to them, as to those of a list; they know a map's servers by then."""
    source = tmp_path / "source"
    texts = []
    for number, address in enumerate(["", server, f"127.0.0.1:{free_ports(1)[0]}"]):
        source.write_bytes(listed.read_bytes())
        add(source, address or "10.0.0.3:11211")
        text = buckets.new_map(source) if number else source.read_bytes()
        texts.append(stamped(text, store.domain, 10**14 + number))
    revision = store.write(texts[0], 0)
    with following(tmp_path, store.url.text, ["web1"]) as (machine,):
        wait_for(lambda: machine.text == texts[0])
        store.write(texts[1], revision, prepare=True)
        wait_for(
            lambda: [(one.ready, one.reason) for one in store.clients()] == [(10**14 + 1, "")]
        )
        store.write(texts[1], revision)
        wait_for(lambda: machine.text == texts[1])
        store.write(texts[2], store.read().revision, prepare=True)
        expected = f"prepared list: cannot connect to {address}: Connection refused"
        wait_for(
            lambda: [(one.ready, one.reason) for one in store.clients()] == [(0, expected)]
        )


def test_a_file_that_could_not_be_replaced_stops_the_switch(
    store: Store, listed: Path, tmp_path: Path, tmpfs: Path, server: str
) -> None:
    fleet.push(listed, store)
    first = listed.read_bytes()
    add(listed, server)
    machine = Machine(tmp_path, store.url.text, "web1")
    machine.file = tmpfs / "copy"
    machine.start()
    try:
        wait_for(lambda: machine.text == first)
        subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)

        def refused(ready: int, machines: int) -> None:
            wait_for(lambda: [one.state for one in fleet.status(store).machines] == ["refused"])
            (found,) = fleet.status(store).machines
            assert found.reason.startswith("prepared list: ")
            assert found.reason.endswith("Read-only file system")

        with pytest.raises(NotReadyError, match="Read-only file system"):
            fleet.push(listed, store, prepare=Preparation(timeout=1, on_progress=refused))
        assert store.read().servers == machine.text == first
        assert machine.end() == 0
    finally:
        machine.kill()


def test_machines_that_are_not_ready_in_time(store: Store, listed: Path) -> None:
    fleet.push(listed, store)
    first = listed.read_bytes()
    lease = store.lease(300) or 0
    version = read_stamp(first).version
    store.report(fleet.Client("deaf", version, "ok"), lease)
    listed.write_bytes(first + b"10.0.0.3:11211 600\n")
    with pytest.raises(NotReadyError) as raised:
        fleet.push(listed, store, prepare=Preparation(expected=2, timeout=0))
    assert str(raised.value) == (
        "0 of 2 machines were ready within 0 seconds, 1 missing: not deaf; nothing was changed"
    )
    current = store.read()
    assert (current.servers, current.next) == (first, None)
    for number in range(6):
        store.report(fleet.Client(f"web{number}", version, "ok"), lease)
    with pytest.raises(NotReadyError, match="web3, 2 more; nothing was changed"):
        fleet.push(listed, store, prepare=Preparation(timeout=0))
    for number in range(6):
        store._gateway.call(
            "/v3/kv/deleterange",
            {"key": encode(store._folder.clients + f"web{number}".encode())},
        )
    url = store.url.text
    done = run("push", "--prepare", "--timeout=0", listed, url)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"0 of 1 machine ready" in done.stderr
    assert b"not deaf; nothing was changed" in done.stderr
    assert run("push", "--expect=1", listed, url).returncode == 2
    store.forget(lease)


def test_another_operators_list_is_not_dropped(store: Store, listed: Path) -> None:
    fleet.push(listed, store)
    current = store.read()
    others = stamped(b"10.0.0.9:1 1\n", store.domain, 10**15)

    def interfere(ready: int, machines: int) -> None:
        store.write(others, current.revision, prepare=True)

    listed.write_bytes(listed.read_bytes() + b"10.0.0.3:11211 600\n")
    with pytest.raises(ConflictError, match="prepared or pushed"):
        fleet.push(listed, store, prepare=Preparation(timeout=300, on_progress=interfere))
    assert store.read().next == others
    with pytest.raises(ConflictError):
        store.write(others, current.revision + 1, prepare=True)


def test_of_two_operators_one_prepares(
    store: Store, listed: Path, tmp_path: Path, server: str
) -> None:
    fleet.push(listed, store)
    first = listed.read_bytes()
    lists = [tmp_path / "a", tmp_path / "b"]
    for number, path in enumerate(lists):
        path.write_bytes(first + f"{server} {600 + number}\n".encode())
    written, refused = [], []

    def switch(path: Path) -> None:
        own = Store(store.url.text)
        try:
            written.append(fleet.push(path, own, prepare=Preparation(timeout=300)))
        except ConflictError as error:
            refused.append(error)
        own.close()

    with following(tmp_path, store.url.text, ["web1"]) as (machine,):
        wait_for(lambda: machine.text == first)
        wait_for(lambda: [one.state for one in store.clients()] == ["ok"])
        threads = [threading.Thread(target=switch, args=(path,)) for path in lists]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(written), len(refused)) == (1, 1)
        wait_for(lambda: read_stamp(machine.text).version == written[0].version)


def test_of_two_lists_of_one_version_one_is_prepared(store: Store, listed: Path) -> None:
    """Machines say which version they are ready for, not which text."""
    fleet.push(listed, store)
    revision = store.read().revision
    texts = [stamped(b"10.0.0.%d:1 1\n" % number, store.domain, 10**15) for number in (1, 2)]
    store.write(texts[0], revision, prepare=True)
    with pytest.raises(ConflictError, match="has prepared a list"):
        store.write(texts[1], revision, prepare=True)
    assert store.read().next == texts[0]
    store.write(None, revision, prepare=True)
    other, real = Store(store.url.text), store._gateway.call

    def late(path: str, body: dict[str, object]) -> dict[str, object]:
        if "compare" in body:
            other.write(texts[0], revision, prepare=True)
        return real(path, body)

    store._gateway.call = late  # type: ignore[method-assign]
    with pytest.raises(ConflictError):
        store.write(texts[1], revision, prepare=True)
    assert other.read().next == texts[0]
    other.close()


def test_a_full_disk_stops_the_switch(
    store: Store, listed: Path, tmpfs: Path, server: str
) -> None:
    fleet.push(listed, store)
    first = listed.read_bytes()
    add(listed, server)
    with following(tmpfs.parent, store.url.text, ["web1"]) as (machine,):
        wait_for(lambda: machine.text == first)
        machine.end()
        machine.file = tmpfs / "shop.servers"
        machine.file.write_bytes(first)
        with suppress(OSError):
            (tmpfs / "filler").write_bytes(bytes(2**20))
        machine.start()
        wait_for(lambda: [one.state for one in store.clients()] == ["ok"])

        def refused(ready: int, machines: int) -> None:
            wait_for(lambda: {one.reason or one.ready for one in store.clients()} != {0})

        with pytest.raises(NotReadyError, match="No space left on device"):
            fleet.push(listed, store, prepare=Preparation(timeout=5, on_progress=refused))
        assert machine.text == first
        (tmpfs / "filler").unlink()
        assert fleet.push(listed, store, prepare=Preparation(timeout=300)).written
        wait_for(lambda: machine.text == listed.read_bytes())
