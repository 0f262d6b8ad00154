"""Server files on a file system that hangs, and system calls that signals interrupt."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import images
import pytest
from fuse import mounted
from waiting import wait_for

A = "a:1 100\n"


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    path = tmp_path / "backing"
    path.write_text(A)
    return path


# Eight threads look up until forty intervals are over, and say so.
FOLLOWERS = r"""
import os, sys, threading, time, ketama
continuum = ketama.Continuum(sys.argv[1], auto_roll=0.05)
def look():
    for _ in range(int(sys.argv[2])):
        assert continuum.lookup("key") in ("a:1", "b:1")
        time.sleep(0.05)
    os.write(1, b"done\n")
threads = [threading.Thread(target=look) for _ in range(8)]
os.write(1, b"ready\n")
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
while continuum.lookup("key") != "b:1":
    time.sleep(0.01)
os.write(1, b"b:1\n")
"""


def test_a_file_system_that_hangs(tmp_path: Path, backing: Path) -> None:
    """It costs the process one thread, not one per interval; all go on when it is back."""
    log = tmp_path / "log"
    with mounted(tmp_path / "mount", backing) as (folder, server), log.open("w") as out:
        followers = subprocess.Popen(
            [sys.executable, "-c", FOLLOWERS, folder / "servers", "40"],
            stdin=subprocess.PIPE,
            stdout=out,
        )
        wait_for(lambda: log.read_text() == "ready\n")
        server.send_signal(signal.SIGSTOP)
        try:
            assert followers.stdin is not None
            followers.stdin.write(b"go\n")
            followers.stdin.flush()
            wait_for(lambda: log.read_text() == "ready\n" + 7 * "done\n")
        finally:
            backing.write_text("b:1 100\n")
            server.send_signal(signal.SIGCONT)
        followers.communicate()
    assert log.read_text() == "ready\n" + 8 * "done\n" + "b:1\n"


# A signal every 100 us, whose handler returns: each system call that waits fails with EINTR.
STORM = """
import signal, sys, ketama
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
try:
    print(ketama.Continuum(sys.argv[1], shared=sys.argv[2] == "shared").lookup("key"))
except ketama.KetamaOSError as error:
    print(error)
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def in_a_storm(path: Path, shared: str) -> str:
    command = [sys.executable, "-c", STORM, str(path), shared]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("shared", ["shared", "private"])
def test_an_open_that_is_always_interrupted(shared: str, tmp_path: Path, backing: Path) -> None:
    """An open(2) that fails with EINTR is repeated, but not for ever."""
    with mounted(tmp_path / "mount", backing) as (folder, _):
        path = folder / "interrupted"
        assert in_a_storm(path, shared) == f"[Errno 4] Interrupted system call: '{path}'\n"
        assert in_a_storm(folder / "servers", shared) == "a:1\n"


def test_a_storm_of_signals(backing: Path) -> None:
    """A process opens, shares and rolls a file of many servers under a storm of signals."""
    backing.write_text("".join(f"a{i}:1 1\n" for i in range(3000)))
    assert in_a_storm(backing, "shared").startswith("a")
    assert images.generation(backing) == 1
