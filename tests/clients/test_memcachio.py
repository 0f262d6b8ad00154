"""ketama.clients.memcachio."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from needs import need_module

from clients.promises import Asked, Promises

memcachio = need_module("memcachio")
ours = need_module("ketama.clients.memcachio")


class Asking(Asked):
    """Our client of memcachio."""

    timeout_option = "read_timeout"

    def make(self, source: Any, **options: Any) -> Any:
        """Return the client."""
        return ours.Client(source, decode_responses=True, **options)

    async def set(self, key: str, value: str, expiry: int = 0) -> bool:
        """Store a value."""
        return bool(await self.client.set(key, value, expiry=expiry))

    async def get(self, key: str) -> str | None:
        """Return a value; the key as bytes."""
        found = await self.client.get(key.encode())
        return found[key].value if found else None

    async def get_many(self, keys: Iterable[str]) -> dict[str, str]:
        """Return values."""
        return {key: item.value for key, item in (await self.client.get(*keys)).items()}

    async def incr(self, key: str) -> int | None:
        """Add 1."""
        number: int | None = await self.client.incr(key, 1)
        return number


class TestMemcachio(Promises):
    """What all promise."""

    asked = Asking
    module = ours
    unavailable = memcachio.errors.NoAvailableNodes
