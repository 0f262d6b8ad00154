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
    unchanged = {
        address
        for address in stayed
        if sorted(row for row in old if row[0] == address)
        == sorted(row for row in new if row[0] == address)
    }
    assert diff.collateral * KEY_SPACE == sum(
        share for pair, share in expected.items() if unchanged.issuperset(pair)
    )
    assert set(diff.changed) == stayed - unchanged
    assert unchanged == {address for address, row in diff.servers.items() if row.unchanged}
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
    assert list(diff.servers) == [*(address for address, _ in old), "10.0.0.99:11211"]
    for address, row in diff.servers.items():
        assert (row.weight_before, row.weight_after) == (
            dict(old).get(address), dict(new).get(address)
        )  # fmt: skip
        assert row.share_after == row.share_before - row.lost + row.gained
        assert row.share_after == shares[address]
        assert row.lost == sum(part for pair, part in diff.pairs.items() if pair[0] == address)


WEIGHTS = (600, 300, 200, 350, 1000, 800, 950, 100)
EIGHT = [(f"10.0.1.{i}:11211", weight) for i, weight in enumerate(WEIGHTS, 1)]


def test_collateral_of_another_weight() -> None:
    """Where a weight changes, what moves between the other servers is collateral as well."""
    before = ketama.Continuum(EIGHT)
    diff = before.diff(ketama.Continuum({**dict(EIGHT), "10.0.1.5:11211": 500}))
    assert (diff.added, diff.removed, diff.changed) == ((), (), ("10.0.1.5:11211",))
    assert f"{diff.collateral:.2%}" == "4.46%"
    others = [share for pair, share in diff.pairs.items() if "10.0.1.5:11211" not in pair]
    assert diff.collateral == sum(others)
    row = diff.servers["10.0.1.5:11211"]
    assert (row.weight_before, row.weight_after, row.unchanged) == (1000, 500, False)
    assert not diff.is_collateral("10.0.1.5:11211", "10.0.1.6:11211")
    assert diff.is_collateral("10.0.1.1:11211", "10.0.1.6:11211")


def test_another_name_is_a_change() -> None:
    """A server with another name has other points: its moves are asked for."""
    before = ketama.Continuum([("a:1", 1), ("b:1", 1), ("c:1", 1)])
    diff = before.diff(ketama.Continuum([("a:1", 1, "x"), ("b:1", 1), ("c:1", 1)]))
    assert diff.changed == ("a:1",)
    assert diff.moved > diff.collateral == 0
    assert diff.servers["a:1"].weight_before == diff.servers["a:1"].weight_after == 1


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
    assert twice.diff(once).changed == ("a:1",)
    row = twice.diff(once).servers["a:1"]
    assert (row.weight_before, row.weight_after) == (2, 1)


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
