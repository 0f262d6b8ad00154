"""On which keys programs that speak different dialects agree, why not, and what to change."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterable, Iterator
from itertools import combinations, islice
from operator import eq
from typing import NamedTuple

from ketama.admin import server_file
from ketama.admin.causes import RING, Cause, causes_of, suspects
from ketama.admin.dialect import Dialect, common_share, settings_of, stated_in
from ketama.admin.profiles import profiles as all_profiles
from ketama.admin.remedies import Remedy, remedies_for
from ketama.continuum import Continuum, Path
from ketama.errors import KetamaError, ServersError
from ketama.keys import Key, key_bytes

RANDOM_KEYS = 100_000
POINTS_MAX = 10_000_000  # of a ring that was not asked for
BATCH = 8192  # keys that are looked up at once
DEVIATIONS = 1.96  # standard deviations on each side of 95 % of a normal distribution


class Agreement(NamedTuple):
    """On which keys two programs agree.

    first, second: their profiles with their options, such as "twemproxy hash=md5".
    share: of all keys, 0.0 to 1.0, that both send to one server. If it is exact, all keys
        but the empty one, which memcached does not have, were compared; else those asked.
    exact: whether both hash keys alike, so that their rings could be compared arc by arc.
    keys, agreed: how many keys were asked, and on how many of them they agree.
    margin: how far the share of all keys may be off that of the random keys asked, in 95 of
        100 cases; 0 if it is exact, or the keys were given.
    causes: why they differ, the most important first; empty if they don't.
    """

    first: str
    second: str
    share: float
    exact: bool
    keys: int
    agreed: int
    margin: float
    causes: tuple[Cause, ...]


class RefusedProfile(NamedTuple):
    """A profile whose programs could not use the server file, and why."""

    profile: str
    reason: str


class Agreements(NamedTuple):
    """How the programs of a fleet agree.

    profiles: theirs, with options. The one that the server file states is the first.
    pairs: an Agreement for each two of them.
    refused: profiles that were not asked for and cannot use the file.
    unnamed: profiles whose programs have no names for servers, if the file gives some: such
        a name is hashed only by programs that read the file through libketama.
    remedies: what to change so that they agree, the smallest change first; empty if they do,
        if no profile was asked for, or if one of them is a bucket map.
    """

    profiles: tuple[str, ...]
    pairs: tuple[Agreement, ...]
    refused: tuple[RefusedProfile, ...]
    unnamed: tuple[str, ...]
    remedies: tuple[Remedy, ...]

    @property
    def agreed(self) -> bool:
        """Whether all of them agree on all keys, or on all that were asked."""
        return all(pair.share == 1 for pair in self.pairs)


def agree(
    path: Path,
    *profiles: str,
    keys: Iterable[Key] | None = None,
    random_keys: int = RANDOM_KEYS,
) -> Agreements:
    """Return on which keys the programs of some profiles agree, if all read one server file.

    Where two of them hash keys alike, their rings are compared arc by arc, and the share is
    exact. Otherwise keys are asked.

    profiles: each a profile and its options as in the `#ketama` line of a server file, such
        as "libmemcached" or "twemproxy hash=md5 hash_tag={}". If there is only one, it is
        compared with the file's own: what its `#ketama` line states, or "libketama". If
        there are several, each two of them are compared, and what the file states. None: the
        file's own is compared with every other profile, with its default options.
    keys: to ask about; iterated once. None: random ones, always the same.
    random_keys: how many, from 1 on.
    Raises ServersError if the file is invalid, or a profile's programs cannot use it;
    ProfileError for a profile or an option that does not exist; KetamaOSError if the file
    cannot be read; KetamaError if there are no keys to ask about; TypeError for a key that is
    neither text nor bytes; ValueError for a wrong number of random keys.
    """
    if isinstance(keys, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"keys must be an iterable of keys, not {type(keys).__name__}")
    if random_keys < 1:
        raise ValueError(f"invalid random_keys {random_keys}: must be at least 1")
    filename = os.fspath(path)
    text = server_file.read_file(filename)
    return agree_on(text, filename, profiles, keys, random_keys)


def agree_on(
    text: bytes,
    filename: str | bytes,
    profiles: Iterable[str],
    keys: Iterable[Key] | None,
    random_keys: int = RANDOM_KEYS,
) -> Agreements:
    """Return what `agree` returns, for a server file's text."""
    asked = list(profiles)
    stated, bare = stated_in(text)
    # Of a bucket map, other dialects get the servers without their buckets.
    is_map = server_file.is_map(bare, stated)
    plain = server_file.without_ranges(bare) if is_map else bare
    own = Dialect(bare, filename, stated)
    named = [
        Dialect(bare if server_file.is_map(bare, settings) else plain, filename, settings)
        for settings in map(settings_of, asked)
    ]
    refused: list[RefusedProfile] = []
    if not asked:
        named, refused = _all_others(own, plain, filename)
    compared = [own, *named] if stated or len(named) < 2 or not asked else named
    compared = [*{dialect.label: dialect for dialect in compared}.values()]
    pairs = [*combinations(compared, 2)] if asked else [(own, other) for other in compared[1:]]
    given = keys is not None
    if keys is None:
        keys = _random_keys(compared, random_keys)
    found = _agreements(pairs, keys, given=given)
    has_names = any(server.name is not None for server in own.continuum.servers)
    has_map = any("buckets" in dialect.options for dialect in compared)
    differ = asked and not has_map and any(pair.share < 1 for pair in found)
    return Agreements(
        profiles=tuple(dialect.label for dialect in compared),
        pairs=tuple(found),
        refused=tuple(refused),
        unnamed=tuple(each.label for each in compared if has_names and not each.takes_names),
        remedies=tuple(remedies_for(compared, own.label) if differ else ()),
    )


def _all_others(
    own: Dialect, text: bytes, filename: str | bytes
) -> tuple[list[Dialect], list[RefusedProfile]]:
    """Return the dialects of all other profiles, and those that cannot use the file."""
    found, refused = [], []
    for profile in all_profiles():
        if profile.name == own.label or profile.is_map:
            continue
        try:
            _check_size(own, profile.name)
            found.append(Dialect(text, filename, settings_of(profile.name)))
        except ServersError as error:
            refused.append(RefusedProfile(profile.name, str(error)))
    return found, refused


def _check_size(own: Dialect, profile: str) -> None:
    """Raise ServersError if a profile has points for each unit of weight, and far too many.

    A profile that nobody asked for must not take all memory.
    """
    two, three = (
        Dialect(b"127.0.0.1:11211 %d\n" % weight, "", settings_of(profile)) for weight in (2, 3)
    )
    a, b = (each.continuum.servers[0].points for each in (two, three))
    points = (b - a) * sum(server.weight for server in own.continuum.servers)
    if points > POINTS_MAX:
        reason = f"its ring would have {points:,} points: write smaller weights"
        raise ServersError(None, None, reason)


def _random_keys(dialects: list[Dialect], count: int) -> Iterator[bytes]:
    """Yield keys such as user:123456789, and of each kind that a dialect hashes a part of."""
    shapes = sorted({("user:", ""), *(shape for each in dialects for shape in _shapes(each))})
    chance = random.Random(2007)  # noqa: S311
    for number in range(count):
        before, after = shapes[number % len(shapes)]
        yield f"{before}{chance.randrange(10**9)}{after}".encode()


def _shapes(dialect: Dialect) -> Iterator[tuple[str, str]]:
    """Yield what is before and after a number in keys of which the dialect hashes a part."""
    options = dialect.options
    if options.get("filter") == "stop":
        yield "user", options["filter_conf"] + "name"
    elif pair := options.get("hash_tag") or options.get("filter_conf"):
        yield pair[:1] + "user:", pair[1:] + ":name"
    if delimiter := options.get("delimiter"):
        yield "user", delimiter + "name"


class _Question:
    """Two rings, and on how many keys they have agreed so far."""

    def __init__(self, a: Continuum, b: Continuum) -> None:
        self.rings = a, b
        self.agreed = 0


class _Poll:
    """Questions that are asked all at once, so that the keys are read only once."""

    def __init__(self) -> None:
        self.questions: list[_Question] = []
        self.keys = 0

    def add(self, a: Continuum, b: Continuum) -> _Question:
        question = _Question(a, b)
        self.questions.append(question)
        return question

    def take(self, keys: Iterable[Key]) -> None:
        """Ask about keys, in constant memory."""
        rings = {id(ring): ring for each in self.questions for ring in each.rings}
        groups = _groups(next(iter(rings.values()))) if rings else None
        each_key = enumerate(keys)
        while some := [key_bytes(key, at) for at, key in islice(each_key, BATCH)]:
            self.keys += len(some)
            answers = {
                name: ring.indexes(some)
                if groups is None
                else [groups[i] for i in ring.indexes(some)]
                for name, ring in rings.items()
            }
            for each in self.questions:
                a, b = (answers[id(ring)] for ring in each.rings)
                each.agreed += sum(map(eq, a, b))
        if not self.keys:
            raise KetamaError("no keys were given: there must be at least one")

    def share(self, question: _Question) -> float:
        """Return the share of the keys on which two rings agree."""
        return question.agreed / self.keys


def _groups(ring: Continuum) -> list[int] | None:
    """Return a number for each server, equal for equal addresses; None if no two are equal."""
    addresses = ring._now[1]
    first: dict[str, int] = {}
    groups = [first.setdefault(address, len(first)) for address in addresses]
    return None if len(first) == len(addresses) else groups


class _Pair:
    """Two dialects, in what they differ, and what is asked about them."""

    def __init__(self, a: Dialect, b: Dialect, poll: _Poll, *, given: bool) -> None:
        self.a, self.b, self.given = a, b, given
        self.exact = a.hashes_keys_as(b)
        self.share = common_share(a.continuum, b.continuum) if self.exact else None
        self.suspects = [] if self.share == 1 else suspects(a, b)
        self.asked = poll.add(a.continuum, b.continuum) if given or not self.exact else None
        self.asked_without = {
            id(each.ring): poll.add(each.ring, b.continuum)
            for each in self.suspects
            if each.kind not in RING
        }

    def result(self, poll: _Poll) -> Agreement:
        """Return on which keys they agree, once all keys were asked."""
        asked = 0.0 if self.asked is None else poll.share(self.asked)
        share = asked if self.share is None else self.share
        return Agreement(
            first=self.a.label,
            second=self.b.label,
            share=share,
            exact=self.exact,
            keys=0 if self.asked is None else poll.keys,
            agreed=0 if self.asked is None else self.asked.agreed,
            margin=0.0 if self.exact or self.given else _margin(share, poll.keys),
            causes=causes_of(
                self.suspects,
                self.b.continuum,
                lambda ring: poll.share(self.asked_without[id(ring)]),
            ),
        )


def _agreements(
    pairs: list[tuple[Dialect, Dialect]], keys: Iterable[Key], *, given: bool
) -> list[Agreement]:
    """Return on which keys each pair agrees: all, or those that are asked."""
    poll = _Poll()
    found = [_Pair(a, b, poll, given=given) for a, b in pairs]
    if poll.questions:
        poll.take(keys)
    return [pair.result(poll) for pair in found]


def _margin(share: float, keys: int) -> float:
    """Return half of Wilson's 95 % interval, which has a width even where the share is 1."""
    z = DEVIATIONS
    spread = math.sqrt(share * (1 - share) / keys + (z / (2 * keys)) ** 2)
    return z * spread / (1 + z * z / keys)
