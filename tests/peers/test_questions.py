"""The comparison of answers, which must fail if one is wrong."""

from __future__ import annotations

import answers
import pytest
from answers import VARIANTS

import ketama
from peers.questions import Form, compare, host_name, ipv4, ipv6, some_keys, some_lists

SERVERS = some_lists(Form([ipv4, ipv6, host_name]))[3]
KEYS = some_keys(3, SERVERS)


def expected(profile: str) -> list[str]:
    return list(ketama.Continuum(SERVERS, profile=profile).lookup_many(KEYS))


def test_right_answers() -> None:
    """Answers that agree are no difference, and there are enough of them."""
    assert compare(SERVERS, KEYS, expected("dalli"), "dalli") == 0
    assert len({*KEYS}) == len(KEYS) >= 20_000


@pytest.mark.parametrize("by_chance", [False, True])
def test_a_wrong_answer(by_chance: bool) -> None:
    """One key of another server is noticed, whether or not ties go by chance."""
    found = expected("dalli")
    found[77] = next(address for address in found if address != found[77])
    with pytest.raises(AssertionError, match=r"^1 of 20\d+ keys differ"):
        compare(SERVERS, KEYS, found, "dalli", by_chance=by_chance)


@pytest.mark.parametrize("by_chance", [False, True])
def test_another_dialect(by_chance: bool) -> None:
    """Another dialect's answers are noticed, even if the program's are right."""
    with pytest.raises(AssertionError, match="keys differ"):
        compare(SERVERS, KEYS, expected("libmc"), "dalli", by_chance=by_chance)


def test_by_chance() -> None:
    """Of two servers that share a point, either may have its keys, if that is by chance."""
    variant = next(each for each in VARIANTS if str(each) == "libmemcached/md5.tsv")
    keys, _ = answers.answers(variant)
    first = answers.servers(variant.path("tieab"))
    other = answers.servers(variant.path("tieba"))
    found = list(ketama.Continuum(other, profile="libmemcached").lookup_many(keys))
    assert compare(first, keys, found, "libmemcached", by_chance=True) > 0
    with pytest.raises(AssertionError, match="keys differ"):
        compare(first, keys, found, "libmemcached")
