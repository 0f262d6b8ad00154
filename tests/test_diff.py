"""Which keys move between two continua: compared with the model, and counted on keys."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from model import Ring
from test_differential import LISTS

import ketama

KEY_SPACE = 2**32
Pairs = dict[tuple[str, str], int]


def first_from(points: list[tuple[int, int]], h: int) -> int:
    """The server of the first point at or after a hash."""
    return points[bisect_left(points, (h, 0)) % len(points)][1]


def moves_of(old: list[tuple[str, int]], new: list[tuple[str, int]]) -> Pairs:
    """The rule: between two neighbouring points of either ring both have one answer."""
    before, after = Ring(old).points, Ring(new).points
    cuts = sorted({point for point, _ in (*before, *after)} | {KEY_SPACE - 1})
    moves: Counter[tuple[str, str]] = Counter()
    begin = 0
    for end in cuts:
        pair = old[first_from(before, end)][0], new[first_from(after, end)][0]
        if pair[0] != pair[1]:
            moves[pair] += end + 1 - begin
        begin = end + 1
    return dict(moves)


@given(LISTS, LISTS)
def test_random_lists(old: list[tuple[str, int]], new: list[tuple[str, int]]) -> None:
    """Pairs and sums are the model's, exactly; and backwards the same keys move back."""
    a, b = ketama.Continuum(old), ketama.Continuum(new)
    diff = a.diff(b)
    expected = moves_of(old, new)
    assert expected == {pair: share * KEY_SPACE for pair, share in diff.pairs.items()}
    assert diff.moved * KEY_SPACE == sum(expected.values())
    stayed = {address for address, _ in old} & {address for address, _ in new}
    assert diff.collateral * KEY_SPACE == sum(
        share for pair, share in expected.items() if stayed.issuperset(pair)
    )
    assert list(diff.pairs.values()) == sorted(diff.pairs.values(), reverse=True)
    assert set(diff.added) == {address for address, _ in new} - stayed
    assert set(diff.removed) == {address for address, _ in old} - stayed

    back = b.diff(a)
    assert {(end, start): share for (start, end), share in diff.pairs.items()} == back.pairs
    assert (diff.moved, diff.collateral) == (back.moved, back.collateral)


def test_what_a_server_gains_and_loses() -> None:
    """Shares before, less what is lost, more what is gained, are the shares after."""
    old = [(f"10.0.0.{i}:11211", 100 + 50 * (i % 3)) for i in range(40)]
    new = [*old[1:7], ("10.0.0.99:11211", 400), *old[8:]]
    a, b = ketama.Continuum(old), ketama.Continuum(new)
    diff = a.diff(b)
    assert ("10.0.0.99:11211",) == diff.added
    assert ("10.0.0.0:11211", "10.0.0.7:11211") == diff.removed
    shares = {server.address: server.share for server in a.servers}
    for (start, end), share in diff.pairs.items():
        shares[start] -= share
        shares[end] = shares.get(end, 0.0) + share
    assert {address: share for address, share in shares.items() if share} == {
        server.address: server.share for server in b.servers
    }
    assert 0 < diff.collateral < diff.moved < 1


def test_a_million_keys() -> None:
    """On a million keys the same part moves, between the same servers, within chance."""
    old = [(f"10.0.0.{i}:11211", 600) for i in range(8)]
    a, b = ketama.Continuum(old), ketama.Continuum([*old, ("10.0.0.8:11211", 900)])
    diff = a.diff(b)
    count = 1_000_000
    keys = ketama.Packed(
        b"".join(b"user:%07d" % i for i in range(count)),
        array("I", range(0, 12 * count + 1, 12)),
    )
    old_names = [server.address for server in a.servers]
    new_names = [server.address for server in b.servers]
    found = Counter(zip(a.indexes(keys), b.indexes(keys), strict=True))
    moved = {
        (old_names[i], new_names[j]): keys
        for (i, j), keys in found.items()
        if old_names[i] != new_names[j]
    }
    assert moved.keys() <= diff.pairs.keys()
    for pair, share in diff.pairs.items():
        due = share * count
        assert abs(moved.get(pair, 0) - due) < 6 * due**0.5 + 6
    assert abs(sum(moved.values()) - diff.moved * count) < 6 * (diff.moved * count) ** 0.5


def test_the_same_address_twice() -> None:
    """A server that is listed twice is one server: between its two places nothing moves."""
    twice = ketama.Continuum([("a:1", 1), ("b:1", 2), ("a:1", 1)])
    once = ketama.Continuum([("b:1", 2), ("a:1", 1)])
    assert twice.diff(twice).pairs == {}
    assert set(twice.diff(once).pairs) <= {("a:1", "b:1"), ("b:1", "a:1")}
    assert twice.diff(once).added == twice.diff(once).removed == ()


def test_it_is_of_versions(two: Path) -> None:
    """A difference is between two versions as they are; a later roll does not change it."""
    a, b = ketama.Continuum(two), ketama.Continuum(two)
    two.write_text("127.0.0.1:11211 600\n127.0.0.1:11213 400\n")
    assert b.roll()
    diff = a.diff(b)
    assert diff.removed == ("127.0.0.1:11212",)
    assert a.roll()
    assert a.diff(b).moved == 0
    assert diff.moved > 0.3
    with pytest.raises(AttributeError):
        diff.moved = 0.0  # type: ignore[misc]


@pytest.mark.parametrize("other", [None, "a:1", ["a:1"]])
def test_with_something_else(other: object) -> None:
    """Only two continua have a difference."""
    with pytest.raises(
        TypeError, match=f"^other must be a Continuum, not {type(other).__name__}"
    ):
        ketama.Continuum(["a:1"]).diff(other)  # type: ignore[arg-type]
