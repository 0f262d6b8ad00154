"""Waiting for conditions: no test depends on how fast the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# Seconds after which something hangs: nothing takes so long, however busy the machine is.
PATIENCE = 300

# The library rereads a file that changed less than this long ago, as its next change might
# get the same time stamp.
RACY_NS = 2 * 10**9


def wait_for(condition: Callable[[], T]) -> T:
    """Return what the condition returns, once that is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.001)
    return value


def wait_until_reliable(path: Path) -> None:
    """Wait until the library relies on the file's time stamp."""
    wait_for(lambda: time.time_ns() > path.stat().st_ctime_ns + RACY_NS + 10**8)
