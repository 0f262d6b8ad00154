"""ketama.clients.probe."""

from __future__ import annotations

import pytest

from clients.memcached import Fleet
from ketama.clients import probe


@pytest.mark.parametrize(
    ("up_for", "down_for", "expected"),
    [(0.0, 0.05, False), (0.0, 1.9, False), (0.0, 2.1, True), (100.0, 90.0, False)],
)
def test_was_restarted(up_for: float, down_for: float, expected: bool) -> None:
    """An uptime in whole seconds proves a restart only if it is shorter by more than that."""
    assert probe.was_restarted(up_for, down_for) is expected


def test_a_server_that_has_just_started(fleet: Fleet) -> None:
    """It says 0 or 1 second, though it has been up for more than the fraction it was down."""
    (server,) = fleet.start()
    assert not probe.was_restarted(probe.uptime(server.address, 60), 0.5)
