"""Forks in a process that has threads."""

from __future__ import annotations

import pytest

# CPython 3.12 and newer warn of them; from 3.15 on, the warning is raised where it is an error.
# Under pytest-xdist, each test has a thread beside it, which waits for messages. The children
# of these tests wait for no lock that a thread may have held.
forks_beside_threads = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)
