"""What each client for asyncio promises, tested with real servers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import itertools
import re
import subprocess
import typing
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest
from fuse import mounted
from waiting import wait_for

from clients.checks import Reports, hung
from clients.memcached import Fleet, Listener
from ketama import Continuum
from ketama.clients import following
from ketama.clients.probe import FLUSH_DELAYS
from ketama.health import Liveness

T = TypeVar("T")

# 450 keys: some for each server, and for each way to encode text.
KEYS = [f"{word}:{n}" for word in ("user", "größe", "鍵") for n in range(150)]
QUICK: dict[str, Any] = {"interval": 0.05, "interval_max": 0.1, "probes": 1}
NEVER: dict[str, Any] = {"interval": 600.0, "interval_max": 600.0}


async def until(condition: Callable[[], T]) -> T:
    """Wait in a thread until a condition is true, while the event loop goes on."""
    return await asyncio.to_thread(wait_for, condition)


async def get_for_ever(client: Asked) -> None:
    """Get a key until that fails."""
    while True:
        await client.get("key")
        await asyncio.sleep(0.001)


def uses(client: Asked, addresses: tuple[str, ...]) -> bool:
    """Return whether a client has reloaded its file."""
    return bool(client.client.continuum.addresses == addresses)


class Asked:
    """A client as the tests use it, whichever it is."""

    client: Any
    timeout_option = "timeout"

    def __init__(self, source: Any, **options: Any) -> None:
        if "timeout" in options:
            options[self.timeout_option] = options.pop("timeout")
        else:
            options[self.timeout_option] = 60.0  # however busy the machine is
        self.client = self.make(source, **{self.connect_option: 60.0, **options})

    connect_option = "connect_timeout"
    connections_option = "max_connections"

    def make(self, source: Any, **options: Any) -> Any:
        """Return the client."""
        raise NotImplementedError

    async def set(self, key: str, value: str, expiry: int = 0) -> bool:
        """Store a value; return whether the client says that it was stored."""
        raise NotImplementedError

    async def get(self, key: str) -> str | None:
        """Return a value."""
        raise NotImplementedError

    async def get_many(self, keys: Iterable[str]) -> dict[str, str]:
        """Return values."""
        raise NotImplementedError

    async def incr(self, key: str) -> int | None:
        """Add 1."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close all connections."""
        await self.client.close()

    async def __aenter__(self) -> Asked:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Promises:
    """The tests, for a subclass that says which client is meant."""

    asked: type[Asked]
    module: ModuleType
    unavailable: type[Exception]  # if no server can be asked
    refusal: type[Exception]  # if a server says that it cannot do what it was asked
    lost_set = False  # what set returns if misses are no errors
    failures: tuple[type[Exception], ...] = (OSError, EOFError, asyncio.TimeoutError)

    @pytest.fixture(autouse=True)
    def _quickly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(following, "FOLLOW_S", 0.01)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a program."""
        return asyncio.run(main)

    # ---- Placement

    def test_placement(self, fleet: Fleet) -> None:
        """Each key is on libketama's server, and on no other, at whatever kind of address."""
        fleet.start(2)
        fleet.start(host="unix")
        fleet.start(host="[::1]")
        fleet.write({s.address: 100 * n for n, s in enumerate(fleet.servers, 1)})
        continuum = Continuum(fleet.path, shared=False)

        async def main() -> None:
            async with self.asked(fleet.path) as client:
                for key in KEYS:
                    assert await client.set(key, f"value of {key}")
                assert [await client.get(key) for key in KEYS] == [
                    f"value of {key}" for key in KEYS
                ]
                assert await client.get_many([*KEYS, "missing"]) == {
                    key: f"value of {key}" for key in KEYS
                }

        self.run(main())
        for key in KEYS:
            assert fleet.holders(key) == [fleet.at(continuum.lookup(key))]
        assert all(server.stat("cmd_set") for server in fleet.servers)

    # ---- Reload

    def test_reload(self, fleet: Fleet) -> None:
        """The file changes under load: nothing fails, and removed servers lose connections."""
        servers = fleet.start(4)
        lists = itertools.cycle([servers, servers[:2], servers[1:], servers[:3]])
        wrong: list[object] = []
        done = False

        async def work(client: Asked, name: int) -> int:
            for count in itertools.count():
                key = f"{name}:{count % 50}"
                try:
                    await client.set(key, key)
                    if await client.get(key) not in (key, None):
                        wrong.append(key)
                    found = await client.get_many([f"{name}:{n}" for n in range(50)])
                    wrong.extend(pair for pair in found.items() if pair[0] != pair[1])
                except Exception as error:  # noqa: BLE001 - the test counts them
                    wrong.append(error)
                if done:
                    return count
            return 0

        async def main() -> None:
            nonlocal done
            fleet.write()
            async with self.asked(fleet.path) as client:
                tasks = [asyncio.create_task(work(client, n)) for n in range(8)]
                await until(lambda: all(server.connections() for server in servers))
                for listed in itertools.islice(lists, 24):
                    fleet.write({server.address: 100 for server in listed})
                    addresses = tuple(server.address for server in listed)
                    await until(partial(uses, client, addresses))
                    await asyncio.gather(*[client.get(key) for key in KEYS])
                fleet.write({server.address: 100 for server in servers[:2]})
                await until(lambda: not any(s.connections() for s in servers[2:]))
                assert all(server.connections() for server in servers[:2])
                done = True
                assert all(await asyncio.gather(*tasks))

        gc.disable()
        try:
            self.run(main())
        finally:
            gc.enable()
        assert wrong == [], wrong[:3]
        assert not any(server.connections() for server in servers)

    def test_an_invalid_file(self, four: Fleet) -> None:
        """The last valid version stays in use; a client that starts then uses it as well."""

        async def main() -> None:
            async with self.asked(four.path) as client:
                assert await client.set("key", "1")
                four.path.write_text("no weight\n")
                await until(lambda: client.client.continuum.last_error)
                assert await client.get("key") == "1"
                async with self.asked(four.path) as other:
                    assert await other.get("key") == "1"
                four.write()
                await until(lambda: not client.client.continuum.last_error)

        self.run(main())

    def test_a_file_system_that_hangs(self, fleet: Fleet, tmp_path: Path) -> None:
        """Requests go on, and so does the end of the event loop."""
        fleet.start(2)
        fleet.write()

        async def main(path: Path, server: subprocess.Popen[str]) -> None:
            async with self.asked(path) as client:
                assert await client.set("key", "1")
                server.send_signal(19)  # SIGSTOP
                for _ in range(20):
                    await asyncio.sleep(0.01)
                    assert await client.get("key") == "1"

        with mounted(tmp_path / "mount", fleet.path) as (folder, server):
            try:
                self.run(main(Path(folder) / "servers", server))
            finally:
                server.send_signal(18)

    # ---- Down

    def test_a_server_is_killed(self, four: Fleet) -> None:
        """Nothing fails, its keys move to their next server, and return when it is back."""
        continuum = Continuum(four.path)
        victim = four.servers[3]
        errors: list[Exception] = []
        done = False

        async def work(client: Asked, name: int) -> int:
            for count in itertools.count():
                try:
                    await client.set(f"{name}:{count % 100}", "x")
                    await client.get(f"{name}:{count % 100}")
                    await client.get_many([f"{name}:{n}" for n in range(100)])
                except Exception as error:  # noqa: BLE001 - the test counts them
                    errors.append(error)
                if done:
                    return count
            return 0

        async def main() -> None:
            nonlocal done
            liveness = Liveness(**QUICK)
            async with self.asked(four.path, liveness=liveness, failover_ttl=1000) as client:
                tasks = [asyncio.create_task(work(client, n)) for n in range(8)]
                await until(victim.connections)
                victim.kill()
                await until(lambda: liveness.down(continuum.addresses) == {victim.address})
                for key in KEYS:
                    assert await client.set(key, key, expiry=2000)
                assert await client.get_many(KEYS) == {key: key for key in KEYS}
                moved = {key for key in KEYS if continuum.lookup(key) == victim.address}
                assert moved
                for key in KEYS:
                    home, following_it = continuum.successors(key, 2)
                    server = four.at(following_it if key in moved else home)
                    assert four.holders(key) == [server]
                    assert ((server.ttl(key) or 0) <= 1000) == (key in moved)
                victim.start()
                await until(lambda: not liveness.down(continuum.addresses))
                done = True
                assert all(await asyncio.gather(*tasks))
                for key in moved:
                    assert await client.set(key, "new")
                    assert victim.get(key) == b"new"
                assert await client.get_many(moved) == dict.fromkeys(moved, "new")

        self.run(main())
        assert errors == [], errors[:3]

    def test_all_are_down(self, four: Fleet) -> None:
        """It is an error, or a miss, as the option says."""

        async def main() -> None:
            for server in four.servers:
                server.kill()
            async with self.asked(four.path) as client:
                for ask in (client.get("a"), client.set("a", "1"), client.get_many(KEYS)):
                    with pytest.raises((*self.failures, self.unavailable)):
                        await ask
            async with self.asked(four.path, on_error="miss") as client:
                assert await client.get("a") is None
                assert await client.set("a", "1") is self.lost_set
                assert await client.get_many(KEYS) == {}
                assert await client.incr("a") is None

        self.run(main())

    def test_invalid_addresses(self, four: Fleet) -> None:
        """They are servers that are down; a client starts even if there are no others."""
        invalid = ("127.0.0.1:99999", "[::1")
        four.write({s.address: 100 for s in four.servers} | dict.fromkeys(invalid, 100))
        continuum = Continuum(four.path)

        async def main() -> None:
            liveness = Liveness(shared=False, **NEVER)
            async with self.asked(four.path, liveness=liveness) as client:
                for key in KEYS:
                    assert await client.set(key, key)
                assert await client.get_many(KEYS) == {key: key for key in KEYS}
                assert liveness.down(continuum.addresses) == {*invalid}
            source = dict.fromkeys(invalid, 100)
            async with self.asked(source, liveness=liveness, on_error="miss") as client:
                assert await client.get_many(KEYS) == {}

        self.run(main())

    def test_without_failover(self, four: Fleet) -> None:
        """The keys of a server that is down are errors, or misses; the others are not."""
        continuum = Continuum(four.path)
        victim = four.servers[3]
        lost = [key for key in KEYS if continuum.lookup(key) == victim.address]

        async def main() -> None:
            liveness = Liveness(**NEVER)
            options: dict[str, Any] = {"liveness": liveness, "failover": False}
            async with self.asked(four.path, **options) as client:
                for key in KEYS:
                    await client.set(key, key)
                victim.kill()
                with pytest.raises(self.failures):
                    await client.get(lost[0])
                with pytest.raises(self.unavailable):
                    await client.get(lost[0])
                with pytest.raises(self.unavailable):
                    await client.get_many(KEYS)
            async with self.asked(four.path, on_error="miss", **options) as client:
                assert await client.get_many(KEYS) == {k: k for k in KEYS if k not in lost}
                assert await client.get(lost[0]) is None

        self.run(main())

    def test_a_server_hangs(self, four: Fleet) -> None:
        """As many requests time out as it takes to know that, and no more."""
        continuum = Continuum(four.path)
        victim = four.servers[3]
        keys = [key for key in KEYS if continuum.lookup(key) == victim.address]
        victim.hang()

        async def main() -> int:
            liveness = Liveness(failures=2, window=600.0, **NEVER)
            options: dict[str, Any] = {"liveness": liveness, "timeout": 1.0}
            timeouts = 0
            async with self.asked(four.path, failover=False, **options) as client:
                for key in keys:
                    try:
                        await client.get(key)
                    except self.unavailable:
                        pass
                    except (TimeoutError, asyncio.TimeoutError):  # one class from 3.11 on
                        timeouts += 1
            async with self.asked(four.path, **options) as client:
                assert await client.get_many(keys) == {}
                for key in keys:
                    assert await client.set(key, "1")
            return timeouts

        assert self.run(main()) == 2
        victim.resume()

    @pytest.mark.parametrize("many", [False, True])
    def test_all_servers_hang(self, fleet: Fleet, many: bool) -> None:
        """An operation waits for three of six, and no later one for more."""
        liveness = Reports(failures=1, shared=False, **NEVER)

        async def main(addresses: list[str]) -> None:
            async with self.asked(addresses, liveness=liveness, timeout=0.05) as client:
                for number in range(1, 4):
                    with pytest.raises((TimeoutError, asyncio.TimeoutError)):
                        await (client.get_many(["key"]) if many else client.get("key"))
                    assert len(liveness.reports) == 3 * number

        with hung(fleet) as addresses:
            self.run(main(addresses))

    def test_a_write_to_a_server_that_is_still_in_use(self, four: Fleet) -> None:
        """What it may have missed is stored nowhere else, until it is down for all."""
        continuum = Continuum(four.path)
        victim = four.servers[3]
        key = next(key for key in KEYS if continuum.lookup(key) == victim.address)
        others = [server for server in four.servers if server is not victim]
        victim.hang()

        async def main() -> None:
            liveness = Liveness(failures=2, window=600.0, **NEVER)
            async with self.asked(four.path, liveness=liveness, timeout=1.0) as client:
                with pytest.raises((TimeoutError, asyncio.TimeoutError)):
                    await client.set(key, "new")
                assert not any(server.get(key) for server in others)
                assert await client.get(key) is None
                assert await client.set(key, "new")
                assert [server.get(key) for server in others].count(b"new") == 1
                assert await client.get(key) == "new"

        self.run(main())
        victim.resume()

    def test_a_server_hangs_under_load(self, four: Fleet) -> None:
        """All requests that were under way are answered by others."""
        continuum = Continuum(four.path)
        victim = four.servers[3]
        keys = [key for key in KEYS if continuum.lookup(key) == victim.address]

        async def main() -> None:
            liveness = Liveness(failures=2, window=600.0, **NEVER)
            async with self.asked(four.path, liveness=liveness, timeout=2.0) as client:
                await client.set(keys[0], "1")
                victim.hang()
                assert await asyncio.gather(*[client.get(key) for key in keys]) == (
                    [None] * len(keys)
                )
                assert liveness.down(continuum.addresses) == {victim.address}

        self.run(main())
        victim.resume()

    def test_requests_that_wait_for_a_connection(self, four: Fleet) -> None:
        """They fail with the server, and their error tells what has happened to it."""
        continuum = Continuum(four.path)
        victim = four.servers[3]
        key = next(key for key in KEYS if continuum.lookup(key) == victim.address)
        victim.hang()

        async def main(source: object) -> list[BaseException | str | None]:
            options: dict[str, Any] = {self.asked.connections_option: 1, "timeout": 0.1}
            liveness = Liveness(failures=2, window=600.0, shared=False, **NEVER)
            async with self.asked(
                source, failover=False, liveness=liveness, **options
            ) as client:
                gets = [client.get(key) for _ in range(4)]
                return await asyncio.gather(*gets, return_exceptions=True)

        timed_out = (
            "did not answer within 0.1 s|timed out after 0.1 seconds|"
            "did not answer another request in time"
        )
        # A single server that is down is asked on, so all requests time out.
        for source, later in (
            (four.path, f"{timed_out}|{victim.address} is down"),
            ([(victim.address, 1)], timed_out),
        ):
            errors = self.run(main(source))
            for error, text in zip(errors, [timed_out] * 2 + [later] * 2, strict=True):
                assert isinstance(error, (TimeoutError, asyncio.TimeoutError)), errors
                assert re.search(text, str(error)), errors
        victim.resume()

    def test_flush_on_rejoin(self, four: Fleet) -> None:
        """A server that was away, and not restarted, is flushed once before it is used."""
        continuum = Continuum(four.path)
        victim = four.servers[3]
        key = next(key for key in KEYS if continuum.lookup(key) == victim.address)

        async def main() -> None:
            liveness = Liveness(failures=1, window=600.0, **QUICK)
            options: dict[str, Any] = {"liveness": liveness, "on_rejoin": "flush"}
            async with self.asked(four.path, timeout=1.0, **options) as client:
                await client.set(key, "old")
                victim.hang()
                assert await client.set(key, "new")
                await until(lambda: liveness.down(continuum.addresses) == {victim.address})
                victim.resume()
                while liveness.down(continuum.addresses):  # each request may begin a probe
                    await client.get("other")
                    await asyncio.sleep(0.01)
                assert await client.get(key) is None

        self.run(main())
        assert victim.stat("cmd_flush") == len(FLUSH_DELAYS)

    def test_a_server_was_restarted(self, four: Fleet) -> None:
        """Idle connections that it has closed are no failures."""

        async def main() -> None:
            liveness = Liveness(failures=1)
            async with self.asked(four.path, liveness=liveness, failover=False) as client:
                for key in KEYS:
                    assert await client.set(key, key)
                for server in four.servers:
                    server.restart()  # the event loop does not run meanwhile
                for key in KEYS:
                    assert await client.set(key, key)
                for server in four.servers:
                    server.restart()
                assert await client.get_many(KEYS) == {}
                assert liveness.down(client.client.continuum.addresses) == frozenset()

        self.run(main())

    def test_closed_in_the_middle(self, four: Fleet) -> None:
        """A server that closes each connection is one that fails."""
        continuum = Continuum(four.path)
        victim = four.servers[3]
        keys = [key for key in KEYS if continuum.lookup(key) == victim.address]
        victim.kill()

        async def main() -> None:
            liveness = Liveness(window=600.0, **NEVER)
            async with self.asked(four.path, liveness=liveness) as client:
                for _ in range(2):
                    assert await client.get(keys[0]) is None
                assert liveness.down(continuum.addresses) == {victim.address}
                for key in keys:
                    assert await client.set(key, key)
                assert await client.get_many(keys) == {key: key for key in keys}

        with Listener(victim.address, closing=True):
            self.run(main())

    @pytest.mark.parametrize("answer", [b"ERROR Too many open connections", b"SERVER_ERROR x"])
    def test_a_server_refuses(self, four: Fleet, answer: bytes) -> None:
        """It is an error, or a miss, as the option says, and the server is not down."""
        continuum = Continuum(four.path)
        victim = four.servers[3]
        home = {key: continuum.lookup(key) for key in KEYS}
        lost = next(key for key in KEYS if home[key] == victim.address)
        kept = [key for key in KEYS if home[key] != victim.address]
        victim.kill()

        async def main() -> None:
            liveness = Liveness(failures=1, **NEVER)
            async with self.asked(four.path, liveness=liveness, on_error="miss") as client:
                for key in kept:
                    assert await client.set(key, key)
                assert await client.get(lost) is None
                assert await client.set(lost, "1") is self.lost_set
                assert await client.incr(lost) is None
                assert await client.get_many(KEYS) == {key: key for key in kept}
                with pytest.raises((self.refusal, ValueError)):  # CLIENT_ERROR
                    await client.incr(kept[0])
            async with self.asked(four.path, liveness=liveness) as client:
                for ask in (client.get(lost), client.set(lost, "1"), client.get_many(KEYS)):
                    with pytest.raises(self.refusal):
                        await ask
            assert liveness.servers() == []

        with Listener(victim.address, answer=answer + b"\r\n"):
            self.run(main())

    # ---- Cancelled

    def test_cancelled(self, four: Fleet) -> None:
        """After a get that was cancelled, anywhere, set and get know the new value."""

        async def main() -> None:
            async with self.asked(four.path) as client:
                for number in range(199):
                    await client.set("key", f"old {number}")
                    get = asyncio.create_task(client.get("key"))
                    for _ in range(number % 7):
                        await asyncio.sleep(0)
                    get.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await get
                    assert await client.set("key", f"new {number}")
                    assert await client.get("key") == f"new {number}"
                    assert await client.get("missing") is None

        self.run(main())

    def test_cancelled_while_connecting(self, four: Fleet) -> None:
        """No place for a connection is lost."""

        async def main() -> None:
            for number in range(30):
                async with self.asked(four.path) as client:
                    gets = [asyncio.create_task(client.get("key")) for _ in range(4)]
                    for _ in range(number % 10):
                        await asyncio.sleep(0)
                    for get in gets:
                        get.cancel()
                    await asyncio.gather(*gets, return_exceptions=True)
                    assert await client.set("key", str(number))
                    assert await client.get("key") == str(number)

        self.run(main())
        assert not any(server.connections() for server in four.servers)

    # ---- Event loops

    def test_several_loops(self, four: Fleet) -> None:
        """One after the other, without close: each ends with all connections closed."""
        client = self.asked(four.path)

        async def main(value: str) -> int:
            await asyncio.gather(*[client.set(key, value) for key in KEYS])
            assert await client.get("user:1") == value
            return sum(server.connections() for server in four.servers)

        gc.disable()
        try:
            for value in ("1", "2"):
                assert self.run(main(value)) >= 4
                wait_for(lambda: not any(s.connections() for s in four.servers))
        finally:
            gc.enable()

    def test_two_loops(self, four: Fleet) -> None:
        """At the same time, it is an error that says what to do."""
        client = self.asked(four.path)

        async def main() -> None:
            await client.get("key")
            other = asyncio.new_event_loop()
            with pytest.raises(RuntimeError, match="in use in another event loop: close it"):
                await asyncio.to_thread(other.run_until_complete, client.get("key"))
            other.close()
            assert await client.set("key", "1")

        self.run(main())

    def test_a_client_that_is_dropped(self, four: Fleet) -> None:
        """Its connections are closed, though nobody has called close."""

        async def main() -> None:
            client = self.asked(four.path)
            await client.set("key", "1")
            assert any(server.connections() for server in four.servers)
            del client
            await until(lambda: not any(server.connections() for server in four.servers))

        gc.disable()
        try:
            self.run(main())
        finally:
            gc.enable()

    # ---- Options and types

    def test_invalid_options(self, four: Fleet) -> None:
        """They are errors at once."""
        with pytest.raises(ValueError, match="lookups would check the file in the event loop"):
            self.asked(Continuum(four.path, auto_roll=1.0))
        with pytest.raises(ValueError, match="invalid on_error 'ignore'"):
            self.asked(four.path, on_error="ignore")
        with pytest.raises(ValueError, match="invalid failover_ttl 0"):
            self.asked(four.path, failover_ttl=0)

    def test_a_callback_that_raises(self, four: Fleet) -> None:
        """What it raises reaches the next request, and the file is followed on."""

        def changed(_: object, after: tuple[str, ...]) -> None:
            raise KeyError(len(after))

        async def main() -> None:
            async with self.asked(Continuum(four.path, on_change=changed)) as client:
                assert await client.set("key", "1")
                for count in (3, 2):
                    four.write({server.address: 100 for server in four.servers[:count]})
                    with pytest.raises(KeyError, match=str(count)):
                        await get_for_ever(client)
                    assert await client.set("key", "1")

        self.run(main())

    def test_type_hints(self) -> None:
        """They can be resolved, for each public callable."""
        public: list[Any] = [
            value
            for name, value in vars(self.module).items()
            if not name.startswith("_")
            and getattr(value, "__module__", None) == self.module.__name__
            and callable(value)
        ]
        assert public
        for value in public:
            typing.get_type_hints(value)
            for name, member in vars(value).items() if inspect.isclass(value) else ():
                if inspect.isfunction(member) and (
                    not name.startswith("_") or name == "__init__"
                ):
                    typing.get_type_hints(member)


class AllServers(Promises):
    """The tests of methods that ask all servers."""

    all_commands: tuple[str, str, str]  # for the version, for statistics, and to flush

    def test_all_servers_were_restarted(self, four: Fleet) -> None:
        """Requests are sent again after a reset, too."""

        async def main() -> None:
            liveness = Liveness(failures=1, **NEVER)
            options: dict[str, Any] = {"liveness": liveness, "on_rejoin": "flush"}
            async with self.asked(four.path, **options) as client:
                for name in self.all_commands:
                    await client.get_many(KEYS)
                    for server in four.servers:
                        server.restart()  # the event loop does not run meanwhile
                    answers = await getattr(client.client, name)()
                    assert not isinstance(answers, dict) or len(answers) == 4
                    assert liveness.down(client.client.continuum.addresses) == frozenset()
                    assert [s.state for s in liveness.servers()] == []

        self.run(main())

    def test_all_servers_are_asked_and_one_hangs(self, four: Fleet) -> None:
        """With "flush", a read that times out does not lead to a flush."""
        four.servers[3].hang()
        states = ("suspect", "suspect", "down")

        async def main() -> None:
            for name, state in zip(self.all_commands, states, strict=True):
                liveness = Liveness(failures=2, window=600.0, shared=False, **NEVER)
                options: dict[str, Any] = {"liveness": liveness, "on_rejoin": "flush"}
                async with self.asked(four.path, timeout=1.0, **options) as client:
                    with pytest.raises((TimeoutError, asyncio.TimeoutError)):
                        await getattr(client.client, name)()
                found = [(s.address, s.state) for s in liveness.servers()]
                assert found == [(four.servers[3].address, state)], name

        self.run(main())
        four.servers[3].resume()
