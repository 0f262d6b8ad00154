"""The frames that nodes, gateways and the publisher exchange."""

from __future__ import annotations

import asyncio
import struct
from array import array
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

HELLO, CONNECT, CONNECTED, MESSAGE, ACK, NOT_OWNER = range(6)
PUBLISHER = 0  # who says HELLO: 0, or the number of a gateway, from 1
HEAD = struct.Struct("=BI")  # the kind of frame, and how many bytes follow
Pairs = dict[int, int]  # a user: the number of a message, 0 in frames that are not about one


def frame(kind: int, pairs: Pairs) -> bytes:
    """Return a frame: its head, all users, all numbers."""
    body = array("I", [*pairs, *pairs.values()]).tobytes()
    return HEAD.pack(kind, len(body)) + body


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, Pairs]]:
    """Yield what each frame has, until the connection ends."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            kind, size = HEAD.unpack(await reader.readexactly(HEAD.size))
            numbers = array("I", await reader.readexactly(size))
            half = len(numbers) // 2
            yield kind, dict(zip(numbers[:half], numbers[half:], strict=True))


def keys(users: Iterable[int]) -> list[str]:
    """Return what is looked up for users."""
    return [f"user:{user}" for user in users]
