"""The commands for one key, as pymemcache has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ketama.clients.pymemcache_batch import Key

Answer = TypeVar("Answer")


class Commands:
    """pymemcache's commands for one key, with its arguments and what it returns."""

    def _run(
        self,
        command: str,
        key: Key,
        missing: Answer,
        request: Callable[..., Any],
        expire: int = 0,
    ) -> Answer:
        """Return the answer to a command, from the first server that answers.

        missing: what to return if none does, unless that is an error.
        request: called with a connection, the key as it is given and as it is sent, and its
            time to live.
        """
        raise NotImplementedError

    def _store(
        self,
        command: str,
        key: Key,
        value: Any,
        expire: int,
        noreply: bool | None,
        flags: int | None,
    ) -> bool:
        def request(connection: Any, key: Any, _: bytes, expire: int) -> Any:
            return getattr(connection, command)(key, value, expire, noreply, flags)

        return self._run(command, key, False, request, expire)

    def get(self, key: Key, default: Any = None) -> Any:
        """Return a key's value, or the default."""
        return self._run(
            "get", key, default, lambda c, key, sent, _: c.get_one(b"get ", sent, key, default)
        )

    def gets(
        self, key: Key, default: Any = None, cas_default: Any = None
    ) -> tuple[Any, bytes | None]:
        """Return a key's value and its unique number, for `cas`."""
        missing = default, cas_default
        return self._run(
            "gets",
            key,
            missing,
            lambda c, key, sent, _: c.get_one(b"gets ", sent, key, missing),
        )

    def set(
        self,
        key: Key,
        value: Any,
        expire: int = 0,
        noreply: bool | None = None,
        flags: int | None = None,
    ) -> bool:
        """Store a value for `expire` seconds, 0: for ever. Return whether it was stored."""
        return self._store("set", key, value, expire, noreply, flags)

    def add(
        self,
        key: Key,
        value: Any,
        expire: int = 0,
        noreply: bool | None = None,
        flags: int | None = None,
    ) -> bool:
        """Store a value if the key has none. Return whether it was stored."""
        return self._store("add", key, value, expire, noreply, flags)

    def replace(
        self,
        key: Key,
        value: Any,
        expire: int = 0,
        noreply: bool | None = None,
        flags: int | None = None,
    ) -> bool:
        """Store a value if the key has one. Return whether it was stored."""
        return self._store("replace", key, value, expire, noreply, flags)

    def append(
        self,
        key: Key,
        value: Any,
        expire: int = 0,
        noreply: bool | None = None,
        flags: int | None = None,
    ) -> bool:
        """Append to the value of a key, if it has one. Return whether it has."""
        return self._store("append", key, value, expire, noreply, flags)

    def prepend(
        self,
        key: Key,
        value: Any,
        expire: int = 0,
        noreply: bool | None = None,
        flags: int | None = None,
    ) -> bool:
        """Prepend to the value of a key, if it has one. Return whether it has."""
        return self._store("prepend", key, value, expire, noreply, flags)

    def cas(
        self,
        key: Key,
        value: Any,
        cas: int | str | bytes,
        expire: int = 0,
        noreply: bool = False,
        flags: int | None = None,
    ) -> bool | None:
        """Store a value unless it has changed since `gets`: True, False; None: no such key.

        False also while the key's own server is down: another one numbers values by itself.
        """
        return self._run(
            "cas",
            key,
            False,
            lambda c, key, sent, expire: c.cas(key, value, cas, expire, noreply, flags),
            expire,
        )

    def incr(self, key: Key, value: int, noreply: bool | None = False) -> int | None:
        """Add to a number, and return it; None if the key has no value."""
        return self._run(
            "incr", key, None, lambda c, key, sent, expire: c.incr(key, value, noreply)
        )

    def decr(self, key: Key, value: int, noreply: bool | None = False) -> int | None:
        """Subtract from a number, not below 0, and return it; None if the key has no value."""
        return self._run(
            "decr", key, None, lambda c, key, sent, expire: c.decr(key, value, noreply)
        )

    def touch(self, key: Key, expire: int = 0, noreply: bool | None = None) -> bool:
        """Set a key's time to live. Return whether it has a value."""
        return self._run(
            "touch",
            key,
            False,
            lambda c, key, sent, expire: c.touch(key, expire, noreply),
            expire,
        )

    def delete(self, key: Key, noreply: bool | None = None) -> bool:
        """Delete a key's value. Return whether it had one."""
        return self._run(
            "delete", key, False, lambda c, key, sent, expire: c.delete(key, noreply)
        )
