"""Servers that want TLS, or a name and a password."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from needs import need, need_module
from waiting import wait_for

from clients.checks import HUNG
from clients.memcached import Fleet, Memcached
from ketama.health import Liveness

KEYS = [f"user:{number}" for number in range(60)]
LARGE = "x" * 300_000  # longer than what TLS sends at once
QUICK: dict[str, Any] = {"interval": 0.01, "interval_max": 0.01}
NAME, PASSWORD = "web", "secret"


@pytest.fixture
def certificate(fleet: Fleet) -> Path:
    """The certificate of all servers of a fleet, which signs itself; beside it, its key."""
    folder = fleet.folder
    host = fleet.address().rpartition(":")[0]
    subprocess.run(
        [
            *(need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")),
            *("-subj", "/CN=memcached", "-addext", f"subjectAltName=IP:{host}"),
        ],
        check=True,
        capture_output=True,
    )
    (folder / "key.pem").chmod(0o644)
    return folder / "certificate.pem"


def start(fleet: Fleet, *options: str) -> None:
    """Start three servers with further options, and list them."""
    for _ in range(3):
        server = Memcached(fleet.address(), *options)
        fleet.servers.append(server)
        server.start()
    fleet.write()


@pytest.fixture
def tls(fleet: Fleet, certificate: Path) -> Fleet:
    """Three servers that speak TLS only."""
    need("memcached")
    key = certificate.with_name("key.pem")
    start(fleet, "-Z", "-o", f"ssl_chain_cert={certificate},ssl_key={key}")
    return fleet


@pytest.fixture
def login(fleet: Fleet) -> Fleet:
    """Three servers that want a name and a password."""
    need("memcached")
    users = fleet.folder / "users"
    users.write_text(f"{NAME}:{PASSWORD}\n")
    users.chmod(0o644)
    start(fleet, "-Y", str(users))
    return fleet


def test_pymemcache_over_tls(tls: Fleet, certificate: Path) -> None:
    """Single and many keys; and the probe of a server that hung, and its flush."""
    pytest.importorskip("pymemcache")
    from ketama.clients.pymemcache import HashClient

    context = ssl.create_default_context(cafile=str(certificate))
    client = HashClient(
        tls.path,
        tls_context=context,
        timeout=HUNG,
        on_rejoin="flush",
        liveness=Liveness(**QUICK),
    )
    assert client.set_many(dict.fromkeys(KEYS, LARGE)) == []
    assert client.get_many(KEYS) == dict.fromkeys(KEYS, LARGE.encode())
    assert client.get(KEYS[0]) == LARGE.encode()
    victim = tls.at(client.continuum[KEYS[0]])
    victim.hang()
    assert client.set(KEYS[0], "new")
    victim.resume()
    addresses = client.continuum.addresses
    wait_for(lambda: client.get("other") or not client.liveness.down(addresses))
    assert client.get(KEYS[0]) is None
    client.close()


def test_a_certificate_that_is_not_trusted(tls: Fleet) -> None:
    """It is an error, and no value is sent."""
    pytest.importorskip("pymemcache")
    from ketama.clients.pymemcache import HashClient

    client = HashClient(tls.path, tls_context=ssl.create_default_context(), failover=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        client.set("user:1", "x")
    client.close()


def test_django_over_tls(tls: Fleet, certificate: Path) -> None:
    """The context is one of OPTIONS."""
    need_module("django")
    from ketama.clients.django import KetamaCache

    context = ssl.create_default_context(cafile=str(certificate))
    cache = KetamaCache(str(tls.path), {"OPTIONS": {"tls_context": context}})
    cache.set_many(dict.fromkeys(KEYS, LARGE))
    assert cache.get_many(KEYS) == dict.fromkeys(KEYS, LARGE)


async def store_and_read(client: Any) -> None:
    """Store values, and read them in one batch."""
    names = [name.encode() for name in KEYS]
    for name in names:
        await client.set(name, LARGE.encode())
    found = await (
        client.get_many(names) if hasattr(client, "get_many") else client.get(*names)
    )
    assert len(found) == len(KEYS)


async def come_back(client: Any, server: Callable[[str], Memcached]) -> None:
    """Let a server hang and come back; expect it to be empty."""
    key = b"user:1"
    await client.set(key, b"old")
    victim = server(client.continuum.lookup(key))
    addresses = client.continuum.addresses
    victim.hang()
    await client.set(key, b"new")
    victim.resume()
    while client.liveness.down(addresses):  # each request may begin a probe
        await client.get(b"other")
        await asyncio.sleep(0.01)
    assert not await client.get(key)


def emcache_client(path: Path, certificate: Path | None, **options: Any) -> Any:
    """Return a client of emcache's."""
    need_module("emcache")
    from ketama.clients.emcache import Client

    if certificate is not None:
        options |= {"ssl": True, "ssl_extra_ca": str(certificate)}
    return Client(path, **options)


def memcachio_client(path: Any, certificate: Path | None, **options: Any) -> Any:
    """Return a client of memcachio's."""
    need_module("memcachio")
    from ketama.clients.memcachio import Client

    if certificate is not None:
        options["ssl_context"] = ssl.create_default_context(cafile=str(certificate))
    return Client(path, **options)


def flushing() -> dict[str, Any]:
    """Return the options of a client that probes and flushes."""
    return {"on_rejoin": "flush", "liveness": Liveness(failures=1, window=600.0, **QUICK)}


CLIENTS = pytest.mark.parametrize("make", [emcache_client, memcachio_client])


def run(client: Callable[[], Any], act: Callable[[Any], Awaitable[None]]) -> None:
    """Use a client in an event loop, and close it."""

    async def main() -> None:
        made = client()
        try:
            await act(made)
        finally:
            await made.close()
        # memcachio does not wait until TLS is shut down. The loop's own pipe is left then.
        selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        while len(selector.get_map()) > 1:
            await asyncio.sleep(0.01)

    asyncio.run(main())


@CLIENTS
def test_asyncio_over_tls(tls: Fleet, certificate: Path, make: Callable[..., Any]) -> None:
    """Values that take many records."""
    run(lambda: make(tls.path, certificate), store_and_read)


@CLIENTS
def test_a_name_and_a_password(login: Fleet, make: Callable[..., Any]) -> None:
    """Commands, a probe, and a flush, each after a login."""

    async def act(client: Any) -> None:
        await store_and_read(client)
        await come_back(client, login.at)

    options = {"username": NAME, "password": PASSWORD, **flushing()}
    run(lambda: make(login.path, None, **options), act)


@pytest.mark.parametrize("cancelled", [False, True])
def test_requests_wait_for_a_login(login: Fleet, cancelled: bool) -> None:
    """None is sent before it, and none fails if the one that logs in is cancelled."""
    authentication = need_module("memcachio.authentication")
    liveness = Liveness(failures=1)

    async def act(client: Any) -> None:
        begun = asyncio.Event()
        go_on = asyncio.Event()

        async def authenticate(self: Any, connection: Any) -> bool:
            begun.set()
            await go_on.wait()
            done: bool = await plain(self, connection)
            return done

        plain = authentication.SimpleAuthenticator.authenticate
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(authentication.SimpleAuthenticator, "authenticate", authenticate)
            first = asyncio.create_task(client.get(b"key"))
            await begun.wait()
            others = [asyncio.create_task(client.incr(b"key", 1)) for _ in range(9)]
            await asyncio.sleep(0)
            if cancelled:
                first.cancel()
                await asyncio.sleep(0)
            go_on.set()
            assert await asyncio.gather(*others) == [None] * 9
            await asyncio.wait([first])
        assert first.cancelled() == cancelled
        assert liveness.servers() == []

    options: dict[str, Any] = {"connect_timeout": 60.0, "read_timeout": 60.0}
    options |= {"username": NAME, "password": PASSWORD, "liveness": liveness}
    source = [(login.servers[0].address, 1)]
    run(lambda: memcachio_client(source, None, **options), act)


@CLIENTS
def test_a_wrong_password(login: Fleet, make: Callable[..., Any]) -> None:
    """It is an error, and not a miss."""

    async def act(client: Any) -> None:
        with pytest.raises(Exception, match=r"(?i)auth|down|available"):
            await client.get(b"user:1")

    run(lambda: make(login.path, None, username=NAME, password="wrong"), act)
