"""The ways to search a ring: each against the model, on rings made to be awkward."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from library import LIBRARY, compile_program
from model import SEARCHES

HIGHEST = 2**32 - 1
RINGS = 2000


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the program that gives each search a profile of its own."""
    path = tmp_path_factory.mktemp("searches") / "searches"
    compile_program("searches.c", path, "-Wall", "-Werror", f"-I{LIBRARY}")
    return path


def some_points(chance: random.Random) -> list[int]:
    """Return up to 40 points, with ties, neighbours, and both ends of the ring among them."""
    edges = [0, 1, 2, HIGHEST - 1, HIGHEST]
    points: list[int] = []
    for _ in range(chance.randint(1, 40)):
        kinds = [chance.randrange(2**32), chance.choice(edges), chance.randrange(8)]
        points.append(chance.choice([*kinds, *points[-1:]]))
    return points


def hashes_around(points: list[int], chance: random.Random) -> list[int]:
    """Return hashes on, one below and one above each point, and some anywhere."""
    around = {(point + step) % 2**32 for point in points for step in (-1, 0, 1)}
    return [*sorted(around), 0, HIGHEST, *(chance.randrange(2**32) for _ in range(5))]


@pytest.mark.parametrize("search", SEARCHES)
def test_search(search: str, program: Path) -> None:
    """Every hash has the model's server and point, and the points are the ring's own."""
    chance = random.Random(search)
    rings = [some_points(chance) for _ in range(RINGS)]
    asked = [hashes_around(points, chance) for points in rings]
    lines = [
        " ".join(map(str, points)) + ":" + " ".join(map(str, hashes)) + "\n"
        for points, hashes in zip(rings, asked, strict=True)
    ]
    done = subprocess.run(
        [program, search], input="".join(lines), capture_output=True, text=True, check=True
    )
    answers = done.stdout.splitlines()
    for points, hashes, answer in zip(rings, asked, answers, strict=True):
        found, own = (list(map(int, part.split())) for part in answer.split(":"))
        expected = [SEARCHES[search](points, h) for h in hashes]
        assert expected == found[::2]
        assert [points[server] for server in expected] == found[1::2]
        assert sorted(points) == own[::2]
        assert [points[server] for server in own[1::2]] == own[::2]
        assert sorted(own[1::2]) == list(range(len(points)))
