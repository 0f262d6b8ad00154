"""What several test files use."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """The server file of two servers that docs/algorithm.md has as its example."""
    path = tmp_path / "ketama.servers"
    path.write_text("127.0.0.1:11211 600\n127.0.0.1:11212 400\n")
    return path
