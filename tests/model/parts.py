"""The part of a key that is hashed."""

from __future__ import annotations


def tag(key: bytes, pair: str, empty_counts: bool = False) -> bytes:
    """Return what is between the pair, or the whole key."""
    inner, closing, _ = key.partition(pair[0].encode())[2].partition(pair[1].encode())
    return inner if closing and (inner or empty_counts) else key


def stop(key: bytes, text: str) -> bytes:
    """Return what is before a text."""
    return key.partition(text.encode())[0]


def whole(key: bytes) -> bytes:
    return key
