"""A site of Django's, and the web servers that run it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from waiting import PATIENCE, wait_for

from clients.memcached import Fleet, accepts

# Each request stores values and reads them. It answers with the process that served it, and
# how many of its values are there; it fails if one is wrong.
SITE = """
import json, os
import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    CACHES={
        "default": {
            "BACKEND": "ketama.clients.django.KetamaCache",
            "LOCATION": os.environ["SERVERS"],
            "OPTIONS": json.loads(os.environ["OPTIONS"]),
        }
    },
    ROOT_URLCONF="site_of_django",
    SECRET_KEY="secret",
)
django.setup()

from django.core.asgi import get_asgi_application
from django.core.cache import cache
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

def values_of(name):
    return {f"{name}:{number}": f"{name}={number}" for number in range(20)}

def answer(expected, found):
    assert all(found[key] == expected[key] for key in found), (expected, found)
    return HttpResponse(f"{os.getpid()} {len(found)}")

def store_and_read(request, name):
    values = values_of(name)
    one = next(iter(values))
    cache.set_many(values)
    assert cache.get(one, values[one]) == values[one]
    return answer(values, cache.get_many(values))

async def store_and_read_async(request, name):
    values = values_of(name)
    one = next(iter(values))
    await cache.aset_many(values)
    assert await cache.aget(one, values[one]) == values[one]
    return answer(values, await cache.aget_many(values))

urlpatterns = [
    path("sync/<name>", store_and_read),
    path("async/<name>", store_and_read_async),
]

# At import, so that an open client is forked by a server that loads this before.
cache.set_many(values_of("import"))
cache.get_many(values_of("import"))
wsgi = get_wsgi_application()
asgi = get_asgi_application()
"""
VALUES = 20
GUNICORN = ("gunicorn", "site_of_django:wsgi", "--worker-class", "gthread")
UVICORN = ("uvicorn", "site_of_django:asgi")


class Site:
    """A running site."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, chance: random.Random, view: str = "sync") -> tuple[int, int]:
        """Return the process that served a request, and how many of 20 values it found."""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", f"/{view}/{chance.getrandbits(60)}")
            with connection.getresponse() as response:
                text = response.read().decode(errors="replace")
        assert response.status == 200, text
        pid, found = text.split()
        return int(pid), int(found)

    def finds_all(self, chance: random.Random, view: str = "sync") -> int:
        """Expect a request to find all its values; return the process that served it."""
        pid, found = self.ask(chance, view)
        assert found == VALUES
        return pid


@contextlib.contextmanager
def run(fleet: Fleet, folder: Path, *command: str, **options: Any) -> Iterator[Site]:
    """Run the site on the fleet by a web server's command, with OPTIONS of the cache."""
    (folder / "site_of_django.py").write_text(SITE)
    site = Site(fleet.address())
    host, _, port = site.address.partition(":")
    where = (
        ["--bind", site.address] if "gunicorn" in command else ["--host", host, "--port", port]
    )
    process = subprocess.Popen(
        [*fleet.prefix, sys.executable, "-m", *command, "--log-level", "warning", *where],
        cwd=folder,
        env={**os.environ, "SERVERS": str(fleet.path), "OPTIONS": json.dumps(options)},
    )
    try:
        wait_for(lambda: process.poll() is not None or accepts(site.address))
        assert process.poll() is None, f"{command[0]} has exited with {process.returncode}"
        yield site
    finally:
        process.terminate()
        # uvicorn ends by the signal that it was sent.
        assert process.wait(PATIENCE) in (0, -signal.SIGTERM)
