"""memcached servers for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import need
from network import network

from clients.memcached import Fleet


@pytest.fixture(scope="session")
def own_network() -> Iterator[int]:
    """The number of a network that no other process's tests use."""
    with network() as number:
        yield number


@pytest.fixture
def fleet(own_network: int, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet that has no server yet, and no server file."""
    need("memcached")
    made = Fleet(own_network, tmp_path / "ketama.servers")
    yield made
    made.close()


@pytest.fixture
def four(fleet: Fleet) -> Fleet:
    """Four servers, in the server file with weights 100, 200, 300 and 400."""
    fleet.start(4)
    fleet.write({s.address: 100 * n for n, s in enumerate(fleet.servers, 1)})
    return fleet
