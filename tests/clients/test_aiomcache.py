"""ketama.clients.aiomcache, alone and below aiocache and fastapi-cache2."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from needs import need_module

from clients.memcached import Fleet
from clients.promises import KEYS, Asked, Promises
from ketama import Continuum

aiomcache = need_module("aiomcache")
ours = need_module("ketama.clients.aiomcache")


class Asking(Asked):
    """Our client of aiomcache."""

    def make(self, source: Any, **options: Any) -> Any:
        """Return the client."""
        return ours.Client(source, **options)

    async def set(self, key: str, value: str, expiry: int = 0) -> bool:
        """Store a value."""
        return bool(await self.client.set(key.encode(), value.encode(), expiry))

    async def get(self, key: str) -> str | None:
        """Return a value."""
        value = await self.client.get(key.encode())
        return None if value is None else value.decode()

    async def get_many(self, keys: Iterable[str]) -> dict[str, str]:
        """Return values."""
        keys = [*keys]
        values = await self.client.multi_get(*[key.encode() for key in keys])
        return {k: v.decode() for k, v in zip(keys, values, strict=True) if v is not None}

    async def incr(self, key: str) -> int | None:
        """Add 1."""
        number: int | None = await self.client.incr(key.encode())
        return number


class TestAiomcache(Promises):
    """What all promise."""

    asked = Asking
    module = ours
    unavailable = aiomcache.ClientException
