"""Roles, passwords and certificates of a real etcd."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import need
from waiting import wait_for

from fleet.etcd import Cluster, running
from fleet.machines import Machine
from ketama import fleet
from ketama.fleet import Credentials, EngineError, Store, UnreachableError
from ketama.fleet.gateway import encode
from ketama.fleet.store import PUT

ROOT = ("--user", "root:root")
FOLLOWER = Credentials(user="follower", password="f")
PUSHER = Credentials(user="pusher", password="p")
SHORT = 1  # second that a token lives if it is not used


def allow(cluster: Cluster, *more: str) -> None:
    """Set up users and roles as docs/fleet.md does."""
    for command in (
        ("user", "add", "root:root"),
        ("user", "grant-role", "root", "root"),
        ("role", "add", "follower"),
        ("role", "grant-permission", "follower", "read", "--prefix", "/ketama/shop/"),
        ("role", "grant-permission", "follower", "write", "--prefix", "/ketama/shop/clients/"),
        ("role", "add", "pusher"),
        ("role", "grant-permission", "pusher", "readwrite", "--prefix", "/ketama/shop/"),
        ("user", "add", "follower:f"),
        ("user", "grant-role", "follower", "follower"),
        ("user", "add", "pusher:p"),
        ("user", "grant-role", "pusher", "pusher"),
    ):
        cluster.ctl(*more, *command)
    cluster.ctl(*more, "auth", "enable")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Cluster]:
    """An etcd with authentication, whose tokens end soon."""
    with running(tmp_path / "etcd", 1, f"--auth-token-ttl={SHORT}") as cluster:
        cluster.ctl("role", "add", "root", check=False)
        allow(cluster)
        yield cluster


def test_a_followers_role_cannot_write(guarded: Cluster, listed: Path) -> None:
    url = guarded.url("shop")
    with pytest.raises(EngineError, match="permission denied: the roles of user follower"):
        fleet.push(listed, Store(url, FOLLOWER))
    store = Store(url, PUSHER)
    assert fleet.push(listed, store).written
    with pytest.raises(EngineError, match=r"permission denied: .* under /ketama/other/"):
        Store(guarded.url("other"), PUSHER).read()


def test_credentials_that_are_wrong_or_missing(guarded: Cluster) -> None:
    url = guarded.url("shop")
    with pytest.raises(EngineError, match="set KETAMA_ETCD_USER"):
        Store(url, Credentials()).read()
    with pytest.raises(
        EngineError, match="invalid user ID or password: check the user, pusher"
    ) as raised:
        Store(url, Credentials(user="pusher", password="wrong-")).read()
    assert "wrong-" not in str(raised.value)


def test_a_push_after_the_tokens_end_arrives(
    guarded: Cluster, listed: Path, tmp_path: Path
) -> None:
    url = guarded.url("shop")
    store = Store(url, PUSHER)
    fleet.push(listed, store)
    machine = Machine(tmp_path, url, "web1")
    machine.start(KETAMA_ETCD_USER="follower", KETAMA_ETCD_PASSWORD="f")
    try:
        wait_for(lambda: machine.text == listed.read_bytes())
        token = store._gateway._token
        assert token
        probe = Store(url, PUSHER)

        def ended() -> bool:
            # Asking with the token would make it live longer, so another kind of request does.
            login = {"Authorization": token}
            try:
                probe._gateway._ask(0, "/v3/auth/user/get", {"name": "pusher"}, login)
            except EngineError as error:
                return "token" in str(error.strerror)
            return False

        while not ended():
            time.sleep(3 * SHORT)
        listed.write_bytes(listed.read_bytes() + b"10.0.0.3:11211 600\n")
        fleet.push(listed, store)
        wait_for(lambda: machine.text == listed.read_bytes())
        wait_for(lambda: [client.state for client in store.clients()] == ["ok"])
        command = Path(f"/proc/{machine.process.pid}/cmdline")  # type: ignore[union-attr]
        assert b"follower" not in command.read_bytes()
        # A new watch needs a new token: a member that is started again knows none.
        (member,) = guarded.members
        member.kill()
        member.start(guarded.peers, *guarded.options)
        guarded.wait()
        listed.write_bytes(listed.read_bytes() + b"10.0.0.4:11211 600\n")
        fleet.push(listed, store)
        wait_for(lambda: machine.text == listed.read_bytes())
    finally:
        machine.kill()


def test_a_watch_that_a_role_forbids(guarded: Cluster, listed: Path) -> None:
    """The role may read each key, and not the range that is watched: said, and not retried."""
    fleet.push(listed, Store(guarded.url("shop"), PUSHER))
    for command in (
        ("role", "add", "reader"),
        *(
            ("role", "grant-permission", "reader", "read", f"/ketama/shop/{key}")
            for key in ("servers", "next", "before", "changed")
        ),
        ("user", "add", "reader:r"),
        ("user", "grant-role", "reader", "reader"),
    ):
        guarded.ctl(*ROOT, *command)
    store = Store(guarded.url("shop"), Credentials(user="reader", password="r"))
    heard: list[int] = []
    changes = store.watch(lambda: heard.append(1))
    assert next(changes).servers == listed.read_bytes()
    with pytest.raises(EngineError, match="the roles of user reader do not allow this under"):
        next(changes)
    assert not heard
    store.close()


def test_a_watch_logs_in_by_itself(guarded: Cluster, listed: Path) -> None:
    """Another thread of the store drops the token when a member does not answer."""
    url = guarded.url("shop")
    pusher, store = Store(url, PUSHER), Store(url, FOLLOWER)
    fleet.push(listed, pusher)
    watching = store.watch()
    assert next(watching).servers == listed.read_bytes()
    store._gateway._token = None
    listed.write_bytes(listed.read_bytes() + b"10.0.0.9:11211 600\n")
    fleet.push(listed, pusher)
    assert next(watching).servers == listed.read_bytes()
    watching.close()  # type: ignore[attr-defined]
    pusher.close()
    store.close()


def test_users_that_are_set_up_again_are_used(tmp_path: Path, listed: Path) -> None:
    """As after a loss of all data."""
    with running(tmp_path / "etcd") as cluster:
        url = cluster.url("shop")
        store = Store(url, PUSHER)
        fleet.push(listed, store)
        machine = Machine(tmp_path, url, "web1")
        machine.start(KETAMA_ETCD_USER="follower", KETAMA_ETCD_PASSWORD="f")
        try:
            wait_for(lambda: [one.state for one in store.clients()] == ["ok"])
            allow(cluster)
            listed.write_bytes(listed.read_bytes() + b"10.0.0.3:11211 600\n")
            version = fleet.push(listed, store).version
            wait_for(lambda: [one.version for one in store.clients()] == [version])
            assert machine.end() == 0
        finally:
            machine.kill()
            store.close()


def test_a_report_that_can_no_longer_be_made_ends(tmp_path: Path, listed: Path) -> None:
    """It would be taken for true; its lease can be renewed without any right."""
    with running(tmp_path / "etcd") as cluster:
        url = cluster.url("shop")
        store = Store(url, PUSHER)
        fleet.push(listed, store)
        machine = Machine(tmp_path, url, "web1", lease=20)  # longer than any pause
        machine.start()
        try:
            wait_for(lambda: [one.state for one in store.clients()] == ["ok"])
            allow(cluster)
            wait_for(lambda: store.clients() == [])
            assert b"etcd requires authentication" in machine.log.read_bytes()
            assert machine.end() == 0
        finally:
            machine.kill()
            store.close()


def test_users_that_are_set_up_again_after_a_loss(guarded: Cluster, listed: Path) -> None:
    """A token of the etcd before is of a position in its log that the new one has not."""
    root = Store(guarded.url(), Credentials(user="root", password="root"))
    for number in range(50):
        root._gateway.call(PUT, {"key": encode(b"/else"), "value": encode(b"%d" % number)})
    root.close()
    store = Store(guarded.url("shop"), PUSHER)
    fleet.push(listed, store)
    guarded.kill()
    guarded.wipe()
    guarded.start()
    allow(guarded)
    assert store.read().servers is None
    fleet.push(listed, store)


def test_a_change_of_roles_ends_the_tokens_of_jwt(tmp_path: Path, listed: Path) -> None:
    openssl(tmp_path, "genrsa", "-out", "key", "2048")
    openssl(tmp_path, "rsa", "-in", "key", "-pubout", "-out", "public")
    kind = f"jwt,pub-key={tmp_path}/public,priv-key={tmp_path}/key,sign-method=RS256,ttl=1h"
    with running(tmp_path / "etcd", 1, f"--auth-token={kind}") as cluster:
        allow(cluster)
        url = cluster.url("shop")
        store = Store(url, PUSHER)
        machine = Machine(tmp_path, url, "web1")
        machine.start(KETAMA_ETCD_USER="follower", KETAMA_ETCD_PASSWORD="f")
        try:
            for number in range(3):
                listed.write_bytes(listed.read_bytes() + b"10.0.1.%d:11211 600\n" % number)
                version = fleet.push(listed, store).version
                wait_for(
                    lambda: [(one.version, one.state) for one in store.clients()]
                    == [(version, "ok")]  # noqa: B023
                )
                cluster.ctl(*ROOT, "role", "add", f"another{number}")
            assert b"cannot report" not in machine.log.read_bytes()
        finally:
            machine.kill()
            store.close()


def test_a_user_is_no_obstacle_after_the_loss_of_all_data(
    engine: Cluster, store: Store, listed: Path
) -> None:
    """With its data, etcd loses users and roles."""
    fleet.push(listed, store)
    assert Store(store.url.text, PUSHER).read().servers == listed.read_bytes()


def openssl(folder: Path, *arguments: str) -> None:
    """Run openssl in a folder."""
    subprocess.run([need("openssl"), *arguments], cwd=folder, check=True, capture_output=True)


def certify(folder: Path, name: str, subject: str) -> None:
    """Make a key and a certificate that ca.pem signs."""
    (folder / "ext").write_text(
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\n"
    )
    new = ["req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key"]
    openssl(folder, *new, "-out", f"{name}.csr", "-subj", subject)
    sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"]
    openssl(
        folder, *sign, "-CAcreateserial", "-out", f"{name}.pem", "-days", "2", "-extfile", "ext"
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates: of a CA, a server, and clients with and without a CN."""
    folder = tmp_path_factory.mktemp("certificates")
    ca = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key"]
    # What CPython 3.13 wants of a CA.
    ca += ["-addext", "keyUsage=critical,keyCertSign"]
    openssl(folder, *ca, "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    certify(folder, "server", "/O=etcd")
    certify(folder, "named", "/CN=web1")
    certify(folder, "unnamed", "/O=web")
    return folder


@pytest.fixture
def secured(tmp_path: Path, certificates: Path) -> Iterator[Cluster]:
    """An etcd with TLS that wants certificates of clients."""
    folder = tmp_path / "etcd"
    folder.mkdir()
    options = [
        f"--cert-file={certificates}/server.pem",
        f"--key-file={certificates}/server.key",
    ]
    options += ["--client-cert-auth", f"--trusted-ca-file={certificates}/ca.pem"]
    cluster = Cluster(folder, 1)
    (member,) = cluster.members
    member.client = member.client.replace("http:", "https:")
    cluster.options = tuple(options)
    cluster.ctl_options = (
        f"--cacert={certificates}/ca.pem",
        f"--cert={certificates}/unnamed.pem",
        f"--key={certificates}/unnamed.key",
    )
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


def test_tls(secured: Cluster, certificates: Path, listed: Path, tmp_path: Path) -> None:
    url = secured.url("shop")
    assert url.startswith("etcds://")
    ca = str(certificates / "ca.pem")
    unnamed = Credentials(
        cacert=ca, cert=str(certificates / "unnamed.pem"), key=str(certificates / "unnamed.key")
    )
    named = Credentials(
        cacert=ca, cert=str(certificates / "named.pem"), key=str(certificates / "named.key")
    )
    store = Store(url, unnamed)
    fleet.push(listed, store)
    with pytest.raises(
        UnreachableError, match=r"certificate verify failed.*: set KETAMA_ETCD_CACERT"
    ):
        Store(url, Credentials()).read()
    with pytest.raises(UnreachableError):
        Store(url, Credentials(cacert=ca)).read()
    with pytest.raises(UnreachableError):
        Store(url.replace("etcds:", "etcd:"), Credentials()).read()
    machine = Machine(tmp_path, url, "web1")
    config = tmp_path / "etcd.ini"
    config.write_text(f"[etcd]\ncacert={ca}\ncert={unnamed.cert}\nkey={unnamed.key}\n")
    machine.start(KETAMA_ETCD_CONFIG=str(config))
    try:
        wait_for(lambda: machine.text == listed.read_bytes())
        listed.write_bytes(listed.read_bytes() + b"10.0.0.3:11211 600\n")
        fleet.push(listed, store)
        wait_for(lambda: machine.text == listed.read_bytes())
        assert machine.end() == 0
    finally:
        machine.kill()
    # With authentication on, the gateway refuses a certificate that has a common name.
    allow(secured)
    with pytest.raises(EngineError, match=r"has a common name \(CN\)"):
        Store(url, named).read()
    with pytest.raises(EngineError, match="set KETAMA_ETCD_USER"):
        Store(url, unnamed).read()


def test_a_watch_of_a_follower_is_ended_from_another_thread_with_tls(
    secured: Cluster, certificates: Path, listed: Path
) -> None:
    credentials = Credentials(
        cacert=str(certificates / "ca.pem"),
        cert=str(certificates / "unnamed.pem"),
        key=str(certificates / "unnamed.key"),
    )
    store = Store(secured.url("shop"), credentials)
    fleet.push(listed, store)
    heard = threading.Event()
    ended = threading.Event()

    def watch() -> None:
        for _ in store.watch(heard.set):
            pass
        ended.set()

    watching = threading.Thread(target=watch)
    watching.start()
    heard.wait()
    store.interrupt()
    watching.join()
    assert ended.is_set()
