"""Pauses between attempts, so that a thousand machines do not come back at once."""

from __future__ import annotations

import random

FIRST, LONGEST = 0.1, 15.0  # seconds


class Backoff:
    """Pauses with full jitter: at random, up to a bound that doubles with each."""

    def __init__(self) -> None:
        self._bound = FIRST

    def pause(self) -> float:
        """Return how long to wait before the next attempt, seconds."""
        bound, self._bound = self._bound, min(2 * self._bound, LONGEST)
        return random.uniform(0, bound)  # noqa: S311

    def reset(self) -> None:
        """Begin again with short pauses, because an attempt has succeeded."""
        self._bound = FIRST
