"""Why two dialects send keys to different servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ketama._ketama import lib
from ketama.addresses import find_address
from ketama.admin.dialect import Dialect, common_share
from ketama.continuum import Continuum


class Cause(NamedTuple):
    """A difference of two dialects that sends keys to different servers.

    kind: "text", the text that is hashed for a server; "points", how many a server gets and
        how they are made; "equal points", which server has a point that two have; "search",
        which point a hash belongs to; "hash", the function that hashes keys; "part", what of
        a key is hashed.
    summary: in a few words, such as "port 11211 is left out in libmemcached".
    detail: what each of the two does, with an example.
    share: of the keys, on which they would agree if this were the only difference. Exact for
        the ring, that is, the first four kinds; else of the keys that were asked.
    """

    kind: str
    summary: str
    detail: str
    share: float


class Suspect(NamedTuple):
    """A difference that may matter: its ring is that of the second dialect without it."""

    kind: str
    summary: str
    detail: str
    ring: Continuum


RING = ("text", "points", "equal points", "search")


def short_names(a: Dialect, b: Dialect) -> tuple[str, str]:
    """Return what the two are called where both are named."""
    return (a.profile, b.profile) if a.profile != b.profile else (a.label, b.label)


def suspects(a: Dialect, b: Dialect) -> list[Suspect]:
    """Return in what two dialects differ for these servers, whether it matters or not."""
    return [
        Suspect(kind, summary, detail, a.mixed_with(b, aspects))
        for kind, summary, detail, aspects in _differences(a, b)
    ]


def _differences(a: Dialect, b: Dialect) -> Iterator[tuple[str, str, str, int]]:
    if a.texts != b.texts:
        yield "text", *_texts(a, b), lib.KETAMA_MIX_NAMES
    if aspects := _points(a, b):
        yield "points", *_points_in_words(a, b, aspects), aspects
    for aspect, kind, summary, aspects in (
        ("order", "equal points", "another server has equal points", lib.KETAMA_MIX_ORDER),
        ("search", "search", "another point is found for a hash", lib.KETAMA_MIX_SEARCH),
        ("hash", "hash", "other key hash", lib.KETAMA_MIX_HASH),
        ("part", "part", "another part of the key is hashed", lib.KETAMA_MIX_PART),
    ):
        one, other = (getattr(dialect.aspects, aspect) for dialect in (a, b))
        if one != other:
            yield kind, summary, _both(a, b, one, other), aspects


def _both(a: Dialect, b: Dialect, one: str, other: str) -> str:
    """Return what is so in each of the two."""
    first, second = short_names(a, b)
    return f"{one} in {first}, {other} in {second}"


def _texts(a: Dialect, b: Dialect) -> tuple[str, str]:
    """Return how the hashed texts differ, and an example."""
    first, second = short_names(a, b)
    address, one, other = next(
        (address, one, other)
        for address, one, other in zip(a.continuum._now[1], a.texts, b.texts, strict=True)
        if one != other
    )
    summary = (
        _what_differs(one, other, address, first)
        or _what_differs(other, one, address, second)
        or "other text is hashed for a server"
    )
    shown = (text.replace("\0", " and ") for text in (one, other))
    return summary, f"{address} is hashed as {_both(a, b, *shown)}"


def _what_differs(text: str, other: str, address: str, who: str) -> str:
    """Return what is particular about a text, if it is one thing; `who` hashes it."""
    port = other[len(text) + 1 :]
    if other.startswith(text + ":") and port.isdecimal():
        return f"port {port} is left out in {who}"
    if text == "/" + other:
        return f"a slash comes first in {who}"
    if text != other and text == other.replace("[", "").replace("]", ""):
        return f"brackets are left out in {who}"
    if text.replace("\0", ":") == other:
        return f"host and port are hashed apart in {who}"
    found = find_address(address)
    if found and found.host and text.replace(f"{found.host}/", "", 1) == other != text:
        return f"the host is hashed twice in {who}"
    return ""


def _points(a: Dialect, b: Dialect) -> int:
    """Return what differs of the points: how many there are, and how they are made."""
    numbers = [[server.points for server in each.continuum.servers] for each in (a, b)]
    aspects = lib.KETAMA_MIX_COUNTS if numbers[0] != numbers[1] else 0
    if a.aspects.digest != b.aspects.digest:
        aspects |= lib.KETAMA_MIX_DIGEST
    return aspects


def _points_in_words(a: Dialect, b: Dialect, aspects: int) -> tuple[str, str]:
    """Return how the points differ, with an example of a server with another number."""
    summaries, details = [], []
    if aspects & lib.KETAMA_MIX_COUNTS:
        one, other = next(
            pair
            for pair in zip(a.continuum.servers, b.continuum.servers, strict=True)
            if pair[0].points != pair[1].points
        )
        summaries.append("other number of points")
        numbers = (
            f"{server.points:,} ({each.aspects.counts})"
            for server, each in ((one, a), (other, b))
        )
        details.append(f"{one.address} has {_both(a, b, *numbers)}")
    if aspects & lib.KETAMA_MIX_DIGEST:
        summaries.append("points made in another way")
        details.append(_both(a, b, a.aspects.digest, b.aspects.digest))
    return ", ".join(summaries), "; ".join(details)


def causes_of(
    found: list[Suspect], second: Continuum, asked: Callable[[Continuum], float]
) -> tuple[Cause, ...]:
    """Return the differences that matter, the ones that matter most first.

    second: the ring of the second dialect, with all differences.
    asked: returns on how many of the keys that were asked a ring agrees with `second`.
    """
    measured = [
        Cause(
            each.kind,
            each.summary,
            each.detail,
            common_share(each.ring, second) if each.kind in RING else asked(each.ring),
        )
        for each in found
    ]
    # What changes nothing by itself is not a cause, unless nothing else is known.
    mattering = [cause for cause in measured if cause.share < 1] or measured
    return tuple(sorted(mattering, key=lambda cause: cause.share))
