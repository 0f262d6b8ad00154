"""From an operator's command to the workers of web servers."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from clients import web
from clients.memcached import Fleet
from command import text
from needs import need_module
from network import network
from waiting import wait_for

import ketama
from fleet.machines import following

pytestmark = pytest.mark.stress

KEYS, MACHINES, WORKERS = 2000, 3, 2
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


@contextmanager
def new_fleet(path: Path) -> Iterator[Fleet]:
    """Have addresses, and servers, in a network that nobody else uses."""
    with network() as number, closing(Fleet(number, path)) as made:
        yield made


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Fleet]:
    """Six memcached servers."""
    with new_fleet(tmp_path / "unused") as made:
        made.start(6)
        yield made


def workers_of(site: web.Site, chance: random.Random) -> set[int]:
    """Return the processes that serve a site, each of which finds all keys."""
    seen: set[int] = set()
    while len(seen) < WORKERS:
        pid, found = site.ask(chance, "read")
        assert found == KEYS
        seen.add(pid)
    return seen


def test_an_added_server_is_used_by_every_worker(
    url: str,
    pool: Fleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("django", "gunicorn"):
        need_module(module)
    monkeypatch.setattr(web, "SITE", web.SITE.replace("urlpatterns = [\n", VIEWS))
    *first, added = (server.address for server in pool.servers)
    listed = tmp_path / "listed"
    listed.write_text("".join(f"{address} 100\n" for address in first))
    text("push", listed, url)
    before = ketama.Continuum(listed, shared=False)
    names = [f"web{i}" for i in range(MACHINES)]
    chance = random.Random(1)
    with following(tmp_path, url, names) as machines, ExitStack() as stack:
        wait_for(lambda: all(machine.text for machine in machines))
        sites = []
        for machine in machines:
            site_of = stack.enter_context(new_fleet(machine.file))
            options = (*web.GUNICORN, f"--workers={WORKERS}", "--threads=4")
            sites.append(stack.enter_context(web.run(site_of, machine.folder, *options)))
        sites[0].ask(chance, "fill")
        workers = [workers_of(site, chance) for site in sites]
        ended, served = threading.Event(), [0]
        failed: list[AssertionError] = []

        def load(site: web.Site, seed: int) -> None:
            mine = random.Random(seed)
            while not ended.is_set():
                try:
                    # A value that has just been stored is there, whatever happens meanwhile,
                    # unless its server changes between; then it is a miss, and no error.
                    site.ask(mine)
                except AssertionError as error:
                    failed.append(error)
                served[0] += 1

        threads = [
            threading.Thread(target=load, args=(site, number))
            for number, site in enumerate(sites)
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: served[0] > 20)
        text("add", url, added, "100")
        wait_for(lambda: all(added.encode() in machine.text for machine in machines))
        after = ketama.Continuum(machines[0].file, shared=False)
        keys = [f":1:key{i}" for i in range(KEYS)]
        moved = sum(before.lookup(key) != after.lookup(key) for key in keys)
        assert 0 < moved < KEYS / 2
        for site, pids in zip(sites, workers, strict=True):
            switched: set[int] = set()

            def all_switched() -> bool:
                pid, found = site.ask(chance, "read")  # noqa: B023
                # Either all that it had, or all but what has moved: never anything between.
                assert found in (KEYS, KEYS - moved)
                if found == KEYS - moved:
                    switched.add(pid)  # noqa: B023
                return len(switched) == WORKERS  # noqa: B023

            wait_for(all_switched)
            assert switched == pids  # no worker was restarted
        ended.set()
        for thread in threads:
            thread.join()
        print(f"{served[0]} requests, {len(failed)} failed; {moved} of {KEYS} keys moved")
        assert failed == []
