"""Measure memcached clients, theirs and ours, in one interleaved run: make bench.

Usage: clients.py [lookups]. Needs memcached. Starts 4 and 20 servers, and measures calls of
each client on loopback and with a round trip of 0.5 ms. Every figure is the median of the calls
of a round, and the best of several rounds in which the clients take turns. Writes
results/clients.tsv, single.tsv (a `get` of one key) and excluding.tsv (what excluding a server
costs a lookup). With "lookups", writes only the last.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Before this folder, in which `clients` is this file.
sys.path.insert(0, str(HERE.parent / "tests"))

import results
from clients.memcached import Fleet, connect, parse
from fleets import keys as some_keys
from network import network

import ketama

ROUNDS = results.rounds(5)
CALLS = {"get": 400, "get_many": 40, "set_many": 30}
KEYS = some_keys(20)
VALUE = b"v" * 100
PAIRS = dict.fromkeys(KEYS, VALUE)
NETWORKS = [(4, 0.0), (20, 0.0), (4, 0.0005), (20, 0.0005)]

Operation = Callable[[Any], object]
Operations = dict[str, Operation]
# (client, operation, servers, round trip in seconds) -> microseconds per call
Figures = dict[tuple[str, str, int, float], float]


class Floor:
    """Sockets without a client: requests made beforehand, answers counted but not read."""

    def __init__(self, path: Path) -> None:
        continuum = ketama.Continuum(path)
        self.sockets = {server.address: connect(server.address) for server in continuum.servers}
        value = f"VALUE %s 0 {len(VALUE)}\r\n{VALUE.decode()}\r\n"
        end = "END\r\n"
        self.gets, self.all_gets, self.all_sets = {}, [], []
        for address, keys in continuum.group_by_server(KEYS).items():
            for key in keys:
                self.gets[key] = self.request(
                    address, f"get {key}\r\n", value % key + "END\r\n"
                )
            asked = " ".join(keys)
            found = "".join(value % key for key in keys)
            self.all_gets.append(self.request(address, f"get {asked}\r\n", found + end))
            sets = [f"set {key} 0 0 {len(VALUE)}\r\n{VALUE.decode()}\r\n" for key in keys]
            self.all_sets.append(self.request(address, "".join(sets), "STORED\r\n" * len(sets)))

    def request(self, address: str, text: str, answer: str) -> tuple[Any, bytes, int]:
        """Return a server's socket, what is sent to it, and how many bytes it answers."""
        return self.sockets[address], text.encode(), len(answer)

    def ask(self, requests: list[tuple[Any, bytes, int]]) -> None:
        """Ask all servers at once."""
        for connection, request, _ in requests:
            connection.sendall(request)
        for connection, _, left in requests:
            while left:
                left -= len(connection.recv(left))

    def operations(self) -> Operations:
        """Return the operations."""
        return {
            "get": lambda key: self.ask([self.gets[key]]),
            "get_many": lambda _: self.ask(self.all_gets),
            "set_many": lambda _: self.ask(self.all_sets),
        }


class PlainHasher:
    """What a user would write for pymemcache: each key's server, of a file."""

    def __init__(self, path: Path) -> None:
        self.get_node = ketama.Continuum(path).lookup

    def add_node(self, node: str) -> None:
        """Ignore it, as the file has it."""

    def remove_node(self, node: str) -> None:
        """Ignore it."""


def of(client: Any, get_many: str = "get_many", set_many: str = "set_many") -> Operations:
    """Return a client's operations, tried out once."""
    get_all, set_all = getattr(client, get_many), getattr(client, set_many)
    set_all(PAIRS)
    assert get_all(KEYS) == PAIRS, client
    assert client.get(KEYS[0]) == VALUE, client
    return {"get": client.get, "get_many": get_all, "set_many": lambda _: set_all(PAIRS)}


def pymemcache(path: Path, **options: Any) -> Operations:
    """Return pymemcache's HashClient."""
    module = importlib.import_module("pymemcache.client.hash")
    # By default it does not wait for the answers to sets.
    options["default_noreply"] = False
    return of(module.HashClient([*map(parse, addresses(path))], **options))


def pymemcache_uhashring(path: Path) -> Operations:
    """Return pymemcache's HashClient with uhashring's ketama ring."""
    ring = importlib.import_module("uhashring").HashRing
    return pymemcache(path, hasher=functools.partial(ring, hash_fn="ketama"))


def pymemcache_plain(path: Path) -> Operations:
    """Return pymemcache's HashClient with a plain hasher of ours."""
    return pymemcache(path, hasher=lambda: PlainHasher(path))


def multi(module: str, path: Path, **options: Any) -> Operations:
    """Return a client with get_multi and set_multi, of a list of addresses."""
    client = importlib.import_module(module).Client(addresses(path), **options)
    return of(client, "get_multi", "set_multi")


def emcache(path: Path) -> Operations:
    """Return emcache's client, whose operations are awaited; it has none that sets many."""
    module = importlib.import_module("emcache")
    hosts = [module.MemcachedHostAddress(*parse(address)) for address in addresses(path)]
    made = module.create_client(hosts, timeout=60, connection_timeout=60)
    client = LOOP.run_until_complete(made)

    async def set_all(_: object) -> None:
        await asyncio.gather(*(client.set(key.encode(), VALUE) for key in KEYS))

    raw = [key.encode() for key in KEYS]
    return {
        "get": lambda key: client.get(key.encode()),
        "get_many": lambda _: client.get_many(raw),
        "set_many": set_all,
        "close": lambda _: client.close(),
    }


def django(backend: str, location: Any) -> Operations:
    """Return one of Django's cache backends, named by its path."""
    module, _, name = backend.rpartition(".")
    return of(getattr(importlib.import_module(module), name)(location, {}))


def ours(module: str, path: Path, *names: str) -> Operations:
    """Return a client of ours."""
    made = importlib.import_module(f"ketama.clients.{module}")
    if module == "pymemcache":
        return of(made.HashClient(path, default_noreply=False))
    return of(made.Client(path), *names)


LOOP = asyncio.new_event_loop()
CLIENTS: dict[str, Callable[[Path], Operations]] = {
    "floor: sockets alone": lambda path: Floor(path).operations(),
    "pymemcache": pymemcache,
    "pymemcache + uhashring": pymemcache_uhashring,
    "pymemcache + a plain ketama hasher": pymemcache_plain,
    "Django, PyMemcacheCache": lambda path: django(
        "django.core.cache.backends.memcached.PyMemcacheCache", addresses(path)
    ),
    "python-memcached": lambda path: multi("memcache", path),
    "pylibmc, ketama": lambda path: multi(
        "pylibmc", path, behaviors={"ketama": True, "tcp_nodelay": True}
    ),
    "libmc": lambda path: multi("libmc", path),
    "emcache": emcache,
    "ketama.clients.pymemcache": lambda path: ours("pymemcache", path),
    "ketama.clients.memcache": lambda path: ours("memcache", path, "get_multi", "set_multi"),
    "ketama.clients.django": lambda path: django(
        "ketama.clients.django.KetamaCache", str(path)
    ),
}


def addresses(path: Path) -> list[str]:
    """Return the addresses in a server file."""
    return [server.address for server in ketama.Continuum(path).servers]


def median(operation: Operation, argument: Callable[[], Any], calls: int) -> float:
    """Return the median of the microseconds of calls."""
    times = []

    async def awaited(first: Awaitable[object], begin: float) -> None:
        await first
        times.append(time.perf_counter() - begin)
        for _ in range(calls - 1):
            value = argument()
            begin = time.perf_counter()
            await operation(value)  # type: ignore[misc]
            times.append(time.perf_counter() - begin)

    for _ in range(calls):
        value = argument()
        begin = time.perf_counter()
        result = operation(value)
        if asyncio.iscoroutine(result):
            LOOP.run_until_complete(awaited(result, begin))
            break
        times.append(time.perf_counter() - begin)
    return 1e6 * statistics.median(times)


def exists(name: str, path: Path) -> bool:
    """Say whether a client can be made; those of ours that do not exist are passed over."""
    try:
        close(CLIENTS[name](path))
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("ketama.clients"):
            raise
        print(f"{name}: does not exist", file=sys.stderr)
        return False
    return True


def close(operations: Operations) -> None:
    """Close a client whose event loop stops now."""
    if "close" in operations:
        median(operations["close"], lambda: None, 1)


def measure(figures: Figures, servers: int, round_trip: float, path: Path) -> None:
    """Measure all clients, in turn."""
    arguments = {"get": itertools.cycle(KEYS).__next__, "get_many": lambda: KEYS}
    names = [name for name in CLIENTS if exists(name, path)]
    for name in names * ROUNDS:
        operations = CLIENTS[name](path)
        for what in reversed(CALLS):  # connects
            median(operations[what], arguments.get(what, lambda: None), 3)
        for what, calls in CALLS.items():
            argument = arguments.get(what, lambda: None)
            figure = median(operations[what], argument, calls)
            where = name, what, servers, round_trip
            figures[where] = min(figure, figures.get(where, figure))
        close(operations)


def lookups() -> None:
    """Measure lookups with none and with one of 20 servers excluded."""
    listed = [f"10.0.0.{number}:11211" for number in range(20)]
    continuum = ketama.Continuum(listed)
    none, one = None, frozenset(listed[:1])
    calls: dict[str, Callable[[frozenset[str] | None], object]] = {
        "lookup": lambda down: [continuum.lookup(key, exclude=down) for key in KEYS],
        "group_by_server": lambda down: continuum.group_by_server(KEYS, exclude=down),
    }
    best: dict[tuple[str, frozenset[str] | None], float] = {}
    for _ in range(200):
        for (name, call), down in itertools.product(calls.items(), (none, one)):
            begin = time.perf_counter()
            call(down)
            took = 1e9 * (time.perf_counter() - begin) / len(KEYS)
            best[name, down] = min(took, best.get((name, down), took))
    rows = ((name, f"{best[name, none]:.0f}", f"{best[name, one]:.0f}") for name in calls)
    results.save("excluding", "call\tnone\tone", rows)


def overhead(path: Path) -> None:
    """Measure a get by pymemcache's client of one server, and by ours of that server.

    The clients take turns at every call: what else runs here slows both down.
    """
    key = KEYS[0]
    host, port = parse(ketama.Continuum(path)[key])
    single = functools.partial(importlib.import_module("pymemcache").Client, (host, int(port)))
    limits = {"connect_timeout": 0.5, "timeout": 1.0}
    fleet = importlib.import_module("ketama.clients.pymemcache").HashClient
    without = dict.fromkeys(limits)
    clients = [
        single(no_delay=True),
        fleet(path, **without),
        single(no_delay=True, **limits),
        fleet(path, **limits),
    ]
    clients[-1].set(key, VALUE)
    times: list[list[float]] = [[] for _ in clients]
    for client, measured in [*zip(clients, times, strict=True)] * 10_000:
        client.get(key)
        begin = time.perf_counter()
        client.get(key)
        measured.append(time.perf_counter() - begin)
    for client in clients:
        client.close()
    names = ("pymemcache's client of one server", "`ketama.clients.pymemcache`")
    rows = (
        (name + suffix, f"{1e6 * statistics.median(each):.1f}")
        for (suffix, name), each in zip(
            itertools.product(("", ", with time-outs"), names), times, strict=True
        )
    )
    results.save("single", "client\tmicroseconds", rows)


def label(servers: int, round_trip: float) -> str:
    """Return what a column is called."""
    return f"{servers} servers" + (f", {1e3 * round_trip:g} ms" if round_trip else "")


def main(mode: str = "") -> None:
    """Measure, and write the results."""
    if mode == "lookups":
        lookups()
        return
    lookups()
    figures: Figures = {}
    for servers, round_trip in NETWORKS:
        print(label(servers, round_trip), file=sys.stderr, flush=True)
        with network() as number, tempfile.TemporaryDirectory() as folder:
            fleet = Fleet(number, Path(folder) / "ketama.servers")
            try:
                fleet.start(servers)
                fleet.write()
                if not figures:
                    overhead(fleet.path)
                if round_trip:
                    fleet.write(dict.fromkeys(fleet.forward(round_trip).addresses, 100))
                measure(figures, servers, round_trip, fleet.path)
            finally:
                fleet.close()
    rows = ((*map(str, where), f"{figure:.1f}") for where, figure in figures.items())
    results.save("clients", "client\tcall\tservers\tround trip in s\tmicroseconds", rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
