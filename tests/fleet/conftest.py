"""What the tests of fleets share: an engine, and a fleet of its own for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.etcd import Cluster, running
from ketama.fleet import Store

_numbers = itertools.count()


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An etcd of one member."""
    with running(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    """An etcd of three members, for one test alone."""
    with running(tmp_path / "etcd", 3) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith("KETAMA_ETCD_"):
            monkeypatch.delenv(name)


@pytest.fixture
def url(engine: Cluster) -> str:
    """The URL of a fleet that no other test uses."""
    return engine.url(f"d{next(_numbers)}")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """Its store."""
    opened = Store(url)
    yield opened
    opened.close()


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A server file that was never pushed."""
    path = tmp_path / "shop.servers"
    path.write_text("10.0.0.1:11211 600\n10.0.0.2:11211 600\n")
    return path
