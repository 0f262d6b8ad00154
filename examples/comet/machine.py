"""What each process has, as if it were a machine of its own: the fleet's list, and a report."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from ketama import Continuum
from ketama.fleet import Follower, Store

TICK = 0.02  # seconds


def follow(url: str, path: Path, check: float) -> Continuum:
    """Keep a server file that was pulled the fleet's list; return its continuum.

    check: the time in seconds after which lookups check the file again.
    """
    follower = Follower(Store(url), path, machine=path.stem)
    Thread(target=follower.run, daemon=True).start()
    # Not shared: else it would switch as soon as the follower does, and machines would hardly
    # ever disagree.
    return Continuum(path, shared=False, auto_roll=check)


async def answer(report: Callable[[str], dict[str, object]]) -> None:
    """Answer each line of stdin with a report, until stdin ends."""
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        print(json.dumps(report(line.decode().strip())), flush=True)
