"""Tests that share what is slow to make run in one process, which makes it once."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.xdist_group("groups")


def test_the_group_is_seen(request: pytest.FixtureRequest) -> None:
    """With --dist=loadgroup, pytest-xdist finds a test's group at the end of its name."""
    grouping = request.config.getoption("loadgroup", default=False)
    assert request.node.nodeid.endswith("@groups") == grouping
