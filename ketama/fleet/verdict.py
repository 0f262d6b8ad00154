"""What a machine's copy of the list is, compared with the engine's."""

from __future__ import annotations

from typing import NamedTuple

from ketama.fleet.stamp import Stamp, read_stamp

OK, BEHIND, AHEAD = "ok", "behind", "ahead"
EDITED, CONFLICT, REFUSED, READY = "edited", "conflict", "refused", "ready"
# From what concerns an operator most.
STATES = (REFUSED, CONFLICT, EDITED, AHEAD, BEHIND, READY, OK)


class Verdict(NamedTuple):
    """What to do with a copy.

    state: `ok`, `ahead`, `edited` or `conflict`; `behind`: replace it.
    version: of the copy; of an edited one, the version that it was made from, 0: unknown.
    """

    state: str
    version: int


def judge(found: bytes, text: bytes, theirs: Stamp, known: int) -> Verdict:
    """Return what a copy is.

    found: its text, empty without a file. text, theirs: the engine's valid list.
    known: the version that the copy had last, if it was a genuine one.
    """
    mine = read_stamp(found)
    if found == text:
        return Verdict(OK, theirs.version)
    if not found:
        return Verdict(BEHIND, 0)
    if mine.genuine and mine.version and mine.domain == theirs.domain:
        if mine.version == theirs.version:
            return Verdict(CONFLICT, mine.version)
        return Verdict(AHEAD if mine.version > theirs.version else BEHIND, mine.version)
    base = (mine.version if mine.domain == theirs.domain else 0) or known
    if mine.content == theirs.content or theirs.version > base > 0:
        return Verdict(BEHIND, base)
    return Verdict(EDITED, base)


def judge_alone(found: bytes, domain: str) -> Verdict:
    """Return what a copy is while the engine has no list."""
    mine = read_stamp(found)
    if not found:
        return Verdict(BEHIND, 0)
    version = mine.version if mine.domain == domain else 0
    return Verdict(AHEAD if mine.genuine and version else EDITED, version)
