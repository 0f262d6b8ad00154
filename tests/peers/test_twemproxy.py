"""twemproxy, with servers behind it that say which one they are."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from model.profiles import NUTCRACKER
from needs import need
from network import network

from peers.loopback import addresses_in, ended, saying_servers, values
from peers.questions import Form, Listed, compare, some_keys, some_lists

pytestmark = pytest.mark.xdist_group("peers network")

STATISTICS = 22120  # the port; those of the pools follow
# The options of each pool; the first ones are the defaults.
POOLS: list[dict[str, Any]] = [
    {},
    *({"hash": hash_} for hash_ in NUTCRACKER),
    {"hash_tag": "{}"},
    {"hash_tag": "$$", "hash": "md5"},
    {"hash_tag": ":."},
]


def pool(listen: str, servers: Sequence[Listed], options: dict[str, Any]) -> str:
    """Return a pool of twemproxy's configuration; a profile's options have its names."""
    lines = [f"listen: {listen}", "distribution: ketama", "auto_eject_hosts: false"]
    lines += [f'{name}: "{value}"' for name, value in options.items()]
    lines += ["servers:"]
    for address, weight, name in servers:
        lines.append(f' - "{address}:{weight}{f" {name}" if name else ""}"')
    return "".join(f"\n  {line}" for line in lines)


@contextmanager
def twemproxy(configuration: str, host: str, folder: Path) -> Iterator[None]:
    """Run twemproxy with pools."""
    path = folder / "nutcracker.yml"
    path.write_text(configuration)
    nutcracker = need("nutcracker")
    checked = subprocess.run([nutcracker, "-t", "-c", path], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    statistics = ["-s", str(STATISTICS), "-a", host]
    with ended(subprocess.Popen([nutcracker, "-c", path, "-o", folder / "log", *statistics])):
        yield


def test_twemproxy(tmp_path: Path) -> None:
    """Each hash and tag, on lists with names, sockets, IPv6 and host names.

    An IPv6 address is written without brackets, which twemproxy does not resolve.
    """
    with network() as number:
        form = Form(addresses_in(number, v6="::1", sockets=str(tmp_path)), named=True)
        lists = some_lists(form)
        pools = [lists[at % len(lists)] for at in range(len(POOLS))]
        host = f"127.{number}.0.2"
        listens = [(host, STATISTICS + 1 + at) for at in range(len(POOLS))]
        configuration = "\n".join(
            f"pool{at}:" + pool("{}:{}".format(*listens[at]), pools[at], options)
            for at, options in enumerate(POOLS)
        )
        with (
            saying_servers(address for servers in lists for address, _, _ in servers),
            twemproxy(configuration, host, tmp_path),
        ):
            for at, options in enumerate(POOLS):
                keys = some_keys(at % len(lists), pools[at])
                found = values(listens[at], keys)
                compare(pools[at], keys, found, "twemproxy", **options)
