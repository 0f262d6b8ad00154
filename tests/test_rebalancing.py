"""Who owns which bucket: fair shares, and no move more than it takes."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from math import ceil, floor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ketama
from ketama.admin import buckets

MOST = 2**63 - 1
Servers = dict[str, int]  # address -> weight

addresses = st.integers(1, 30).map(lambda i: f"10.0.0.{i}:11211")
weights = st.one_of(st.integers(1, 9), st.sampled_from([100, 10**6]), st.integers(1, MOST))
lists = st.dictionaries(addresses, weights, min_size=1, max_size=12).filter(
    lambda servers: sum(servers.values()) < 2**64
)


def listed(servers: Servers, owned: Sequence[int]) -> list[str]:
    """Return the address of each bucket's server."""
    return [[*servers][index] for index in owned]


def assigned(servers: Servers, count: int, before: list[str] | None = None) -> list[str]:
    """Assign buckets; before: the address of each one's server, which may have left."""
    index = {address: i for i, address in enumerate(servers)}
    now = None
    if before is not None:
        now = [index.get(address, buckets.NOBODY) for address in before]
    return listed(servers, buckets.assign(servers, count, now))


def shares(servers: Servers, count: int) -> dict[str, Fraction]:
    total = sum(servers.values())
    return {address: Fraction(count * weight, total) for address, weight in servers.items()}


def targets(servers: Servers, count: int, had: Counter[str]) -> dict[str, int]:
    """Return the clamp rule's targets, written down apart from the library."""
    exact = shares(servers, count)
    made = {a: min(max(had[a], floor(e)), ceil(e)) for a, e in exact.items()}
    while (short := count - sum(made.values())) != 0:
        if short > 0:
            chosen = min(
                (a for a in made if made[a] < ceil(exact[a])),
                key=lambda a: (had[a] > 0, -(exact[a] - floor(exact[a])), a),
            )
        else:
            chosen = min(
                (a for a in made if made[a] > floor(exact[a])),
                key=lambda a: (exact[a] - floor(exact[a]), a),
            )
        made[chosen] += 1 if short > 0 else -1
    return made


def moved(before: list[str], after: list[str], servers: Servers) -> tuple[int, int]:
    """Return how many buckets have moved, and of how many the server has left."""
    both = list(zip(before, after, strict=True))
    left = sum(a not in servers for a, _ in both)
    return sum(a != b for a, b in both), left


def check_change(old: Servers, new: Servers, count: int, before: list[str]) -> list[str]:
    """Check the bounds, the targets, and that no bucket moves in vain."""
    after = assigned(new, count, before)
    had, has = Counter(before), Counter(after)
    expected = targets(new, count, Counter({a: had[a] for a in new}))
    assert {a: has[a] for a in new} == expected
    for address, exact in shares(new, count).items():
        assert floor(exact) <= has[address] <= ceil(exact)
    moves, left = moved(before, after, new)
    assert moves == left + sum(max(0, had[a] - expected[a]) for a in new)
    return after


histories = given(
    lists, st.lists(lists, min_size=1, max_size=4), st.integers(0, 8), st.randoms()
)


@histories
@settings(max_examples=200)
def test_any_change(
    first: Servers, later: list[Servers], bits: int, chance: random.Random
) -> None:
    """Targets are the clamp rule's, moves are the fewest, in any order of the servers."""
    check_history(first, later, bits, chance)


@pytest.mark.stress
@histories
@settings(max_examples=1000)
def test_many_changes(
    first: Servers, later: list[Servers], bits: int, chance: random.Random
) -> None:
    """The same, of some 2,500 changes."""
    check_history(first, later, bits, chance)


def check_history(
    first: Servers, later: list[Servers], bits: int, chance: random.Random
) -> None:
    """Check the first assignment, and each later one."""
    count = 1 << bits
    before, old = assigned(first, count), first
    assert Counter(before) == +Counter(targets(first, count, Counter()))
    for new in later:
        after = check_change(old, new, count, before)
        order = [*new]
        chance.shuffle(order)
        assert assigned({address: new[address] for address in order}, count, before) == after
        before, old = after, new


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_brute_force(count: int) -> None:
    """Of all assignments within floor and ceiling, none moves fewer buckets."""
    chance = random.Random(count)
    for _ in range(100):
        servers = {f"s{i}": chance.randint(1, 6) for i in range(chance.randint(1, 3))}
        before = [chance.choice([*servers, "gone"]) for _ in range(count)]
        exact = shares(servers, count)
        fewest = min(
            sum(a != b for a, b in zip(before, made, strict=True))
            for made in product(servers, repeat=count)
            if all(floor(exact[a]) <= made.count(a) <= ceil(exact[a]) for a in servers)
        )
        after = assigned(servers, count, before)
        assert sum(a != b for a, b in zip(before, after, strict=True)) == fewest


@pytest.mark.parametrize("weigh", [lambda _: 100, lambda c: c.randint(1, 1000)])
@pytest.mark.parametrize("size", [4, 8, 100])
def test_nothing_is_needless(weigh: object, size: int) -> None:
    """Where one server joins, leaves or gets another weight, no other two exchange a bucket."""
    chance = random.Random(size)
    assert callable(weigh)
    servers = {f"10.0.0.{i}:11211": weigh(chance) for i in range(size)}
    before = assigned(servers, 65536)
    for _ in range(4):
        one = chance.choice([*servers])
        for new in (
            {**servers, "10.9.9.9:11211": weigh(chance)},
            {a: w for a, w in servers.items() if a != one},
            {**servers, one: 2 * servers[one]},
            {**servers, one: max(1, servers[one] // 2)},
        ):
            changed = {a for a in servers.keys() | new.keys() if servers.get(a) != new.get(a)}
            after = assigned(new, 65536, before)
            pairs = {(a, b) for a, b in zip(before, after, strict=True) if a != b}
            assert pairs
            assert all(a in changed or b in changed for a, b in pairs)


def test_a_hundred_random_weights() -> None:
    """65,536 buckets keep each of them within 1 % of its fair share."""
    chance = random.Random(100)
    servers = {f"10.0.0.{i}:11211": chance.randint(100, 1000) for i in range(100)}
    has, exact = Counter(assigned(servers, 65536)), shares(servers, 65536)
    assert max(has[a] / exact[a] for a in servers) <= 1.01


def failover(owned: list[str], dead: str) -> Counter[str]:
    """Return how many buckets each server gets while one is excluded."""
    got: Counter[str] = Counter()
    for k, owner in enumerate(owned):
        if owner == dead:
            got[next(o for o in owned[k:] + owned[:k] if o != dead)] += 1
    return got


def test_failover_is_spread() -> None:
    """Each other server takes about the same part of the keys of one that is down."""
    servers = {f"10.0.0.{i}:11211": 100 for i in range(8)}
    owned = assigned(servers, 4096)
    for joined in range(4):
        for dead in servers:
            got = failover(owned, dead)
            assert max(got.values()) < 2 * sum(got.values()) / (len(servers) - 1)
            assert len(got) == len(servers) - 1
        servers[f"10.0.1.{joined}:11211"] = 100
        owned = assigned(servers, 4096, owned)


def test_how_many_are_needed() -> None:
    """The bound holds with that number, and it is the least power of two that promises it."""
    chance = random.Random(3)
    for _ in range(60):
        sizes = [chance.choice([1, 10, 1000]) for _ in range(chance.randint(1, 20))]
        servers = {f"s{i}": chance.randint(1, 50) * sizes[i] for i in range(len(sizes))}
        within = chance.choice([0.001, 0.01, 0.1, 1])
        count = buckets.needed(servers, within)
        bound = Fraction(sum(servers.values())) / (
            min(servers.values()) * Fraction(str(within))
        )
        if count is None:
            assert bound > buckets.BUCKETS_MAX
            continue
        assert count >= bound
        assert count == 1 or count / 2 < bound
        has, exact = Counter(assigned(servers, count)), shares(servers, count)
        assert max(has[a] / exact[a] for a in servers) <= 1 + Fraction(str(within))
    assert buckets.needed({"a": MOST, "b": 1}, 1) is None
    assert buckets.needed({"a": MOST, "b": MOST}, 0.01) == 256
    with pytest.raises(ValueError, match="within 0: must be above 0"):
        buckets.needed({"a": 1}, 0)


def test_steps() -> None:
    """Each moves at most so many buckets, all once, and every giver gives in proportion."""
    servers = {f"10.0.0.{i}:11211": 100 * (i + 1) for i in range(5)}
    before = buckets.assign(servers, 1024)
    grown = {**servers, "10.0.0.9:11211": 700}
    after = buckets.assign(grown, 1024, before)
    total = Counter(a for a, b in zip(before, after, strict=True) if a != b)
    now, moves = before, Counter[int]()
    for made in buckets.steps(before, after, 20):
        changed = [k for k in range(1024) if made[k] != now[k]]
        assert len(changed) == 20 or made == after
        assert all(made[k] == after[k] for k in changed)
        moves.update(now[k] for k in changed)
        done = moves.total() / total.total()
        assert all(abs(moves[a] - total[a] * done) <= 1 for a in total)
        now = made
    assert now == after
    assert [*buckets.steps(after, after, 1)] == []
    assert [*buckets.steps([*after], after, 1)] == []
    nobody = array("I", [buckets.NOBODY] * 1024)
    assert [*buckets.steps(nobody, after, 1024)] == [after]


def test_owners_of_a_ring() -> None:
    """The server with most of a bucket has it, found hash by hash of a coarse ring."""
    ring = ketama.Continuum([("a:1", 1), ("b:1", 2), ("c:1", 3)])
    points, count = ring.get_points(), 16
    ends = sorted({p for p, _ in points} | {(k + 1) * 2**28 - 1 for k in range(count)})
    has: list[Counter[str]] = [Counter() for _ in range(count)]
    begin = 0
    for end in ends:
        owner = next((server for point, server in points if point >= begin), points[0][1])
        has[begin >> 28][owner] += end + 1 - begin
        begin = end + 1
    expected = [min(h, key=lambda a, h=h: (-h[a], a)) for h in has]  # type: ignore[misc]
    names = [server.address for server in ring.servers]
    assert [names[index] for index in buckets.owners(ring, count)] == expected


def test_wrong_arguments() -> None:
    with pytest.raises(ketama.ProfileError, match="invalid buckets 3: must be a power of two"):
        buckets.assign(["a"], 3)
    for count in (0, -1, 2 * buckets.BUCKETS_MAX):
        with pytest.raises(ketama.ProfileError, match=f"invalid buckets {count}: must be a po"):
            buckets.assign(["a"], count)
    for index in (-1, 2**40):
        with pytest.raises(IndexError, match=f"no server {index}"):
            buckets.assign(["a"], 2, [0, index])
    with pytest.raises(IndexError, match="bucket 0: no server 4294967294: there are at most 1"):
        next(buckets.steps([2**32 - 2, 0], [0, 0], 1))
    with pytest.raises(IndexError, match="bucket 1: no server 1: there are 1"):
        buckets.assign(["a"], 2, [0, 1])
    with pytest.raises(ValueError, match="owners of 2 buckets are needed, not of 3"):
        buckets.assign(["a"], 2, [0, 0, 0])
    with pytest.raises(ketama.ServersError, match=r"server 3: address .a. is listed twice"):
        buckets.assign(["a", "b", "a"], 2)
    with pytest.raises(ketama.ServersError, match="the list is empty"):
        buckets.assign([], 2)
    with pytest.raises(ValueError, match="invalid most 0"):
        next(buckets.steps(array("I", [0]), array("I", [0]), 0))


# ---- server files


LIST = "# pool\n10.0.0.1:11211 600 # x\n10.0.0.2:11211   300 bee\n\n10.0.0.3:11211 100\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A map of three servers, made from a list."""
    source = tmp_path / "list"
    source.write_text(LIST)
    path = tmp_path / "map"
    path.write_bytes(buckets.new_map(source, buckets=64))
    return path


def test_a_new_map(path: Path, tmp_path: Path) -> None:
    """It has the lines of the list, comments included, and fair shares."""
    lines = path.read_text().splitlines()
    assert lines[0] == "#ketama profile=buckets buckets=64"
    assert [line.split()[:2] for line in lines[1:]] == [
        line.split()[:2] for line in LIST.splitlines()
    ]
    assert lines[2].endswith(" # x")
    points = [server.points for server in ketama.Continuum(path).servers]
    assert points == [39, 19, 6]
    assert [server.name for server in ketama.Continuum(path).servers] == [None, "bee", None]
    again = tmp_path / "list"
    again.write_text("\ufeff#ketama domain=shop version=1\r\na 1\r\nb 1")
    assert buckets.new_map(again, within=0.5).splitlines()[0].endswith(b"buckets=4")
    with pytest.raises(ketama.ServersError, match="is a bucket map already"):
        buckets.new_map(path)
    with pytest.raises(ketama.ServersError, match="--buckets to make one of it"):
        buckets.new_map(path, from_ring=True)
    again.write_text(f"a {MOST}\nb 1\n")
    with pytest.raises(ketama.ServersError, match="1,048,576 buckets do not keep"):
        buckets.new_map(again, within=0.01)


@pytest.mark.parametrize(
    "statement", ["", "#ketama profile=twemproxy hash_tag={}\n", "#ketama profile=dalli\n"]
)
def test_from_a_ring(statement: str, tmp_path: Path) -> None:
    """It moves what is above a fair share, and little of the rest; keys are hashed alike."""
    ring = tmp_path / "ring"
    ring.write_text(statement + "".join(f"10.0.0.{i}:11212 {100 * i}\n" for i in range(1, 9)))
    path = tmp_path / "map"
    path.write_bytes(buckets.new_map(ring, from_ring=True))
    before, after = ketama.Continuum(ring), ketama.Continuum(path)
    for key in ("user:42", "a{b}c", "x"):
        assert before.explain(key).hash == after.explain(key).hash
    excess = sum(max(0, s.share - s.weight / 3600) for s in before.servers)
    found = ketama.Continuum(path).diff(before)
    assert excess - 0.001 <= found.moved <= excess + 0.01
    ring.write_text("#ketama profile=evcache delimiter=:\na 1\nb 1\n")
    with pytest.raises(ketama.ProfileError, match="hashes keys as no bucket map does"):
        buckets.new_map(ring, from_ring=True)


@pytest.mark.parametrize(("count", "within"), [(1024, None), (32, None), (None, 0.01)])
def test_another_number_of_buckets(
    count: int | None, within: float | None, path: Path, tmp_path: Path
) -> None:
    """Comments, names and the hash of keys stay, and with more buckets nearly all keys."""
    text = path.read_text()
    path.write_text(text.replace("buckets=64", "buckets=64 hash=fnv1a_64 hash_tag={}"))
    other = tmp_path / "other"
    other.write_bytes(buckets.new_map(path, buckets=count, within=within))
    words = other.read_text().splitlines()[0].split()
    stated = f"buckets={count or 1024}"
    assert words == ["#ketama", "profile=buckets", stated, "hash=fnv1a_64", "hash_tag={}"]
    assert [line.split()[:2] for line in other.read_text().splitlines()[1:]] == [
        line.split()[:2] for line in text.splitlines()[1:]
    ]
    assert other.read_text().splitlines()[2].endswith(" # x")
    before, after = ketama.Continuum(path), ketama.Continuum(other)
    assert [server.name for server in after.servers] == [None, "bee", None]
    for server in after.servers:
        assert server.share == pytest.approx(server.weight / 1000, abs=1 / (count or 1024))
    if count != 32:  # where two buckets become one, one of two owners loses it
        assert before.diff(after).moved < 0.02
    again = tmp_path / "again"
    again.write_bytes(buckets.new_map(path, buckets=64))
    assert ketama.Continuum(again).diff(before).moved == 0


def test_edits_rebalance(path: Path) -> None:
    """Any edits are one change: the fewest moves from the file as it was."""
    before = ketama.Continuum(path, shared=False)
    with ketama.edit(path) as servers:
        servers.add("10.0.0.4:11211", 100)
        servers.remove("10.0.0.4:11211")
    assert ketama.Continuum(path, shared=False).get_points() == before.get_points()
    with ketama.edit(path) as servers:
        servers.add("10.0.0.4:11211", 1000, "four")
        servers.set_weight("10.0.0.3:11211", 200)
        servers.set_weight("10.0.0.3:11211", 100)
        found = servers.diff()
    assert found is not None
    assert (found.moved, found.collateral) == (0.5, 0)
    assert path.read_text().count("\n") == LIST.count("\n") + 2
    with ketama.edit(path, dry_run=True) as servers:
        servers.remove("10.0.0.1:11211")
        servers.rename("10.0.0.2:11211", "10.0.0.22:11211")
        found = servers.diff()
    assert found is not None
    assert found.readdressed == (("10.0.0.2:11211", "10.0.0.22:11211"),)
    assert found.moved == pytest.approx(0.3, abs=0.02)
    with (
        pytest.raises(ketama.ServersError, match="more than the limit of 10 %"),
        ketama.edit(path, max_moved=0.1) as servers,
    ):
        servers.remove("10.0.0.4:11211")


def test_the_same_weight_is_no_change(path: Path) -> None:
    """So it does not give every server its share half way through a plan."""
    step, *_ = buckets.drain(path.read_bytes(), "map", "10.0.0.1:11211", 0.1)
    path.write_bytes(step)
    with ketama.edit(path) as servers:
        servers.set_weight("10.0.0.1:11211", 600)
    assert path.read_bytes() == step


def test_a_list_is_applied_to_a_map(path: Path) -> None:
    """The map stays one; a server with its name, or else its address, keeps its buckets."""
    with ketama.edit(path) as servers:
        servers.replace(b"10.0.0.3:11211 100\n# y\n10.0.0.20:11211 300 bee\na:1 600\n")
        found = servers.diff()
    assert found is not None
    assert found.readdressed == (("10.0.0.2:11211", "10.0.0.20:11211"),)
    assert found.moved == pytest.approx(0.6, abs=0.02)
    assert found.collateral == 0
    text = path.read_text()
    assert text.startswith("#ketama profile=buckets buckets=64\n10.0.0.3:11211 100")
    assert "\n# y\n" in text
    with ketama.edit(path) as servers:
        servers.replace(b"#ketama profile=libketama\na:1 600\n")
    assert path.read_text() == "#ketama profile=libketama\na:1 600\n"
    with ketama.edit(path) as servers:
        servers.replace(b"#ketama profile=buckets buckets=2\na:1 600 0\nb:1 1 1\n")
    assert path.read_text().startswith("#ketama profile=buckets buckets=2\na:1")


def test_a_map_without_servers(tmp_path: Path) -> None:
    """Servers can be added to a file that states a map."""
    path = tmp_path / "map"
    path.write_text("#ketama profile=buckets buckets=8\n")
    with ketama.edit(path) as servers:
        servers.add("a:1", 1)
        servers.add("b:1", 1)
    assert [server.points for server in ketama.Continuum(path).servers] == [4, 4]


def test_a_map_that_does_not_state_it(tmp_path: Path) -> None:
    """It can be read as one, but not be edited: others would read a list."""
    path = tmp_path / "map"
    path.write_text("a:1 1 0-3\nb:1 1 4-7\n")
    assert ketama.Continuum(path, profile="buckets", buckets=8).servers[1].points == 4
    with (
        pytest.raises(ketama.ServersError, match="must state what it is: begin it with"),
        ketama.edit(path, profile="buckets", buckets=8) as servers,
    ):
        servers.add("c:1", 1)
    assert path.read_text() == "a:1 1 0-3\nb:1 1 4-7\n"
