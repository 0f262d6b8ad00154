"""A gateway: has the connections of users. Arguments: URL FILE CHECK NUMBER GATEWAYS USERS."""

from __future__ import annotations

import asyncio
import sys
from array import array
from pathlib import Path

from comet.machine import TICK, answer, follow
from comet.protocol import ACK, CONNECT, MESSAGE, Pairs, frame
from comet.sender import Sender


class Gateway:
    """Every so-many-th user: stands for the devices, so it has what these remember."""

    def __init__(self, url: str, path: str, check: str, *numbers: str) -> None:
        number, gateways, users = map(int, numbers)
        self.last = array("I", bytes(4 * users))  # the last message that each user has received
        self.received = self.repeated = self.out_of_order = 0
        continuum = follow(url, Path(path), float(check))
        self.sender = Sender(continuum, number, CONNECT, self.on_frame)
        self.sender.waiting = dict.fromkeys(range(number - 1, users, gateways), 0)

    async def run(self) -> None:
        """Keep all users connected, until stdin ends."""
        answering = asyncio.create_task(answer(self.report))
        while not answering.done():
            await self.sender.flush()
            await asyncio.sleep(TICK)

    def on_frame(self, node: str, kind: int, pairs: Pairs) -> None:
        """Deliver messages to users, and acknowledge them."""
        if kind != MESSAGE:
            return
        for user, number in pairs.items():
            last = self.last[user]
            if number <= last:  # the acknowledgement was lost
                self.repeated += 1
                continue
            self.received += 1
            self.out_of_order += number != last + 1
            self.last[user] = number
        self.sender.nodes[node].write(frame(ACK, pairs))

    def report(self, _: str) -> dict[str, object]:
        """Return what users have received."""
        return {name: getattr(self, name) for name in ("received", "repeated", "out_of_order")}


if __name__ == "__main__":
    asyncio.run(Gateway(*sys.argv[1:]).run())
