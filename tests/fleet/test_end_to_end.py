"""From an operator's command to the workers of web servers, in Python and in PHP.

Each machine is a network namespace, with a folder for images of its own.
"""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from clients import web
from clients.memcached import Fleet
from command import ROOT, text
from needs import lacking, need, need_module
from waiting import wait_for

import ketama
from fleet.etcd import Cluster, Member, free_ports
from fleet.machines import Machine
from fleet.networks import HERE, address, namespaces

pytestmark = pytest.mark.stress

KEYS, MACHINES, WORKERS, SERVERS = 2000, 3, 2, 5
VIEWS = f"""
def fill(request):
    cache.set_many({{f"key{{i}}": i for i in range({KEYS})}}, timeout=None)
    return answer({{}}, {{}})

def read(request, name):
    found = cache.get_many([f"key{{i}}" for i in range({KEYS})])
    return answer({{f"key{{i}}": i for i in range({KEYS})}}, found)

urlpatterns = [
    path("fill/<name>", lambda request, name: fill(request)),
    path("read/<name>", read),
"""


class Place(Fleet):
    """Where a site runs: in a machine's network, at its one address."""

    def __init__(self, number: int, machine: Machine) -> None:
        super().__init__(number, machine.file)
        self.prefix = machine.prefix
        self._host = address(number)

    def address(self, host: str | None = None) -> str:
        """Return where the site listens."""
        return f"{self._host}:8000"


class Php:
    """A worker in PHP, which reads its machine's server file itself."""

    def __init__(self, machine: Machine) -> None:
        program = ROOT / "tests" / "programs" / "cache.php"
        self._process = subprocess.Popen(
            [*machine.prefix, need("php"), program, machine.file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._lock = threading.Lock()

    def ask(self, what: str = "read") -> int:
        """Return how many keys it finds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(f"{what} {KEYS}\n")
            line = self._process.stdout.readline()
        assert line.rstrip().isdigit(), line
        return int(line)

    def close(self) -> None:
        """End it."""
        self._process.communicate()
        assert self._process.returncode == 0


class Load(threading.Thread):
    """Asks something all the time, and counts; ends by itself at the first failure."""

    def __init__(self, ask: Callable[[], object]) -> None:
        super().__init__()
        self._ended = threading.Event()
        self.asked = 0
        self.failed: list[Exception] = []
        self._ask = ask

    def end(self) -> None:
        """Stop asking."""
        self._ended.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        """Ask until the end."""
        while not self._ended.is_set() and not self.failed:
            try:
                self._ask()
            except (AssertionError, OSError) as error:
                self.failed.append(error)
            self.asked += 1


class Hits:
    """What one worker finds: first all keys, then, for good, all but those that have moved."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.switched = False

    def note(self, found: int) -> None:
        """Check what it has found."""
        if found == self.expected:
            self.switched = True
        else:
            assert (found, self.switched) == (KEYS, False)


@contextmanager
def engine(folder: Path) -> Iterator[Cluster]:
    """Start an etcd of three members that the machines reach."""
    folder.mkdir()
    cluster = Cluster(folder, 3)
    cluster.members = [
        Member(member.name, folder, free_ports(2), HERE) for member in cluster.members
    ]
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@contextmanager
def machines_in(networks: list[str], folder: Path, url: str) -> Iterator[list[Machine]]:
    """Have a follower in each network."""
    machines = [Machine(folder, url, f"web{i}") for i in range(len(networks))]
    try:
        for machine, name in zip(machines, networks, strict=True):
            images = machine.folder / "images"
            images.mkdir(mode=0o700)
            machine.prefix = ("ip", "netns", "exec", name, "env", f"KETAMA_SHM_DIR={images}")
            machine.start()
        yield machines
    finally:
        for machine in machines:
            machine.kill()


def workers_of(site: web.Site, chance: random.Random) -> set[int]:
    """Return the processes that serve a site, each of which finds all keys."""
    seen: set[int] = set()
    while len(seen) < WORKERS:
        pid, found = site.ask(chance, "read")
        assert found == KEYS
        seen.add(pid)
    return seen


def need_php() -> None:
    """Have PHP with its memcached extension."""
    modules = subprocess.run([need("php"), "-m"], capture_output=True, text=True).stdout
    if "memcached" not in modules.splitlines():
        lacking("php has no memcached extension")


def test_an_added_server_is_used_by_every_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("django", "gunicorn"):
        need_module(module)
    need_php()
    monkeypatch.setattr(web, "SITE", web.SITE.replace("urlpatterns = [\n", VIEWS))
    chance = random.Random(1)
    with ExitStack() as stack:
        networks = stack.enter_context(namespaces(MACHINES))
        url = stack.enter_context(engine(tmp_path / "etcd")).url()
        pool = stack.enter_context(closing(Fleet(1, tmp_path / "unused")))
        *first, added = (server.address for server in pool.start(SERVERS + 1, HERE))
        listed = tmp_path / "listed"
        listed.write_text("#ketama profile=libmemcached\n")
        with listed.open("a") as file:
            file.writelines(f"{server} 100\n" for server in first)
        text("push", listed, url)
        before = ketama.Continuum(listed, shared=False)
        machines = stack.enter_context(machines_in(networks, tmp_path, url))
        wait_for(lambda: all(machine.text for machine in machines))
        sites, workers_in_php = [], []
        for i, machine in enumerate(machines):
            place = stack.enter_context(closing(Place(i, machine)))
            options = (*web.GUNICORN, f"--workers={WORKERS}", "--threads=4")
            sites.append(stack.enter_context(web.run(place, machine.folder, *options)))
            workers_in_php.append(stack.enter_context(closing(Php(machine))))
        sites[0].ask(chance, "fill")
        assert workers_in_php[0].ask("fill") == KEYS
        workers = [workers_of(site, chance) for site in sites]

        after = ketama.Continuum(listed, shared=False)
        with ketama.edit(listed) as editing:
            editing.add(added, 100)
        after.roll()

        def moves(prefix: str) -> int:
            keys = [f"{prefix}{i}" for i in range(KEYS)]
            return sum(before.lookup(key) != after.lookup(key) for key in keys)

        moved, moved_in_php = moves(":1:key"), moves("php")
        assert 0 < moved < KEYS / 2
        assert 0 < moved_in_php < KEYS / 2

        seen = [{pid: Hits(KEYS - moved) for pid in pids} for pids in workers]
        seen_in_php = [Hits(KEYS - moved_in_php) for _ in machines]

        def read(number: int) -> None:
            # One request at a time, because two answers may come in another order.
            pid, found = sites[number].ask(chance, "read")
            assert pid in seen[number]  # no worker was restarted
            seen[number][pid].note(found)

        def read_in_php(number: int) -> None:
            seen_in_php[number].note(workers_in_php[number].ask())

        def write(number: int) -> None:
            # What has just been stored is there, unless its server changes between: then it
            # is a miss, and no error.
            sites[number].ask(chance)

        loads = [
            Load(partial(act, number))
            for act in (read, read_in_php, write)
            for number in range(MACHINES)
        ]
        for load in loads:
            stack.callback(load.end)
            load.start()
        every = [*(hits for site in seen for hits in site.values()), *seen_in_php]

        def all_or_failed(condition: Callable[[], bool]) -> None:
            wait_for(lambda: condition() or any(load.failed for load in loads))
            assert [load.failed for load in loads] == [[]] * len(loads)

        all_or_failed(lambda: all(load.asked > 5 for load in loads))
        assert not any(hits.switched for hits in every)
        text("add", url, added, "100")
        all_or_failed(lambda: all(hits.switched for hits in every))
        asked = [load.asked for load in loads]
        all_or_failed(
            lambda: all(load.asked > old + 5 for load, old in zip(loads, asked, strict=True))
        )
        for load in loads:
            load.end()
        assert [load.failed for load in loads] == [[]] * len(loads)
        assert all(machine.end() == 0 for machine in machines)
        print(
            f"{sum(load.asked for load in loads)} requests, 0 failed; of {KEYS} keys, "
            f"{moved} moved in Django, {moved_in_php} in PHP"
        )
