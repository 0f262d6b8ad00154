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
    assert unchanged == {row.address for row in diff.servers if row.unchanged}
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
    assert [row.address for row in diff.servers] == [
        *(address for address, _ in old), "10.0.0.99:11211"
    ]  # fmt: skip
    for row in diff.servers:
        address = row.address
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
    row = diff.servers[4]
    assert (row.weight_before, row.weight_after, row.unchanged) == (1000, 500, False)
    assert not diff.is_collateral("10.0.1.5:11211", "10.0.1.6:11211")
    assert diff.is_collateral("10.0.1.1:11211", "10.0.1.6:11211")


def test_another_name_is_a_change() -> None:
    """A server with another name has other points: its moves are asked for."""
    before = ketama.Continuum([("a:1", 1), ("b:1", 1), ("c:1", 1)])
    diff = before.diff(ketama.Continuum([("a:1", 1, "x"), ("b:1", 1), ("c:1", 1)]))
    assert diff.changed == ("a:1",)
    assert diff.moved > diff.collateral == 0
    assert (diff.servers[0].address, diff.servers[0].name) == ("a:1", "x")
    assert diff.servers[0].weight_before == diff.servers[0].weight_after == 1


Rows = list[tuple[str, int, str | None]]


def test_a_server_that_keeps_its_name() -> None:
    """At another address it keeps its keys; who gets the old address is another server."""
    old: Rows = [("a:1", 600, "x"), ("b:1", 300, None), ("c:1", 300, "z")]
    new: Rows = [("d:1", 600, "x"), ("b:1", 300, None), ("c:1", 300, "z")]
    diff = ketama.Continuum(old).diff(ketama.Continuum(new))
    assert (diff.moved, diff.pairs) == (0, {})
    assert (diff.added, diff.removed, diff.changed) == ((), (), ())
    assert diff.readdressed == (("a:1", "d:1"),)
    assert [row.is_readdressed for row in diff.servers] == [True, False, False]
    first = diff.servers[0]
    assert (first.address_before, first.address_after, first.name) == ("a:1", "d:1", "x")
    assert (first.address, first.unchanged) == ("d:1", True)

    taken = ketama.Continuum(old).diff(ketama.Continuum([*new, ("a:1", 600, None)]))
    assert taken.readdressed == (("a:1", "d:1"),)
    assert taken.added == ("a:1",)
    into = sum(share for (_, end), share in taken.pairs.items() if end == "a:1")
    assert into == taken.servers[-1].share_after
    # Keys move from the server at a:1 to another one at a:1, and that is not the same.
    assert ("a:1", "a:1") in taken.pairs
    assert not taken.is_collateral("a:1", "a:1")

    gone = ketama.Continuum(old).diff(ketama.Continuum([("b:1", 600, "x"), *old[2:]]))
    assert (gone.readdressed, gone.removed) == ((("a:1", "b:1"),), ("b:1",))
    assert [row.address for row in gone.servers] == ["b:1", "b:1", "c:1"]
    assert gone.is_collateral("a:1", "c:1") == (("a:1", "c:1") in gone.pairs)


def test_two_servers_that_swap() -> None:
    """Names, not addresses, say which server is which."""
    old = ketama.Continuum([("a:1", 1, "x"), ("b:1", 2, "y"), ("c:1", 3)])
    new = ketama.Continuum([("a:1", 2, "y"), ("b:1", 1, "x"), ("c:1", 3)])
    diff = old.diff(new)
    assert diff.moved == 0
    assert diff.readdressed == (("b:1", "a:1"), ("a:1", "b:1"))


# In each profile, the text that is hashed for the address.
TEXTS = [
    ("libketama", "10.0.0.1:11211"),
    ("libmemcached", "10.0.0.1"),
    ("libmemcached-spy", "/10.0.0.1:11211"),
    ("xmemcached", "/10.0.0.1:11211"),
    ("evcache", "10.0.0.1/10.0.0.1:11211"),
    ("libmc", "10.0.0.1"),
]


@pytest.mark.parametrize(("profile", "text"), TEXTS)
def test_the_text_that_was_hashed_is_a_name(profile: str, text: str) -> None:
    """A server that gets its hashed text as a name keeps its keys, and is unchanged."""
    old: Rows = [("10.0.0.1:11211", 2, None), ("10.0.0.2:11211", 2, None)]
    new: Rows = [("10.9.9.9:11219", 2, text), *old[1:]]
    before, after = (ketama.Continuum(rows, profile=profile) for rows in (old, new))
    diff = before.diff(after)
    assert diff.moved == 0
    assert diff.readdressed == (("10.0.0.1:11211", "10.9.9.9:11219"),)
    assert diff.changed == ()
    points = {"10.0.0.1:11211": "10.9.9.9:11219"}
    assert after.get_points() == [
        (point, points.get(server, server)) for point, server in before.get_points()
    ]
    # The same text with a character more is another name.
    new[0] = (*new[0][:2], f"{text}x")
    other = before.diff(ketama.Continuum(new, profile=profile))
    assert other.moved > 0.2
    assert (other.readdressed, other.added) == ((), ("10.9.9.9:11219",))


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
    row = twice.diff(once).servers[0]
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
