"""The publisher: sends messages to users. Arguments: URL FILE CHECK USERS RATE [ignore]."""

from __future__ import annotations

import asyncio
import random
import sys
from array import array
from pathlib import Path

from comet.machine import TICK, answer, follow
from comet.protocol import MESSAGE, PUBLISHER, Pairs
from comet.sender import Sender

BURST = 3  # messages to one user in a row, at most
WINDOW = 50_000  # messages that nodes have at a time, at most


class Publisher(Sender):
    """Numbers each user's messages from 1, and sends one once the one before is done with."""

    def __init__(self, url: str, path: str, check: str, *options: str) -> None:
        continuum = follow(url, Path(path), float(check))
        super().__init__(continuum, PUBLISHER, MESSAGE, self.acknowledged)
        users, rate, *ignore = options
        self.bursts = int(2 / (BURST + 1) * int(rate) * TICK)
        self.last = array("I", bytes(4 * int(users)))  # the last message to each user
        self.done = array("I", self.last)  # the last one that is done with
        self.ignore = bool(ignore)
        self.publishing = False
        self.counts = {"published": 0, "acknowledged": 0, "dropped": 0}

    async def run(self) -> None:
        """Publish while told to, until stdin ends."""
        answering = asyncio.create_task(answer(self.report))
        while not answering.done():
            if self.publishing and sum(map(len, self.sent.values())) < WINDOW:
                self.publish()
            await self.flush()
            await asyncio.sleep(TICK)

    def publish(self) -> None:
        """Have some messages for some users."""
        for _ in range(self.bursts):
            user, count = random.randrange(len(self.last)), random.randint(1, BURST)
            if self.last[user] == self.done[user]:
                self.waiting[user] = self.last[user] + 1
            self.last[user] += count
            self.counts["published"] += count

    def acknowledged(self, node: str, _: int, pairs: Pairs) -> None:
        """Note that users have received a message."""
        self.counts["acknowledged"] += len(pairs)
        self.go_on(node, pairs)

    def not_owner(self, node: str, pairs: Pairs) -> None:
        """Roll and send again; or, to show what is lost then, do neither."""
        if not self.ignore:
            return super().not_owner(node, pairs)
        self.counts["dropped"] += len(pairs)
        return self.go_on(node, pairs)

    def go_on(self, node: str, pairs: Pairs) -> None:
        """Send the next messages to users."""
        for user, number in pairs.items():
            del self.sent[node][user]
            self.done[user] = number
            if number < self.last[user]:
                self.waiting[user] = number + 1

    def report(self, order: str) -> dict[str, object]:
        """Go on publishing, or stop, and return how many messages there are."""
        self.publishing = order != "stop"
        left = self.counts["published"] - self.counts["acknowledged"] - self.counts["dropped"]
        return {**self.counts, "resent": self.resent, "open": left}


if __name__ == "__main__":
    asyncio.run(Publisher(*sys.argv[1:]).run())
