"""What all test files share: images of their own, processes that end, and server files."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import forks
import leftovers
import pytest
from hypothesis import HealthCheck, settings
from needs import lacking, need_root

# One profile for everybody: no example has a deadline, for the machine may be busy. CI draws
# the same examples each time.
settings.register_profile(
    "ketama",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
settings.load_profile("ketama")
# Tables are as wide as this; pytest-xdist sets it.
os.environ.pop("COLUMNS", None)


def images_folder() -> Iterator[Path]:
    """Have images published in a new folder, by this process and by those that it starts."""
    before = os.environ.get("KETAMA_SHM_DIR")
    base = Path(tempfile.mkdtemp(prefix="ketama-tests-", dir="/dev/shm"))
    os.environ["KETAMA_SHM_DIR"] = str(base)
    yield base
    if before is None:
        del os.environ["KETAMA_SHM_DIR"]
    else:
        os.environ["KETAMA_SHM_DIR"] = before
    shutil.rmtree(base)


# The outer one is for fixtures that several tests share.
shared_shm_dir = pytest.fixture(images_folder, scope="session", autouse=True)
shm_dir = pytest.fixture(images_folder, autouse=True)


@pytest.fixture(scope="session", autouse=True)
def _adopt_orphans() -> None:
    leftovers.adopt_orphans()


@pytest.fixture(scope="session", autouse=True)
def _forks_the_command() -> Iterator[None]:
    """Start what command.run has its processes from."""
    from command import measured

    process = forks.start(measured())
    yield
    forks.stop(process)


@pytest.fixture(autouse=True)
def _no_process_is_left(shm_dir: Path) -> Iterator[None]:
    """Kill what the test started and left running, and fail because of it."""
    before = leftovers.children()
    yield
    killed = leftovers.end_children(spared=before)
    assert killed == [], "the test left these processes running"


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
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(base)]
    if subprocess.run(mount, check=False).returncode != 0:
        lacking("file systems can't be mounted here")
    yield base
    subprocess.run(["umount", "-l", base], check=True)
