"""The npm packages hashring and memcached."""

from __future__ import annotations

from pathlib import Path

import pytest
from needs import lacking, need

from peers.programs import PROGRAMS, check
from peers.questions import Form, host_name, ipv4, ipv6

pytestmark = pytest.mark.xdist_group("peers")

# Where make installs what package.json names.
PACKAGES = Path(__file__).resolve().parents[2] / ".venv" / "npm"


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> list[str | Path]:
    """Return the command of the program that asks them."""
    modules = PACKAGES / "node_modules"
    if not modules.exists():
        lacking("the packages of npm are not installed: run make .venv/asked")
    monkeypatch.setenv("NODE_PATH", str(modules))
    return [need("node"), PROGRAMS / "hashring.js"]


FORM = Form([ipv4, ipv6, host_name])


def test_hashring(node: list[str | Path]) -> None:
    """The package hashring, which hashes the address as written."""
    check([*node, "hashring"], FORM, "node-hashring")


@pytest.mark.parametrize("port", [11211, 8080])
def test_default_port(node: list[str | Path], port: int) -> None:
    """The package hashring, with its option 'default port'."""
    check([*node, "hashring", str(port)], FORM, "node-hashring", default_port=port)


def test_memcached(node: list[str | Path]) -> None:
    """The package memcached, which leaves out port 11211."""
    check([*node, "memcached"], FORM, "node-hashring", default_port=11211)
