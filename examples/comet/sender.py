"""How a gateway and the publisher send: to the node that owns the user, until it is done."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable

from comet.protocol import HELLO, NOT_OWNER, Pairs, frame, frames, keys
from ketama import Continuum

PAUSE = 0.2  # seconds, after which an unreachable node is tried again
OnFrame = Callable[[str, int, Pairs], None]  # called with the node, and what it has sent


class Sender:
    """The connections to all nodes, and what is to be sent again if something happens.

    me: for HELLO. kind: of the frames that are sent. on_frame: called with all other frames
    than NOT_OWNER.
    """

    def __init__(self, continuum: Continuum, me: int, kind: int, on_frame: OnFrame) -> None:
        self.continuum, self.me, self.kind, self.on_frame = continuum, me, kind, on_frame
        self.waiting: Pairs = {}  # to be sent at the next tick
        self.sent: defaultdict[str, Pairs] = defaultdict(dict)  # what each node has
        self.resent = 0
        self.nodes: dict[str, asyncio.StreamWriter] = {}
        self.reading: set[asyncio.Task[None]] = set()

    async def flush(self) -> None:
        """Send all that waits. What is for a node that cannot be reached waits a while."""
        waiting, self.waiting = self.waiting, {}
        groups: defaultdict[str, Pairs] = defaultdict(dict)
        owners = self.continuum.lookup_many(keys(waiting))
        for (user, number), owner in zip(waiting.items(), owners, strict=True):
            groups[owner][user] = number
        for owner, pairs in groups.items():
            if owner in self.nodes or await self.connect(owner):
                self.sent[owner].update(pairs)
                self.nodes[owner].write(frame(self.kind, pairs))
            else:
                asyncio.get_running_loop().call_later(PAUSE, self.send, pairs)

    async def connect(self, node: str) -> bool:
        """Connect to a node, and return whether it is there."""
        try:
            reader, self.nodes[node] = await asyncio.open_connection(*node.rsplit(":", 1))
        except OSError:
            return False
        self.nodes[node].write(frame(HELLO, {self.me: 0}))
        task = asyncio.create_task(self.read(node, reader))
        self.reading.add(task)
        task.add_done_callback(self.reading.discard)
        return True

    async def read(self, node: str, reader: asyncio.StreamReader) -> None:
        """Act on what a node sends; once it is gone, send again what it had."""
        async for kind, pairs in frames(reader):
            if kind == NOT_OWNER:
                self.not_owner(node, pairs)
            else:
                self.on_frame(node, kind, pairs)
        self.nodes.pop(node).close()
        self.again(node, self.sent[node])

    def not_owner(self, node: str, pairs: Pairs) -> None:
        """Act on what a node refuses, or does not own any more."""
        self.again(node, pairs)

    def again(self, node: str, users: Iterable[int]) -> None:
        """Send again what a node had of users."""
        pairs = {user: self.sent[node].pop(user) for user in [*users]}
        self.resent += len(pairs)
        self.send(pairs)

    def send(self, pairs: Pairs) -> None:
        """Send at the next tick, by the newest list that this machine has."""
        self.continuum.roll()
        self.waiting.update(pairs)
