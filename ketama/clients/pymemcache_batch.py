"""Several keys of one call to pymemcache, checked all at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ketama.clients.pymemcache_connection import KEY_MOST_BYTES, checked_key

# As pymemcache's master has it, a tuple is: what is hashed, and the key on that server.
Key = str | bytes | tuple[str | bytes, str | bytes]


class Batch(NamedTuple):
    """Several keys: as they were given, what of each is hashed, and what is sent."""

    given: list[Any]
    hashed: list[str | bytes]
    sent: list[bytes]


def prepare(
    keys: Iterable[Key], prefix: bytes, allow_unicode: bool, hashes_prefix: bool
) -> Batch:
    """Return keys as they are given, hashed and sent. Raises for an invalid one.

    prefix: what is sent before each key; hashes_prefix: is it hashed as well?
    """
    given: list[Any] = [*keys]
    hashed = plain = given
    if any(type(key) is tuple for key in given):
        hashed = [key[0] if isinstance(key, tuple) else key for key in given]
        plain = [key[1] if isinstance(key, tuple) else key for key in given]
    try:
        sent = [prefix + (key.encode() if type(key) is str else key) for key in plain]
        joined = b" ".join(sent)
        valid = (
            joined.split() == sent
            and b"\0" not in joined
            and max(map(len, sent), default=0) <= KEY_MOST_BYTES
            and (allow_unicode or joined.isascii())
        )
    except (TypeError, UnicodeEncodeError):
        valid = False
    if not valid:  # let pymemcache say which one, and why
        sent = [checked_key(key, allow_unicode, prefix) for key in plain]
    if hashes_prefix:
        hashed = [
            key if isinstance(whole, tuple) else as_sent
            for whole, key, as_sent in zip(given, hashed, sent, strict=True)
        ]
    return Batch(given, hashed, sent)
