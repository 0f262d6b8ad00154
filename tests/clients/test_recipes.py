"""The examples of the documentation that have tests of their own, on real servers."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import Any
from urllib.request import urlopen

import pytest
from needs import need_module
from waiting import wait_for

import ketama
from clients import test_page
from clients.checks import KEYS
from clients.memcached import Fleet
from clients.pages import EXAMPLES


def run(fleet: Fleet, title: str, number: int = 0) -> dict[str, Any]:
    """Run an example with the test's server file, and return its names."""
    names: dict[str, Any] = {"__name__": "example"}
    example = [example for example in EXAMPLES if example.title == title][number]
    exec(compile(example.code_for(fleet.path), str(example.page), "exec"), names)
    return names


def expect_at_home(fleet: Fleet, key: str) -> None:
    """Find a key on its server, and on no other."""
    home = ketama.Continuum(fleet.path)[key]
    assert [server.address for server in fleet.holders(key)] == [home], key


def test_all_examples_are_run() -> None:
    """Here, each by a test; those of the other sections by test_page.py."""
    titles = (example.title for example in EXAMPLES)
    assert Counter(title for title in titles if title not in test_page.SECTIONS) == {
        "In a web application": 1,
        "python-memcached": 1,
        "cachelib and Flask-Caching": 2,
        "dogpile.cache": 1,
        "meta-memcache": 2,
        "Celery": 1,
        "limits and Flask-Limiter": 1,
        "python-binary-memcached": 1,
    }


def test_a_web_application(four: Fleet) -> None:
    """Requests to a real web server store values where the ring has their keys."""
    need_module("fastapi")
    uvicorn = need_module("uvicorn")
    names = run(four, "In a web application")
    server = uvicorn.Server(uvicorn.Config(names["app"], port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        for answer in ("computed", "cached"):
            with urlopen(f"http://127.0.0.1:{port}/users/42") as page:
                assert json.load(page) == {"name": "Ada", "from": answer}
        expect_at_home(four, "user:42")
    finally:
        server.should_exit = True
        thread.join()


def test_python_memcached(four: Fleet) -> None:
    need_module("memcache")
    names = run(four, "python-memcached")
    expect_at_home(four, "user:42")
    names["client"].disconnect_all()


def test_cachelib(four: Fleet) -> None:
    """Each of its methods finds what another one stored."""
    need_module("cachelib")
    cache = run(four, "cachelib and Flask-Caching")["cache"]
    assert cache.set_many({key: key for key in KEYS}) == KEYS
    for key in ["user:42", *KEYS]:
        expect_at_home(four, key)
    assert cache.get_many(*KEYS) == KEYS
    assert cache.add("new", 1)
    assert cache.inc("new", 2) == 3
    assert cache.has("new")
    assert not cache.has("missing")
    assert cache.delete_many(*KEYS) == KEYS
    assert cache.get(KEYS[0]) is None
    four.servers[0].kill()
    assert cache.set_many({key: key for key in KEYS}) == KEYS
    for server in four.servers:
        server.kill()
    assert cache.set_many({key: key for key in KEYS}) == []
    assert cache.get(KEYS[0]) is None
    cache.clear()  # returns what it likes, but does not raise


def test_flask_caching(four: Fleet) -> None:
    need_module("flask_caching")
    names = run(four, "cachelib and Flask-Caching", 1)
    app, cache = names["app"], names["cache"]
    expect_at_home(four, "flask_cache_user:42")

    def page(name: str) -> str:
        seen.append(name)
        return name

    seen: list[str] = []
    app.route("/<name>")(cache.cached(timeout=60)(page))
    client = app.test_client()
    for key in KEYS[:50] * 2:
        assert client.get(f"/{key}").text == key
    assert seen == KEYS[:50]
    for key in KEYS[:50]:
        expect_at_home(four, f"flask_cache_view//{key}")
    app.config["CACHE_MEMCACHED_SERVERS"].disconnect_all()


def test_dogpile(four: Fleet) -> None:
    need_module("dogpile.cache")
    names = run(four, "dogpile.cache")
    expect_at_home(four, "user:42")
    names["region"].backend.client.close()


@pytest.mark.parametrize("number", [0, 1])
def test_meta_memcache(four: Fleet, number: int) -> None:
    need_module("meta_memcache")
    run(four, "meta-memcache", number)
    expect_at_home(four, "user:42")


def test_celery(four: Fleet) -> None:
    """Results are where the ring has their keys."""
    need_module("celery")
    app = run(four, "Celery")["app"]
    expect_at_home(four, "celery-task-meta-42")
    for key in KEYS:
        app.backend.store_result(key, key, "SUCCESS")
        expect_at_home(four, f"celery-task-meta-{key}")
        assert app.AsyncResult(key).get() == key
    app.backend.client.close()


def test_limits(four: Fleet) -> None:
    """Counters are where the ring has their keys."""
    need_module("limits")
    names = run(four, "limits and Flask-Limiter")
    limiter, item = names["limiter"], names["RateLimitItemPerHour"](2)
    for key in KEYS:
        assert [limiter.hit(item, key) for _ in range(3)] == [True, True, False]
        expect_at_home(four, item.key_for(key))
    names["client"].close()


def test_binary_memcached(four: Fleet) -> None:
    need_module("bmemcached")
    client = run(four, "python-binary-memcached")["client"]
    assert client.set_multi(dict.fromkeys(KEYS, "v")) == []
    for key in ["user:42", *KEYS]:
        expect_at_home(four, key)
    assert client.get_multi(KEYS) == dict.fromkeys(KEYS, "v")
    client.disconnect_all()
