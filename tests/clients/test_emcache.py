"""ketama.clients.emcache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from needs import need_module

from clients.promises import Asked, Promises

emcache = need_module("emcache")
ours = need_module("ketama.clients.emcache")


class Asking(Asked):
    """Our client of emcache."""

    connect_option = "connection_timeout"

    def make(self, source: Any, **options: Any) -> Any:
        """Return the client."""
        return ours.Client(source, **options)

    async def set(self, key: str, value: str, expiry: int = 0) -> bool:
        """Store a value."""
        await self.client.set(key.encode(), value.encode(), exptime=expiry)
        return True

    async def get(self, key: str) -> str | None:
        """Return a value."""
        item = await self.client.get(key.encode())
        return None if item is None else item.value.decode()

    async def get_many(self, keys: Iterable[str]) -> dict[str, str]:
        """Return values."""
        items = await self.client.get_many([key.encode() for key in keys])
        return {key.decode(): item.value.decode() for key, item in items.items()}

    async def incr(self, key: str) -> int | None:
        """Add 1."""
        with contextlib.suppress(emcache.NotFoundCommandError):
            number: int | None = await self.client.increment(key.encode(), 1)
            return number
        return None


class TestEmcache(Promises):
    """What all promise."""

    asked = Asking
    module = ours
    unavailable = emcache.ClusterNoAvailableNodes
    lost_set = True  # emcache returns None, or raises
