"""A node: has the sessions of the users that it owns. Arguments: URL FILE CHECK ADDRESS."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from comet import protocol
from comet.machine import TICK, answer, follow
from comet.protocol import PUBLISHER, Pairs, frame, frames, keys


class Node:
    """What a node knows. If it is killed, nothing is lost with it."""

    def __init__(self, url: str, path: str, check: str, address: str) -> None:
        self.address = address
        self.sessions: Pairs = {}  # of each connected user, the number of the gateway
        self.messages: Pairs = {}  # of each user, the message that is not acknowledged yet
        self.peers: dict[int, asyncio.StreamWriter] = {}
        self.connects = 0
        self.continuum = follow(url, Path(path), float(check))
        self.servers: tuple[str, ...] = ()  # of the list that the sessions are of

    async def run(self) -> None:
        """Serve until stdin ends."""
        host, port = self.address.rsplit(":", 1)
        server = await asyncio.start_server(self.serve, host, int(port))
        answering = asyncio.create_task(answer(self.report))
        while not answering.done():
            await asyncio.sleep(TICK)
            if self.servers is not self.continuum.addresses:
                self.servers = self.continuum.addresses
                self.let_go()
        server.close()
        for peer in self.peers.values():
            peer.close()
        await asyncio.sleep(TICK)  # in which `serve` ends

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the publisher or a gateway, until it is gone."""
        peer = -1
        async for kind, pairs in frames(reader):
            if kind == protocol.HELLO:
                (peer,) = pairs
                self.peers[peer] = writer
            elif kind == protocol.ACK:
                self.acknowledge(pairs)
            else:
                self.receive(peer, kind, pairs)
        writer.close()
        self.peers.pop(peer, None)
        self.sessions = {user: by for user, by in self.sessions.items() if by != peer}
        if peer == PUBLISHER:
            self.messages.clear()  # it sends them again

    def receive(self, peer: int, kind: int, pairs: Pairs) -> None:
        """Connect users, or deliver messages; refuse those of other nodes."""
        if self.not_mine(pairs):
            self.continuum.roll()  # one of the two has an old list; let it not be this one
        self.send(peer, protocol.NOT_OWNER, {u: pairs.pop(u) for u in self.not_mine(pairs)})
        if kind == protocol.CONNECT:
            self.connects += len(pairs)
            self.sessions.update(dict.fromkeys(pairs, peer))
            self.send(peer, protocol.CONNECTED, pairs)
            pairs = {u: self.messages[u] for u in pairs if u in self.messages}
        else:
            self.messages.update(pairs)
        self.send_to_gateways(protocol.MESSAGE, pairs)

    def acknowledge(self, pairs: Pairs) -> None:
        """Pass on what users have acknowledged, if this node still has the message."""
        done = {u: number for u, number in pairs.items() if self.messages.get(u) == number}
        for user in done:
            del self.messages[user]
        self.send(PUBLISHER, protocol.ACK, done)

    def let_go(self) -> None:
        """Release the users that other nodes own by a new list, and their messages."""
        moved = self.not_mine(self.sessions)
        self.send_to_gateways(protocol.NOT_OWNER, dict.fromkeys(moved, 0))
        for user in moved:
            del self.sessions[user]
        messages = {user: self.messages.pop(user) for user in self.not_mine(self.messages)}
        self.send(PUBLISHER, protocol.NOT_OWNER, messages)

    def not_mine(self, users: Pairs) -> list[int]:
        """Return those users that other nodes own."""
        owners = zip(users, self.continuum.lookup_many(keys(users)), strict=True)
        return [user for user, owner in owners if owner != self.address]

    def send_to_gateways(self, kind: int, pairs: Pairs) -> None:
        """Send what is for connected users, to each gateway what is for its own."""
        for gateway in self.peers:
            mine = {u: n for u, n in pairs.items() if self.sessions.get(u) == gateway}
            self.send(gateway, kind, mine)

    def send(self, peer: int, kind: int, pairs: Pairs) -> None:
        """Send a frame, unless there is nothing to say or nobody to hear it."""
        if pairs and peer in self.peers:
            self.peers[peer].write(frame(kind, pairs))

    def report(self, _: str) -> dict[str, object]:
        """Return how many users are connected, under which list."""
        servers = sorted(self.servers)
        return {"users": len(self.sessions), "connects": self.connects, "servers": servers}


if __name__ == "__main__":
    asyncio.run(Node(*sys.argv[1:]).run())
