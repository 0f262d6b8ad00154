"""What a gateway says of services that are not etcd, or fail."""

from __future__ import annotations

import http.server
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from pwd import getpwnam

import click
import pytest
from command import text
from needs import need_root
from waiting import wait_for

from fleet.etcd import Cluster, Member, free_ports
from fleet.machines import following
from ketama import fleet
from ketama.cli.follow import _become, _check_readable
from ketama.fleet import (
    Client,
    Credentials,
    EngineError,
    Follower,
    Store,
    UnreachableError,
    gateway,
)
from ketama.fleet.gateway import Gateway
from ketama.fleet.reach import unreachable_servers
from ketama.fleet.stamp import stamped

MORE = b"10.0.0.3:11211 600\n"


@contextmanager
def service(status: int, body: bytes) -> Iterator[str]:
    """Run a service that answers every request in one way; yield its host and port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (404, b"<html>no</html>", EngineError, "is this etcd's client URL?"),
        (500, b"oops", UnreachableError, "HTTP status 500: oops"),
        (200, b"hello", UnreachableError, "its answer is not JSON"),
        (200, b"[]", UnreachableError, "its answer is not a JSON object"),
        (503, b'{"error":"etcdserver: no leader","code":14}', UnreachableError, "no leader"),
        (429, b'{"message":"grpc: received message larger than max","code":8}', EngineError,
         "larger than etcd accepts"),
        (400, b'{"message":"etcdserver: new","code":3}', EngineError, "new"),
        (200, b'{"error":{"grpc_code":14,"message":"gone"}}', UnreachableError, "gone"),
        (200, b'{"error":"odd","code":"x"}', EngineError, "odd"),
        (200, b"{}", EngineError, "an answer is not one of etcd's"),
        (200, b'{"responses":[{}]}', EngineError, "an answer is not one of etcd's"),
        (200, b'{"responses":[{"response_range":{"kvs":[{"value":"?"}]}}]}', EngineError,
         "an answer is not one of etcd's"),
    ],
)  # fmt: skip
def test_a_service_that_is_not_etcd_or_fails(
    status: int, body: bytes, kind: type[EngineError], reason: str
) -> None:
    with service(status, body) as member:
        store = Store(f"etcd://{member}/shop", Credentials())
        with pytest.raises(EngineError) as raised:
            store.read()
        assert type(raised.value) is kind
        assert reason in str(raised.value)
        # And in place of a watch.
        if status != 200:
            with pytest.raises(kind):
                Gateway(store.url, Credentials()).stream("/v3/watch", {})
        store.close()


def test_a_token_that_is_no_header() -> None:
    with service(200, b'{"token":"a\\r\\nb"}') as member:
        store = Store(f"etcd://{member}/shop", Credentials(user="u", password="p"))
        with pytest.raises(EngineError, match="an answer is not one of etcd's"):
            store.read()
        store.close()


def test_a_member_that_answers_is_found(url: str, store: Store, listed: Path) -> None:
    """Whatever else is in the URL."""
    fleet.push(listed, store)
    good = url.removeprefix("etcd://").partition("/")[0]
    with service(503, b'{"error":"etcdserver: no leader","code":14}') as bad:
        mixed = url.replace(good, f"{bad},127.0.0.1:1,{good}")
        for _ in range(6):  # each begins with another member
            other = Store(mixed)
            assert other.read().servers == listed.read_bytes()
            changes = other.watch()
            assert next(changes).servers == listed.read_bytes()
            other.close()


def test_a_write_whose_answer_is_lost_counts_once(store: Store, listed: Path) -> None:
    """It is tried again, and finds that it was carried out."""
    fleet.push(listed, store)
    before = store.read()
    assert before.servers is not None
    new = stamped(before.servers, store.domain, 10**15)
    real = store._gateway.call
    lost: list[object] = []

    def lossy(path: str, body: dict[str, object]) -> dict[str, object]:
        answer = real(path, body)
        if "compare" in body and not lost:
            lost.append(answer)
            raise store._gateway.unreachable("read timed out", 0)
        return answer

    store._gateway.call = lossy  # type: ignore[method-assign]
    revision = store.write(new, before.revision)
    assert lost
    after = store.read()
    assert (after.servers, after.revision) == (new, revision)
    assert after.before == before.servers


def answering(store: Store, lose: Callable[[], bool], then: Callable[[], None]) -> list[int]:
    """Let the answers to some writes of a store be lost; return the numbers of its writes.

    lose: whether the next write is lost, and not only its answer. then: called after one.
    """
    real, writes = store._gateway.call, [0]

    def lossy(path: str, body: dict[str, object]) -> dict[str, object]:
        if "compare" not in body:
            return real(path, body)
        writes[0] += 1
        if lose():
            raise store._gateway.unreachable("read timed out", 0)
        answer = real(path, body)
        if writes[0] == 1:
            then()
            raise store._gateway.unreachable("read timed out", 0)
        return answer

    store._gateway.call = lossy  # type: ignore[method-assign]
    return writes


def test_a_write_that_is_never_answered_may_have_been_carried_out(
    store: Store, listed: Path
) -> None:
    fleet.push(listed, store)
    before = store.read()
    writes = answering(store, lambda: True, lambda: None)
    with pytest.raises(UnreachableError, match="read timed out; the change may have been"):
        store.write(stamped(b"10.0.0.1:1 1\n", store.domain, 10**15), before.revision)
    assert writes == [3]


def test_a_write_that_another_operator_has_replaced_counts(store: Store, listed: Path) -> None:
    fleet.push(listed, store)
    before = store.read()
    other = Store(store.url.text)
    mine, theirs = (stamped(MORE, store.domain, 10**15 + i) for i in range(2))
    answering(store, lambda: False, lambda: other.write(theirs, other.read().revision))  # type: ignore[arg-type]
    assert store.write(mine, before.revision) == other.read().revision
    assert (other.read().servers, other.read().before) == (theirs, mine)
    other.close()


def test_a_repeated_request_finds_what_the_first_has_written(
    store: Store, listed: Path
) -> None:
    """The gateway asks another member if the first one's answer does not come."""
    fleet.push(listed, store)
    before = store.read()
    new = stamped(MORE, store.domain, 10**15)
    real = store._gateway._ask
    asked: list[str] = []

    def lossy(
        member: int, path: str, body: dict[str, object], headers: dict[str, str]
    ) -> dict[str, object]:
        answer = real(member, path, body, headers)
        if "compare" in body and not asked:
            asked.append(path)
            raise store._gateway.unreachable("read timed out", member)
        return answer

    store._gateway._ask = lossy  # type: ignore[method-assign]
    revision = store.write(new, before.revision)
    assert (asked, store.read().servers, store.read().revision) == (
        ["/v3/kv/txn"],
        new,
        revision,
    )


def test_a_line_of_a_watch_that_does_not_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "LINE_MAX", 10)
    changes = store.watch()
    next(changes)
    with pytest.raises(UnreachableError, match="more than 10 bytes") as raised:
        next(changes)
    assert raised.value.filename == store.url.text


def test_a_follower_of_a_service_that_is_not_etcd(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(stamped(MORE, "shop", 5))
    with service(200, b"{}") as member:
        store = Store(f"etcd://{member}/shop", Credentials())
        follower = Follower(store, copy, machine="web1")
        thread = threading.Thread(target=follower.run)
        thread.start()
        wait_for(lambda: "cannot report" in caplog.text and "keeping" in caplog.text)
        follower.stop()
        thread.join()
        store.close()
    assert copy.read_bytes() == stamped(MORE, "shop", 5)
    assert caplog.text.count("an answer is not one of etcd's") == 2


def test_members_with_addresses_of_ipv6(tmp_path: Path, listed: Path) -> None:
    cluster = Cluster(tmp_path, 1)
    cluster.members = [Member("m0", tmp_path, free_ports(2), "[::1]")]
    try:
        cluster.start()
        url = cluster.url()
        assert url.startswith("etcd://[::1]:")
        with following(tmp_path, url, ["web1"]) as (machine,):
            text("push", listed, url)
            wait_for(lambda: machine.text == listed.read_bytes())
    finally:
        cluster.kill()


def test_only_some_of_many_servers_are_named() -> None:
    assert len(unreachable_servers([f"127.0.0.1:{port}" for port in range(1, 9)], 60)) == 3


def test_servers_that_do_not_answer_hold_nobody_up() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        address = full.getsockname()
        for _ in range(3):  # and the kernel answers nobody who comes later
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        (problem,) = unreachable_servers([f"127.0.0.1:{address[1]}"], 0.1)
    assert problem == "all servers within 0.1 seconds"


def test_servers_of_all_kinds_are_connected_to(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.sock")
    found = unreachable_servers([missing, "127.0.0.1:1", "localhost:99999"], 60)
    assert found[0] == f"{missing}: No such file or directory"
    assert found[1] == "127.0.0.1:1: Connection refused"
    assert "invalid port" in found[2]


def test_a_report_under_a_lease_that_has_ended(store: Store) -> None:
    lease = store.lease(60)
    assert lease is not None
    store.forget(lease)
    with pytest.raises(EngineError, match="lease not found") as raised:
        store.report(Client("a", 1, "ok"), lease)
    assert raised.value.filename == store.url.text
    assert store.lease(60, lease) is None


def test_a_follower_without_an_engine_stops_at_once(tmp_path: Path) -> None:
    store = Store("etcd://127.0.0.1:1/shop", Credentials())
    follower = Follower(store, tmp_path / "copy", machine="web1")
    thread = threading.Thread(target=follower.run)
    thread.start()
    wait_for(lambda: follower._problem)
    follower.stop()
    thread.join()
    assert follower.client.state == "behind"
    assert list(tmp_path.iterdir()) == []


def test_the_follower_gives_up_the_rights_of_root() -> None:
    need_root()
    nobody = getpwnam("nobody")
    pid = os.fork()
    if pid == 0:
        _become("nobody")
        changed = os.getresuid() == 3 * (nobody.pw_uid,), os.getresgid() == 3 * (nobody.pw_gid,)
        os._exit(0 if all(changed) and 0 not in os.getgroups() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_user_that_cannot_read_the_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    need_root()
    secret = tmp_path / "os.py"
    secret.touch(0o600)
    monkeypatch.setattr(os, "__file__", str(secret))
    pid = os.fork()
    if pid == 0:
        _become("nobody")
        try:
            _check_readable("nobody")
        except click.UsageError as error:
            os._exit(0 if f"cannot read {secret}: " in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
