"""Cache::Memcached::Fast, in Perl, with servers that say which one they are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from needs import lacking, need
from network import network

from peers.loopback import addresses_in, saying_servers
from peers.programs import PROGRAMS, check
from peers.questions import Form, some_lists

pytestmark = pytest.mark.xdist_group("peers network")


@pytest.mark.parametrize("points", [160, 150])
def test_cache_memcached_fast(points: int, tmp_path: Path) -> None:
    """Lists with host names, sockets and weights, for each number of points."""
    perl = need("perl")
    loads = subprocess.run([perl, "-MCache::Memcached::Fast", "-e1"], capture_output=True)
    if loads.returncode != 0:
        lacking("Cache::Memcached::Fast is not installed")
    with network() as number:
        ip, name, _, unix_socket = addresses_in(number, v6="", sockets=str(tmp_path))
        form = Form([ip, name, unix_socket], "small")
        with saying_servers(
            address for servers in some_lists(form) for address, _, _ in servers
        ):
            command: list[str | Path] = [perl, PROGRAMS / "memcached_fast.pl", str(points)]
            check(command, form, "nginx", points=points)
