"""How a profile and its options are chosen: by the program, or in the server file."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import images
import pytest

import ketama
from ketama.admin.images import images as all_images

SERVERS = "10.0.0.1:11211 1\n10.0.0.2:11212 1\n"
LISTED = ["10.0.0.1:11211", "10.0.0.2:11212"]
KEYS = [f"user:{i}" for i in range(200)]


def published() -> set[str]:
    """Return the names of the published images."""
    return {name for name in os.listdir(images.folder()) if not name.endswith(".lock")}


def write(folder: Path, text: str) -> Path:
    """Replace the server file, as an editor would that knows of its readers."""
    new = folder / "new"
    new.write_text(text)
    return new.rename(folder / "ketama.servers")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"profile": "ketema"}, 'invalid profile "ketema": must be one of libketama, '),
        ({"profile": "twemproxy", "hash": "sha1"}, 'invalid hash "sha1": must be one of fnv1a'),
        ({"profile": "evcache", "hash": "crc"}, 'invalid hash "crc": must be md5'),
        ({"profile": "nginx", "hash_tag": "{}"}, 'profile "nginx" has no option hash_tag: it '),
        ({"hash_tag": "{}"}, 'profile "libketama" has no option hash_tag: it has hash'),
        ({"profile": "twemproxy", "hash_tag": "{"}, "two characters, such as {}"),
        ({"profile": "twemproxy", "hash_tag": "é{"}, "two characters, such as {}"),
        ({"profile": "memcached-proxy-ketama", "points": 41}, "a multiple of 4, at most 10"),
        ({"profile": "nginx", "points": 0}, 'invalid points "0": must be an integer from 1'),
        ({"profile": "nginx", "points": 1000001}, "an integer from 1 to 1000000"),
        ({"profile": "nginx", "points": "16O"}, 'invalid points "16O"'),
        ({"profile": "node-hashring", "default_port": 65536}, "must be 1-65535"),
        ({"profile": "xmemcached", "format": "spy"}, "must be one of xmemcached, nginx"),
        ({"profile": "memcached-proxy", "filter": "tags"}, "set both, or none"),
        ({"profile": "memcached-proxy", "filter_conf": "{}"}, "set both, or none"),
        (
            {"profile": "memcached-proxy", "filter": "start", "filter_conf": ":"},
            'invalid filter "start": must be one of tags, stop',
        ),
        ({"profile": "evcache", "delimiter": ""}, 'invalid delimiter "": must be 1 to 63'),
        ({"profile": "evcache", "delimiter": "x" * 64}, "must be 1 to 63 bytes"),
    ],
)
def test_invalid_options(options: dict[str, str], reason: str) -> None:
    """Each is a ValueError that says what is allowed, for a list and for a file."""
    with pytest.raises(ketama.ProfileError) as of_list:
        ketama.Continuum(LISTED, **options)  # type: ignore[arg-type]
    assert reason in str(of_list.value)


def test_options_of_a_wrong_type() -> None:
    with pytest.raises(TypeError, match="points must be str or int, not float"):
        ketama.Continuum(LISTED, profile="nginx", points=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has a NUL byte"):
        ketama.Continuum(LISTED, profile="evcache", delimiter="a\0b")
    with pytest.raises(TypeError, match="unexpected keyword argument 'tag'"):
        ketama.Continuum(LISTED, tag="{}")  # type: ignore[call-arg]


def test_values_are_quoted() -> None:
    """A value may have blanks, quotes and backslashes."""
    seeds = ["some seed", 'a"b', "a\\b", "\\", '"', " ", "ключ"]
    rings = [ketama.Continuum(LISTED, profile="memcached-proxy", seed=seed) for seed in seeds]
    hashes = {ring.explain("key").hash for ring in rings}
    assert len(hashes) == len(seeds)


def test_the_file_states_the_dialect(tmp_path: Path) -> None:
    path = write(tmp_path, "#ketama profile=libmemcached hash=crc\n" + SERVERS)
    stated = ketama.Continuum(path)
    again = ketama.Continuum(path)
    assert stated.shared
    assert again.shared
    assert images.generation(path) == 1  # the second one is not a new one
    chosen = ketama.Continuum(LISTED, profile="libmemcached", hash="crc")
    for ring in (stated, again, ketama.Continuum(path, shared=False)):
        assert ring.get_points() == chosen.get_points()
        assert ring.lookup_many(KEYS) == chosen.lookup_many(KEYS)
        assert [ring.explain(key) for key in KEYS] == [chosen.explain(key) for key in KEYS]


def test_what_the_file_states_may_change(tmp_path: Path) -> None:
    """A refresh takes the new dialect; an invalid one leaves the last valid version."""
    path = write(tmp_path, SERVERS)
    ring = ketama.Continuum(path)
    write(tmp_path, "#ketama profile=twemproxy\n" + SERVERS)
    assert ring.roll()
    twemproxy = ketama.Continuum(LISTED, profile="twemproxy")
    assert ring.lookup_many(KEYS) == twemproxy.lookup_many(KEYS)
    write(tmp_path, "#ketama profile=twemproxi\n" + SERVERS)
    with pytest.raises(ketama.ServersError, match=r"ketama\.servers:1: invalid profile"):
        ring.roll()
    assert ring.lookup_many(KEYS) == twemproxy.lookup_many(KEYS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#ketama profile\n", '1: unexpected option "profile": write key=value'),
        ("#ketama profil=nginx\n", '1: unknown option "profil": must be one of profile, hash,'),
        ("#ketama hash=md5 hash=md5\n", "1: option hash is given twice"),
        ('#ketama profile="nginx\n', "1: invalid value of option profile: unbalanced"),
        ('#ketama profile="nginx"x\n', "1: invalid value of option profile: unbalanced"),
        ("#ketama profile=\n", '1: invalid profile "": must be 1 to 63 bytes'),
        ("#ketama profile=nginx seed=1\n", '1: profile "nginx" has no option seed: it has'),
        ("#ketama domain=-shop\n", '1: invalid domain "-shop": must be 1-63 of a-z'),
        ("#ketama domain=Shop\n", '1: invalid domain "Shop": must be 1-63 of a-z'),
        ("#ketama version=07\n", '1: invalid version "07": must be 1-18 digits'),
        ("#ketama version=" + "1" * 19 + "\n", "1: invalid version"),
        ("#ketama sha256=4861eded\n", '1: invalid sha256 "4861eded": must be the first 16'),
        ("#ketama sha256=4861EDED7B60722F\n", "1: invalid sha256"),
        ("#ketama domain=a domain=b\n", "1: option domain is given twice"),
        ("# x\n#ketama profile=nginx\n", "2: options must be on the first line"),
        ("#ketama " + "x" * 1100 + "\n", "1: options are too long"),
    ],
)
def test_invalid_statements(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text + SERVERS)
    with pytest.raises(ketama.ServersError) as caught:
        ketama.Continuum(path)
    assert f"{path}:{message}" in str(caught.value)
    (error,) = (found for found in ketama.check(path) if found.severity == "error")
    assert message == f"{error.line}:" + f" {error.reason}"[: len(message) - 2]


LABELS = "domain=shop version=202611245334335 sha256=4861eded7b60722f"


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    """It changes no answer, and the file's options count beside it."""
    plain = ketama.Continuum(LISTED)
    labelled = ketama.Continuum(write(tmp_path, f"#ketama {LABELS}\n" + SERVERS))
    assert labelled.lookup_many(KEYS) == plain.lookup_many(KEYS)
    text = f"#ketama {LABELS} profile=twemproxy hash=md5\n" + SERVERS
    path = write(tmp_path, text)
    chosen = ketama.Continuum(LISTED, profile="twemproxy", hash="md5")
    assert ketama.Continuum(path).lookup_many(KEYS) == chosen.lookup_many(KEYS)
    assert {found.severity for found in ketama.check(path)} == {"note"}
    assert ketama.agree(path, "twemproxy hash=md5", "dalli").profiles == (
        "twemproxy hash=md5",
        "dalli",
    )


@pytest.mark.parametrize("first", ["#ketama", "#ketamax profile=nginx", "# ketama a=b", "#"])
def test_comments_that_state_nothing(tmp_path: Path, first: str) -> None:
    path = write(tmp_path, f"{first}\n{SERVERS}")
    assert ketama.Continuum(path).get_points() == ketama.Continuum(LISTED).get_points()


def test_contradictions(tmp_path: Path) -> None:
    """A program and the file must agree, whether the image exists or not."""
    path = write(tmp_path, "#ketama profile=twemproxy hash=md5\n" + SERVERS)
    for _ in range(2):
        with pytest.raises(ketama.ServersError) as caught:
            ketama.Continuum(path, profile="libmemcached")
        assert str(caught.value) == (
            f'{path}:1: the file states profile="twemproxy", the program has chosen '
            '"libmemcached": leave one of them out'
        )
        with pytest.raises(ketama.ServersError, match='states hash="md5"'):
            ketama.Continuum(path, hash="fnv1a_64")
        ring = ketama.Continuum(path, profile="twemproxy", hash="md5", hash_tag="{}")
        assert ring.explain("a{user}b").hash == ketama.hashi("user")


def test_the_hash_of_keys_is_no_part_of_the_image(tmp_path: Path) -> None:
    """Rings that differ in the hash of keys share an image, unless it makes their points."""
    path = write(tmp_path, SERVERS)
    ketama.Continuum(path, profile="twemproxy", hash="md5")
    one = published()
    assert len(one) == 1
    other = ketama.Continuum(path, profile="twemproxy", hash="crc32", hash_tag="{}")
    assert other.shared
    assert published() == one
    ketama.Continuum(path, profile="libmemcached-ketama", hash="md5")
    ketama.Continuum(path, profile="libmemcached-ketama", hash="crc")
    ketama.Continuum(path, profile="memcached-proxy", points=40)
    ketama.Continuum(path, profile="memcached-proxy", points=80, seed="s")
    assert len(published()) == 5


def test_profiles_side_by_side(tmp_path: Path) -> None:
    """Each profile of a file has an image, and follows the file by itself."""
    path = write(tmp_path, SERVERS)
    rings = {name: ketama.Continuum(path, profile=name) for name in ("dalli", "enyim")}
    write(tmp_path, SERVERS + "10.0.0.3:11211 1\n")
    for name, ring in rings.items():
        assert ring.roll()
        assert ring.shared
        assert ring.generation == 2
        expected = ketama.Continuum([*LISTED, "10.0.0.3:11211"], profile=name)
        assert ring.lookup_many(KEYS) == expected.lookup_many(KEYS)


@pytest.mark.parametrize("of_file", [False, True])
def test_copies_keep_the_profile(tmp_path: Path, of_file: bool) -> None:
    source = write(tmp_path, SERVERS) if of_file else LISTED
    ring = ketama.Continuum(source, profile="evcache", delimiter=":", points=400)
    for same in (copy.copy(ring), copy.deepcopy(ring), pickle.loads(pickle.dumps(ring))):
        assert same.get_points() == ring.get_points()
        assert same.explain("a:b") == ring.explain("a")


def test_everything_else_works(tmp_path: Path) -> None:
    """Successors, exclusion and exact moves are those of the profile's ring."""
    servers = [f"10.0.0.{i}:11211" for i in range(1, 9)]
    ring = ketama.Continuum(servers, profile="dalli")
    smaller = ketama.Continuum(servers[:-1], profile="dalli")
    for key in KEYS:
        first, *others = ring.successors(key)
        assert first == ring[key]
        assert sorted([first, *others]) == servers
        assert ring.lookup(key, exclude={first}) == others[0]
    moves = ring.diff(smaller)
    assert moves.removed == (servers[-1],)
    assert moves.moved == pytest.approx(ring.servers[-1].share)
    assert sum(server.share for server in ring.servers) == 1.0


def test_who_states_and_who_chooses_share(tmp_path: Path) -> None:
    """One image serves those who choose what the file states, and those who choose nothing."""
    path = write(tmp_path, "#ketama profile=memcached-proxy points=80\n" + SERVERS)
    choices: list[dict[str, Any]] = [
        {"profile": "memcached-proxy", "hash": "md5"},  # no part of the ring
        {},
        {"profile": "memcached-proxy", "points": 80, "seed": "s"},
        {"hash": "md5"},
    ]
    rings = [ketama.Continuum(path, **choice) for choice in choices]
    assert all(ring.shared for ring in rings)
    assert len({ring.explain("key").hash for ring in rings}) == 3
    (image,) = all_images()[1]
    assert (image.state, image.generation) == ("current", 1)

    # When the file no longer states it, each has the ring that it has chosen.
    write(tmp_path, SERVERS)
    assert all(ring.roll() for ring in rings)
    for ring, choice in zip(rings, choices, strict=True):
        private = ketama.Continuum(LISTED, **choice)
        assert ring.get_points() == private.get_points()
        assert ring.lookup_many(KEYS) == private.lookup_many(KEYS)
        assert ring.shared
    write(tmp_path, "#ketama profile=memcached-proxy points=80\n" + SERVERS)
    assert all(ring.roll() for ring in rings)
    assert len({tuple(ring.get_points()) for ring in rings}) == 1
