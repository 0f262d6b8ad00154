"""The model of the dialects against the answers of real programs."""

from __future__ import annotations

import answers
import pytest
from answers import CIRCLE, CIRCLES, FOLDER, RULES, VARIANTS, WEIGHTS, Variant
from model import HASHES, PROFILES, RefusedError, Ring, labels
from model.hashes import sha1_big_endian, xxh3
from model.xxh3 import xxh3_64


def test_the_answers_are_complete() -> None:
    """Every file of answers is a variant, every list is asked, and nothing is missing."""
    assert len(set(map(str, VARIANTS))) == len(VARIANTS)
    assert set(map(str, VARIANTS)) == {
        f"{path.parent.name}/{path.name}" for path in FOLDER.glob("*/*.tsv")
    }
    assert {v.path(name) for v in VARIANTS for name in v.lists} == set(
        FOLDER.glob("*/*.servers")
    )
    assert {v.profile for v in VARIANTS} | {"libketama"} == set(PROFILES)
    counts = [len(keys) * len(lists) for keys, lists in map(answers.answers, VARIANTS)]
    assert sum(counts) == answers.COUNT


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_answers(variant: Variant) -> None:
    """Each key has the real program's server."""
    keys, lists = answers.answers(variant)
    for name, expected in lists.items():
        servers = answers.servers(variant.path(name))
        ring = Ring(servers, variant.profile, **variant.options)
        assert expected == [ring.find_key(key.encode()) for key in keys], name


def hashes_of_the_real() -> list[tuple[bytes, dict[str, int]]]:
    """Return byte strings, with the hash that each function has of them."""
    text = (FOLDER / "hashes.tsv").read_text(encoding="utf-8")
    (_, *functions), *rows = (line.split("\t") for line in text.splitlines())
    return [
        (bytes.fromhex(key.strip("-")), dict(zip(functions, map(int, found), strict=True)))
        for key, *found in rows
    ]


def test_hashes() -> None:
    """Each function has the real ones' hash of each byte string."""
    rows = hashes_of_the_real()
    assert len(rows) == 113
    assert set(rows[0][1]) == set(HASHES)
    for data, expected in rows:
        assert expected == {name: HASHES[name](data) for name in expected}


def test_hashes_that_the_table_lacks() -> None:
    """XXH3 with a seed and SHA-1, of four keys."""
    keys = [b"", b"a", b"user:42", "ключ".encode()]
    assert [xxh3(key, xxh3_64(b"s")) for key in keys] == [
        777685161,
        3225229220,
        4199843226,
        2584230475,
    ]
    assert [sha1_big_endian(key) for key in keys] == [
        3661210606,
        2264392759,
        2918272291,
        3010131482,
    ]


@pytest.mark.parametrize("profile", CIRCLES)
def test_circles(profile: str) -> None:
    """Two servers have the known number of points, smallest and largest point."""
    points = Ring(CIRCLE, profile).ascending
    assert CIRCLES[profile] == (len(points), points[0], points[-1])


@pytest.mark.parametrize("rule", RULES)
def test_labels(rule: str) -> None:
    """Five weights get the known labels; so do equal ones, in which roundings count."""
    count = getattr(labels, f"ratio_{rule.lower()}")
    of_weights, short = RULES[rule]
    assert of_weights == [count(weight, sum(WEIGHTS), len(WEIGHTS)) for weight in WEIGHTS]
    usual = count(1, 1, 1)
    last = short[-1] if short else 1000
    assert short == [n for n in range(1, last + 1) if count(1, n, n) == usual - 1]
    assert {usual, usual - 1} >= {count(1, n, n) for n in range(1, last + 1)}


@pytest.mark.parametrize("profile", ["nginx", "pingora", "xmemcached"])
def test_too_many_points(profile: str) -> None:
    """A weight of 13,421,773 is refused, as it gives more than 2^31 - 1 points."""
    with pytest.raises(RefusedError):
        Ring([("10.0.0.1:80", 13_421_773)], profile)
