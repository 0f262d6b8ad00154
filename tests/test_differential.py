"""Random continua against the model, and properties of every continuum."""

from __future__ import annotations

from array import array
from hashlib import md5
from itertools import accumulate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model import Ring, digests, float32, hash_of

import ketama
from ketama._ketama import ffi, lib
from ketama.servers import PORTS

NAMES = st.text(
    st.characters(exclude_characters=" \t\r\n\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=30,
).filter(lambda name: not name.startswith("#"))
FEW_NAMES = st.sampled_from(["a:1", "b:1", "c:1"])  # duplicates: all their points collide
# Without those that are refused beside an address without a port.
WEIGHTS = st.one_of(st.integers(1, 10), st.integers(1, 2**40)).filter(lambda w: w not in PORTS)
LISTS = st.lists(st.tuples(st.one_of(NAMES, FEW_NAMES), WEIGHTS), min_size=1, max_size=12)
KEYS = st.one_of(st.binary(max_size=300), st.text(st.characters(exclude_categories=["Cs"])))


def by_hash(continuum: ketama.Continuum, h: int) -> tuple[int, int]:
    """Return a hash's point and its server's index, through the C interface."""
    point = ffi.new("uint32_t *")
    server = lib.ketama_find_hash(continuum._now[0], h, point)
    return point[0], server


@given(LISTS, st.lists(KEYS, max_size=20))
def test_lists_and_keys(servers: list[tuple[str, int]], keys: list[bytes | str]) -> None:
    """Points, lookups, numbers of points and shares equal the model's."""
    ring = Ring(servers)
    continuum = ketama.Continuum(servers)
    addresses = [address for address, _ in servers]

    assert [(point, addresses[i]) for point, i in ring.points] == continuum.get_points()
    for key in keys:
        data = key.encode() if isinstance(key, str) else key
        assert hash_of(data) == int.from_bytes(ketama.md5_digest(key)[:4], "little")
        point, server = ring.find(hash_of(data))
        assert (hash_of(data), point, addresses[server]) == continuum.explain(key)
        assert addresses[server] == continuum.lookup(key) == continuum[key]
        if b"\0" not in data:
            assert (point, addresses[server]) == continuum.get_server(key)

    counted = [sum(1 for _, i in ring.points if i == at) for at in range(len(servers))]
    arcs = [arc / 2**32 for arc in ring.arcs(len(servers))]
    assert [
        (a, w, c, s, None) for (a, w), c, s in zip(servers, counted, arcs, strict=True)
    ] == list(continuum.servers)


@given(LISTS, st.lists(KEYS, max_size=80), st.integers(0, 3))
def test_lists_and_batches(
    servers: list[tuple[str, int]], keys: list[bytes | str], count: int
) -> None:
    """Batches, grouped keys, packed keys and successors equal the model's."""
    ring = Ring(servers)
    continuum = ketama.Continuum(servers)
    addresses = [address for address, _ in servers]
    data = [key.encode() if isinstance(key, str) else key for key in keys]
    found = [ring.find(hash_of(key))[1] for key in data]
    expected = [addresses[index] for index in found]

    assert expected == continuum.lookup_many(keys)
    assert expected == continuum.lookup_many(map(bytearray, data))
    assert found == list(continuum.indexes(keys))
    packed = ketama.Packed(b"".join(data), array("Q", accumulate(map(len, data), initial=0)))
    assert found == list(continuum.indexes(packed))
    assert data == list(packed)
    groups: dict[str, list[bytes | str]] = {}
    for key, address in zip(keys, expected, strict=True):
        groups.setdefault(address, []).append(key)
    given = continuum.group_by_server(keys)
    assert groups == given
    assert list(groups) == list(given)

    for key in data[:5]:
        order = list(dict.fromkeys(addresses[i] for i in ring.servers_from(hash_of(key))))
        assert order == continuum.successors(key)
        assert order[:count] == continuum.successors(key, count)
        away = set(order[:count])
        left = [address for address in order if address not in away]
        assert (left[0] if left else None) == continuum.lookup(key, exclude=away)


@given(LISTS, st.integers(0, 2**32 - 1), st.randoms())
def test_hashes_at_points(servers: list[tuple[str, int]], h: int, random: object) -> None:
    """Hashes at a point, one below, one above, 0 and 2**32 - 1 follow the rule."""
    ring = Ring(servers)
    continuum = ketama.Continuum(servers)
    step = max(1, len(ring.points) // 50)
    hashes = {0, 2**32 - 1, h}
    for point, _ in [ring.points[0], ring.points[-1], *ring.points[::step]]:
        hashes |= {(point + delta) % 2**32 for delta in (-1, 0, 1)}
    for tried in hashes:
        assert ring.find(tried) == by_hash(continuum, tried)


@settings(max_examples=30)
@given(st.integers(1, 1000), st.integers(1, 2**40))
@example(61, 600)
@example(122, 600)
@example(237, 1)
@example(244, 600)
@example(474, 600)
@example(488, 600)
@example(933, 600)
def test_equal_weights(count: int, weight: int) -> None:
    """Equal servers get the number of points of the float computation, such as 156."""
    continuum = ketama.Continuum({f"10.0.{i // 256}.{i % 256}": weight for i in range(count)})
    expected = 4 * digests(weight, weight * count, count)
    assert {expected} == {server.points for server in continuum.servers}


@pytest.mark.parametrize("count", [61, 122, 237, 244, 474, 488, 933])
def test_rounding_that_lowers_the_points(count: int) -> None:
    """These numbers of equal servers are known to get 156 points each, not 160."""
    assert digests(600, 600 * count, count) * 4 == 156
    continuum = ketama.Continuum([(f"s{i}", 600) for i in range(count)])
    assert {156} == {server.points for server in continuum.servers}


@given(st.integers(0, 2**70))
def test_the_models_rounding(number: int) -> None:
    """The model's float32 is exact for all numbers small enough to check."""
    rounded = float32(number)
    assert abs(rounded - number) * 2**24 <= number
    assert rounded == float32(rounded)
    assert float32(number % 2**24) == number % 2**24


@given(st.lists(NAMES, min_size=2, max_size=12, unique=True), st.data())
def test_removing_a_server(names: list[str], data: st.DataObject) -> None:
    """With equal weights, removing a server moves only its own keys."""
    gone = data.draw(st.sampled_from(names))
    before = ketama.Continuum(names)
    after = ketama.Continuum([name for name in names if name != gone])
    for number in range(300):
        was, now = before.lookup(str(number)), after.lookup(str(number))
        assert now == was or was == gone
        assert now != gone


@given(LISTS)
def test_shares(servers: list[tuple[str, int]]) -> None:
    """The shares of a continuum sum to exactly 1."""
    shares = [server.share for server in ketama.Continuum(servers).servers]
    assert sum(shares) == 1.0
    assert all(share >= 0 for share in shares)


@given(st.binary(max_size=1000))
def test_md5(message: bytes) -> None:
    """md5_digest equals hashlib's MD5."""
    assert md5(message).digest() == ketama.md5_digest(message)


def test_md5_of_all_lengths() -> None:
    """md5_digest equals hashlib's MD5 for all lengths around block boundaries."""
    for length in range(300):
        message = bytes(i % 251 for i in range(length))
        assert md5(message).digest() == ketama.md5_digest(message)
