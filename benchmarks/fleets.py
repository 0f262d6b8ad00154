"""The fleets, keys and peer libraries that all benchmarks share."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from array import array
from itertools import accumulate
from pathlib import Path
from typing import Any

import ketama

FLEETS = (8, 100, 1_000, 10_000)
LENGTHS = (8, 16, 20, 32, 55, 64, 120, 250)
MIX = (8, 14, 18, 20, 22, 24, 26, 28, 30, 32, 36, 40, 44, 52, 70, 120)
MIXED = 0
PEERS = Path(sys.prefix) / "peers"


def addresses(servers: int) -> list[str]:
    """Return the addresses of a fleet, in which all servers have the same weight."""
    return [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:11211" for n in range(servers)]


def server_file(servers: int) -> str:
    """Write the fleet's server file, and return its path."""
    path = Path(tempfile.gettempdir()) / f"libketama-bench-{servers}.servers"
    text = "".join(f"{address} 100\n" for address in addresses(servers))
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return str(path)


def keys(length: int, count: int = 100) -> list[str]:
    """Return distinct keys of that many bytes, or of the mix of lengths."""
    lengths = [length or MIX[number * 7 % len(MIX)] for number in range(count)]
    return [f"{n * 2654435761 % 2**32:08x}".ljust(size, "x") for n, size in enumerate(lengths)]


def packed(length: int, count: int) -> ketama.Packed:
    """Return packed keys."""
    data = [key.encode() for key in keys(length, count)]
    offsets = array("I", accumulate(map(len, data), initial=0))
    return ketama.Packed(b"".join(data), offsets)


def pypi_ketama(servers: int) -> Any:
    """Return PyPI's ketama 0.1.1, which has the same import name, from its own directory."""
    (path,) = PEERS.glob("ketama.*.so")
    spec = importlib.util.spec_from_file_location("ketama", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Ketama(server_file(servers))


def peer(name: str) -> Any:
    """Return another peer library's module."""
    if str(PEERS) not in sys.path:
        sys.path.append(str(PEERS))
    return importlib.import_module(name)


def uhashring(servers: int) -> Any:
    """Return a ring of uhashring 2.5 in ketama mode."""
    return peer("uhashring").HashRing(nodes=addresses(servers), hash_fn="ketama")


def rendezvous(servers: int) -> Any:
    """Return pymemcache's rendezvous hash."""
    return peer("pymemcache.client.rendezvous").RendezvousHash(addresses(servers))


def libmc(servers: int) -> Any:
    """Return a client of libmc, used only for its hashing."""
    return peer("libmc").Client(addresses(servers))
