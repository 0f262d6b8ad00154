"""The library's dialects against the answers of real programs."""

from __future__ import annotations

import answers
import pytest
from answers import CIRCLE, CIRCLES, RULED, RULES, VARIANTS, WEIGHTS, Variant

import ketama


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_answers(variant: Variant) -> None:
    """Each key has the real program's server, in a batch and alone."""
    keys, lists = answers.answers(variant)
    for name, expected in lists.items():
        path = variant.path(name)
        continuum = ketama.Continuum(path, profile=variant.profile, **variant.options)
        addresses = [address for address, _, _ in answers.servers(path)]
        assert addresses == [server.address for server in continuum.servers], name
        assert expected == list(continuum.indexes(keys)), name
        assert [addresses[i] for i in expected[::50]] == [
            continuum.lookup(key) for key in keys[::50]
        ], name


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_servers_in_memory(variant: Variant) -> None:
    """A list of servers gives the answers of a file of them."""
    keys, lists = answers.answers(variant)
    name, expected = list(lists.items())[-1]
    servers = answers.servers(variant.path(name))
    continuum = ketama.Continuum(servers, profile=variant.profile, **variant.options)
    assert expected == list(continuum.indexes([key.encode() for key in keys]))


@pytest.mark.parametrize("profile", CIRCLES)
def test_circles(profile: str) -> None:
    """Two servers have the known number of points, smallest and largest point."""
    points = [point for point, _ in ketama.Continuum(CIRCLE, profile=profile).get_points()]
    assert CIRCLES[profile] == (len(points), points[0], points[-1])


def labels(rule: str, weights: list[int]) -> list[int]:
    """Return how many labels servers of these weights get, by the rule."""
    profile, points_per_label = RULED[rule]
    servers = [(f"10.0.0.{i}:11211", weight) for i, weight in enumerate(weights)]
    continuum = ketama.Continuum(servers, profile=profile)
    return [server.points // points_per_label for server in continuum.servers]


@pytest.mark.parametrize("rule", RULES)
def test_labels(rule: str) -> None:
    """Five weights get the known labels; so do equal ones, in which roundings count."""
    of_weights, short = RULES[rule]
    assert of_weights == labels(rule, WEIGHTS)
    usual = 160 // RULED[rule][1]
    for count in range(1, 1 + max(short, default=125)):
        expected = usual - 1 if count in short else usual
        assert {expected} == set(labels(rule, [1] * count)), count


@pytest.mark.parametrize("profile", ["nginx", "pingora", "xmemcached"])
def test_too_many_points(profile: str) -> None:
    """A weight of 13,421,773 is refused, as it gives more than 2^31 - 1 points."""
    with pytest.raises(ketama.ServersError, match="too many"):
        ketama.Continuum([("10.0.0.1:80", 13_421_773)], profile=profile)
