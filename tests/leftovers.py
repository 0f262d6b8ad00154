"""Processes that a test started and left running."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent exits, so that children() has them."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """Return the process ids of this process's children."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        parents = {
            pid: _stat(pid)[1] for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
        }
        return {pid for pid, parent in parents.items() if parent == str(os.getpid())}
    return set()  # as the system says without a search


def end_children(spared: set[int]) -> list[str]:
    """Kill and reap all other children, and theirs; return the commands that were running."""
    killed = []
    while left := children() - spared:
        for pid in left:
            if command := _command(pid):
                killed.append(command)
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
    return killed


def _stat(pid: int) -> list[str]:
    """Return a process's state, its parent, and so on; states of processes that end are "X"."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", "0"]


def _command(pid: int) -> str:
    """Return a process's command line; "" if it is ending, and so has no memory any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
