"""What several test files use."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import need_root


@pytest.fixture(scope="session", autouse=True)
def shm_dir() -> Iterator[Path]:
    """Keep the images of all tests, and of the processes they start, in a folder of theirs."""
    base = Path(tempfile.mkdtemp(prefix="ketama-tests-", dir="/dev/shm"))
    os.environ["KETAMA_SHM_DIR"] = str(base)
    yield base
    shutil.rmtree(base)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """The server file of two servers that docs/algorithm.md has as its example."""
    path = tmp_path / "ketama.servers"
    path.write_text("127.0.0.1:11211 600\n127.0.0.1:11212 400\n")
    return path


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A real tmpfs of 16 pages."""
    need_root()
    base = tmp_path / "tmpfs"
    base.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", base], check=True)
    yield base
    subprocess.run(["umount", "-l", base], check=True)
