"""Loopback addresses that no other test uses, even while nothing listens on them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

GUARD = 11210


@contextlib.contextmanager
def network() -> Iterator[int]:
    """Hold the first of the networks 127.N.0.0/16 that no other test holds; yield N.

    Of ::1, which is one host, it has the 100 ports from 7000 + 100 N on, which are below those
    of outgoing connections.
    """
    with socket.socket() as guard:
        for number in range(1, 250):
            with contextlib.suppress(OSError):
                guard.bind((f"127.{number}.0.1", GUARD))
                break
        else:
            raise AssertionError("every network is taken")
        yield number
