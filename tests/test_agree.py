"""On which keys programs agree, against the model and on real keys; why not; remedies."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from model import Ring

import ketama
from ketama.admin.agree import _margin

Entry = tuple[str, int, str | None]
HASHES = 2**32
VECTORS = Path(__file__).parent / "vectors"
EQUAL: list[Entry] = [(f"10.0.0.{number}:11211", 1, None) for number in range(1, 5)]
UNEQUAL: list[Entry] = [
    ("10.0.0.1:11211", 46, None),
    ("10.0.0.2:11212", 14, None),
    ("10.0.0.3:11211", 60, None),
    ("10.0.0.4:11213", 42, None),
    ("10.0.0.5:11211", 13, None),
]
# Profiles that hash keys alike.
MD5 = [
    "libketama", "libmemcached", "twemproxy hash=md5", "spymemcached", "evcache", "xmemcached",
    "memcached-proxy hash=md5", "memcached-proxy-ketama hash=md5 points=40",
    "libmemcached-ketama hash=md5", "libmc", "uhashring", "hash_ring",
    "node-hashring default_port=11211", "predis", "enyim", "couchbase",
]  # fmt: skip
CRC = ["nginx", "pingora", "dalli", "twemproxy hash=crc32a"]


def written(path: Path, servers: Sequence[Entry], first: str = "") -> Path:
    """Write a server file."""
    lines = [" ".join(str(part) for part in entry if part is not None) for entry in servers]
    path.write_text("\n".join([*([first] if first else []), *lines, ""]))
    return path


@pytest.fixture
def equal(tmp_path: Path) -> Path:
    """A file of servers with the weight 1."""
    return written(tmp_path / "equal.servers", EQUAL)


@pytest.fixture
def unequal(tmp_path: Path) -> Path:
    """A file of servers with different weights and ports."""
    return written(tmp_path / "unequal.servers", UNEQUAL)


def options_of(spec: str) -> tuple[str, dict[str, Any]]:
    """Return the profile and the options of one."""
    name, *words = spec.split()
    options: dict[str, Any] = dict(word.split("=", 1) for word in words)
    for number in ("points", "default_port"):
        if number in options:
            options[number] = int(options[number])
    return name, options


def opened(servers: list[Entry], spec: str) -> ketama.Continuum:
    """Return a program's ring."""
    name, options = options_of(spec)
    return ketama.Continuum(servers, profile=name, **options)


def model_of(servers: list[Entry], spec: str) -> Ring:
    """Return a program's ring, as the model has it."""
    name, options = options_of(spec)
    return Ring(servers, name, **options)


def common_by_the_model(*rings: Ring) -> int:
    """Count the hashes that belong to one server in both: arcs begin at or after a point."""
    points = {point for ring in rings for point in ring.ascending}
    cuts = sorted({0, *points, *((point + 1) % HASHES for point in points)})
    return sum(
        end - begin
        for begin, end in zip(cuts, [*cuts[1:], HASHES], strict=True)
        if rings[0].find(begin)[1] == rings[1].find(begin)[1]
    )


@pytest.mark.parametrize("group", [MD5, CRC], ids=["md5", "crc32a"])
@pytest.mark.parametrize("servers", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_exact_shares(tmp_path: Path, group: list[str], servers: list[Entry]) -> None:
    """Where keys are hashed alike, the share is the model's, hash by hash; none is asked."""
    path = written(tmp_path / "x.servers", servers)
    found = ketama.agree(path, *group)
    models = {spec: model_of(servers, spec) for spec in group}
    pairs = {(pair.first, pair.second): pair for pair in found.pairs}
    assert set(pairs) == set(combinations(group, 2))
    for (one, other), pair in pairs.items():
        assert (pair.exact, pair.keys, pair.agreed, pair.margin) == (True, 0, 0, 0)
        assert pair.share * HASHES == common_by_the_model(models[one], models[other]), (
            one,
            other,
        )
        assert (pair.share == 1) == (not pair.causes), (one, other)


def some_keys(count: int) -> list[str]:
    """Return keys of several kinds."""
    chance = random.Random(7)
    kinds = ("user:%d", "{user:%d}:name", "ключ%d", "%d")
    return [kinds[i % 4] % chance.randrange(10**6) for i in range(count)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("libketama", "twemproxy"),
        ("libmemcached", "memcached-proxy-twemproxy"),
        ("twemproxy hash_tag={}", "twemproxy"),
        ("libmc hash=fnv1_32", "libmemcached hash=fnv1_32"),
        ("memcached-proxy filter=tags filter_conf={}", "memcached-proxy"),
        ("dalli", "nginx"),
    ],
)
def test_keys_that_are_given(unequal: Path, one: str, other: str) -> None:
    """Keys are counted as lookups find them, one by one, whether the share is exact or not."""
    keys = some_keys(9000)  # more than are looked up at once
    first, second = opened(UNEQUAL, one), opened(UNEQUAL, other)
    agreed = sum(first.lookup(key) == second.lookup(key) for key in keys)
    (pair,) = ketama.agree(unequal, one, other, keys=iter(keys)).pairs
    assert (pair.keys, pair.agreed, pair.margin) == (len(keys), agreed, 0)
    if not pair.exact:
        assert pair.share == agreed / len(keys)
    assert pair.exact == ((one, other) == ("dalli", "nginx"))


@pytest.mark.parametrize(("one", "other"), [("libketama", "libmc"), ("uhashring", "evcache")])
def test_an_exact_share_is_that_of_many_keys(unequal: Path, one: str, other: str) -> None:
    """Of random keys, as many agree as the exact share says, within six deviations."""
    keys = [f"user:{number}" for number in range(40_000)]
    (pair,) = ketama.agree(unequal, one, other, keys=keys).pairs
    deviation = (pair.share * (1 - pair.share) / len(keys)) ** 0.5
    assert 0 < pair.share < 1
    assert abs(pair.agreed / pair.keys - pair.share) < 6 * deviation


def test_random_keys(equal: Path) -> None:
    """They are always the same, as many as are wanted, and the share has a margin."""
    once, again = (ketama.agree(equal, "libmc", "dalli", random_keys=5000) for _ in range(2))
    assert once == again
    (pair,) = once.pairs
    assert (pair.exact, pair.keys) == (False, 5000)
    assert pair.share == pair.agreed / 5000
    assert pair.margin == _margin(pair.share, 5000)
    # Tags are asked for, too, where one of the two hashes only what is in them.
    (tagged,) = ketama.agree(equal, "predis", "predis hash_tag={}", random_keys=5000).pairs
    assert 0.5 < tagged.share < 0.75
    for spec in ("evcache delimiter=:", "memcached-proxy filter=stop filter_conf=::"):
        bare = spec.split()[0]
        (cut,) = ketama.agree(equal, bare, spec, random_keys=5000).pairs
        assert not cut.exact
        assert cut.share < 0.75, spec


def test_the_margin() -> None:
    """It is half of Wilson's interval: (0.4038, 0.5962) for 50 of 100, (0.9630, 1) for all."""
    assert _margin(0.5, 100) == pytest.approx(0.0962, abs=5e-5)
    assert _margin(1, 100) == pytest.approx(0.0185, abs=5e-5)


# ---- causes

CAUSES = [
    ("libketama", "libmemcached", {"text": "port 11211 is left out in libmemcached"}),
    ("twemproxy", "libmemcached", {"hash": "other key hash"}),
    ("libketama", "xmemcached", {"text": "a slash comes first in xmemcached"}),
    ("libketama", "evcache", {"text": "the host is hashed twice in evcache"}),
    (
        "dalli",
        "nginx",
        {
            "text": "host and port are hashed apart in nginx",
            "points": "points made in another way",
            "search": "another point is found for a hash",
        },
    ),
    (
        "hash_ring",
        "uhashring",
        {"points": "other number of points, points made in another way"},
    ),
    ("libketama", "uhashring", {"search": "another point is found for a hash"}),
    ("predis hash_tag={}", "predis", {"part": "another part of the key is hashed"}),
    ("evcache points=80", "evcache", {"points": "other number of points"}),
    (
        "spymemcached",
        "elasticache-java",
        {"hash": "other key hash", "points": "points made in another way"},
    ),
]


@pytest.mark.parametrize(("one", "other", "expected"), CAUSES)
def test_causes(equal: Path, one: str, other: str, expected: dict[str, str]) -> None:
    """What differs and matters is a cause, and nothing else, in either direction."""
    for pair in (
        *ketama.agree(equal, one, other).pairs,
        *ketama.agree(equal, other, one).pairs,
    ):
        assert {cause.kind: cause.summary for cause in pair.causes} == expected
        assert [cause.share for cause in pair.causes] == sorted(c.share for c in pair.causes)
        assert all(cause.share < 1 for cause in pair.causes)


def test_brackets(tmp_path: Path) -> None:
    """An IPv6 address is hashed with brackets, or without."""
    path = written(
        tmp_path / "six.servers", [("[::1]:11213", 1, None), ("[::2]:11213", 1, None)]
    )
    (pair,) = ketama.agree(path, "twemproxy hash=md5", "libmemcached").pairs
    (cause,) = pair.causes
    assert cause.summary == "brackets are left out in libmemcached"
    assert cause.detail == (
        "[::1]:11213 is hashed as [::1]:11213 in twemproxy, ::1:11213 in libmemcached"
    )


def test_details(unequal: Path) -> None:
    """They name what each of the two does, with a server of the file as the example."""
    (pair,) = ketama.agree(unequal, "libketama", "memcached-proxy-twemproxy").pairs
    assert {cause.kind: cause.detail for cause in pair.causes} == {
        "text": "10.0.0.1:11211 is hashed as 10.0.0.1:11211 in libketama, "
        "10.0.0.1 in memcached-proxy-twemproxy",
        "points": "10.0.0.1:11211 has 208 (in proportion to the weight) in libketama, "
        "160 (160 for each server, whatever its weight) in memcached-proxy-twemproxy",
        "hash": "md5 in libketama, xxh3 in memcached-proxy-twemproxy",
    }
    # Two of one profile are told apart by their options.
    (pair,) = ketama.agree(unequal, "twemproxy", "twemproxy hash=crc32a").pairs
    assert pair.causes[0].detail == "fnv1a_64 in twemproxy, crc32a in twemproxy hash=crc32a"


def test_what_a_cause_costs_by_itself(equal: Path) -> None:
    """It is how two programs agree that differ in nothing else."""

    def share(one: str, other: str) -> float:
        return ketama.agree(equal, one, other).pairs[0].share

    def causes(one: str, other: str) -> dict[str, float]:
        (pair,) = ketama.agree(equal, one, other).pairs
        return {cause.kind: cause.share for cause in pair.causes}

    found = causes("libketama", "twemproxy")
    assert found["text"] == share("libketama", "libmemcached")
    assert found["hash"] == share("twemproxy hash=md5", "twemproxy")
    found = causes("libketama", "libmc")
    assert found["text"] != found["points"] == share("libmemcached", "libmc")
    found = causes("spymemcached", "elasticache-java")
    assert sorted(found) == ["hash", "points"]
    found = causes("predis", "twemproxy hash=md5 hash_tag={}")
    assert found["text"] == share("libketama", "libmemcached")
    assert found["part"] == share("twemproxy hash=md5", "twemproxy hash=md5 hash_tag={}")


def test_equal_points() -> None:
    """Which of equal points wins is a cause where there are some, and only there."""
    path = VECTORS / "tie100" / "ketama.servers"
    (pair,) = ketama.agree(path, "libketama", "predis").pairs
    assert [cause.kind for cause in pair.causes] == ["equal points"]
    assert pair.causes[0].detail == (
        "the server that is listed first in libketama, the server that is listed last in predis"
    )
    assert 0.999 < pair.share == pair.causes[0].share < 1


def test_keys_that_do_not_tell(equal: Path) -> None:
    """Where all keys that were asked agree by luck, the difference is named all the same."""
    first, second = opened(EQUAL, "memcached-proxy"), opened(EQUAL, "memcached-proxy seed=s")
    keys = [key for key in some_keys(200) if first.lookup(key) == second.lookup(key)]
    found = ketama.agree(equal, "memcached-proxy", "memcached-proxy seed=s", keys=keys)
    (pair,) = found.pairs
    assert found.agreed
    assert (pair.exact, pair.share) == (False, 1)
    (cause,) = pair.causes
    assert (cause.kind, cause.share) == ("hash", 1)
    assert cause.detail.startswith("xxh3 in memcached-proxy, xxh3 with the seed ")


def test_one_function_under_two_names(equal: Path) -> None:
    """What counts is the function: libmc's crc_32 is the one of dalli, whatever its name."""
    (pair,) = ketama.agree(equal, "dalli", "libmc hash=crc_32").pairs
    assert pair.exact
    (pair,) = ketama.agree(equal, "libmemcached hash=crc", "twemproxy hash=crc32").pairs
    assert (pair.exact, pair.share) == (True, 1)
    (pair,) = ketama.agree(equal, "libmc hash=fnv1_32", "libmemcached hash=fnv1_32").pairs
    assert not pair.exact  # their bytes above 127 differ


# ---- remedies


def programs_after(
    remedy: ketama.Remedy, servers: list[Entry], own: str
) -> Iterator[ketama.Continuum]:
    """Yield the ring of each program once the steps were done, by what they say alone."""
    steps = remedy.steps
    weight = next((int(step.write) for step in steps if step.kind == "weights"), 0)
    for spec in remedy.profiles:
        names: list[str] = []
        now = spec
        for step in steps:
            if step.kind == "dialect" and spec == own:
                now = step.write.removeprefix("#ketama profile=")
            if step.kind == "options" and step.profile == spec:
                changed = step.write.split()
                dropped = {changed[i + 1] for i, word in enumerate(changed) if word == "no"}
                kept = [
                    word
                    for word in now.split()
                    if word.partition("=")[0]
                    not in dropped | {word.partition("=")[0] for word in changed}
                ]
                now = " ".join([*kept, *(word for word in changed if "=" in word)])
            if step.kind == "profile" and step.profile == spec:
                now = step.write
            if step.kind == "names" and step.profile == (None if spec == own else spec):
                names = [line.split()[2] for line in step.write.splitlines()]
        listed: list[Entry] = [
            (address, weight or own_weight, names[at] if names else None)
            for at, (address, own_weight, _) in enumerate(servers)
        ]
        yield opened(listed, now)


NAMED = "names {} " + "\n".join(f"{address} 1 {address}" for address, _, _ in EQUAL)
FORMS: list[Entry] = [
    ("10.0.0.1:11211", 5, None),
    ("[::1]:11212", 3, None),
    ("/run/memcached.sock", 4, None),
]
REMEDIES = [
    (
        FORMS,
        ["libmemcached", "twemproxy hash=md5"],
        {
            "names twemproxy hash=md5 10.0.0.1:11211 5 10.0.0.1\n"
            "[::1]:11212 3 ::1:11212\n/run/memcached.sock 4 /run/memcached.sock:0"
        },
    ),
    (EQUAL, ["libmemcached", "twemproxy"], {"options twemproxy hash=md5"}),
    (EQUAL, ["libketama", "libmemcached"], {"dialect None #ketama profile=libmemcached"}),
    (
        EQUAL,
        ["libketama", "twemproxy hash=md5"],
        {NAMED.format("twemproxy hash=md5")},
    ),
    (
        EQUAL,
        ["libmemcached", "twemproxy", "libketama", "spymemcached"],
        {
            "dialect None #ketama profile=libmemcached",
            "options twemproxy hash=md5",
            "options spymemcached format=libmemcached",
        },
    ),
    (
        UNEQUAL,
        ["libmemcached", "memcached-proxy-ketama"],
        {
            "weights None 1",
            "profile memcached-proxy-ketama memcached-proxy-twemproxy hash=md5",
        },
    ),
    (
        UNEQUAL,
        ["predis hash_tag={}", "node-hashring"],
        {"options predis hash_tag={} no hash_tag"},
    ),
    (
        EQUAL,
        ["libmemcached", "node-hashring"],
        {"options node-hashring default_port=11211"},
    ),
    (
        EQUAL,
        ["predis hash_tag={}", "twemproxy hash=md5 hash_tag=[]"],
        {
            NAMED.format("twemproxy hash=md5 hash_tag=[]"),
            "options twemproxy hash=md5 hash_tag=[] hash_tag={}",
        },
    ),
    (EQUAL, ["evcache points=80", "evcache"], {"options evcache points=80 no points"}),
]


@pytest.mark.parametrize(
    ("servers", "profiles", "expected"), REMEDIES, ids=[" ".join(row[1]) for row in REMEDIES]
)
def test_remedies(
    tmp_path: Path, servers: list[Entry], profiles: list[str], expected: set[str]
) -> None:
    """The expected one is found; and whoever does what one says finds that it is true."""
    path = written(tmp_path / "x.servers", servers)
    found = ketama.agree(path, *profiles)
    assert not found.agreed
    steps = [
        {f"{step.kind} {step.profile} {step.write}" for step in remedy.steps}
        for remedy in found.remedies
    ]
    assert expected in steps
    keys = some_keys(4000)
    for remedy in found.remedies:
        assert set(remedy.profiles) == set(found.profiles)
        rings = [*programs_after(remedy, servers, "libketama")]
        answers = [ring.lookup_many(keys) for ring in rings]
        assert remedy.share == 1
        assert all(each == answers[0] for each in answers), remedy


def test_remedies_are_tried_on_the_whole_file(tmp_path: Path) -> None:
    """Of 25 equal servers, names make too little: twemproxy rounds to 156 points, not 160."""
    servers: list[Entry] = [(f"10.0.0.{number}:11211", 1, None) for number in range(25)]
    path = written(tmp_path / "x.servers", servers)
    found = ketama.agree(path, "libketama", "twemproxy hash=md5")
    kinds = [{step.kind for step in remedy.steps} for remedy in found.remedies]
    assert kinds == [{"dialect"}]
    named: list[Entry] = [(address, weight, address) for address, weight, _ in servers]
    ring = opened(servers, "libketama")
    moved = ring.diff(opened(named, "twemproxy hash=md5")).moved
    assert moved > 0.001
    assert found.remedies[0].share == 1
    few = ketama.agree(written(path, servers[:4]), "libketama", "twemproxy hash=md5")
    assert {"names"} in [{step.kind for step in remedy.steps} for remedy in few.remedies]


def test_nothing_to_mend(equal: Path) -> None:
    """Programs that agree need no remedy."""
    found = ketama.agree(equal, "libketama", "spymemcached", "couchbase")
    assert found.agreed
    assert not found.remedies
    assert [pair.causes for pair in found.pairs] == [(), (), ()]


def test_remedies_for_some(equal: Path) -> None:
    """Where nothing makes all agree, what makes two of them agree is found."""
    found = ketama.agree(equal, "dalli", "libmemcached", "twemproxy")
    assert [remedy.profiles for remedy in found.remedies] == [("libmemcached", "twemproxy")]
    assert ketama.agree(equal, "dalli", "enyim").remedies == ()


# ---- which programs are compared


def test_one_profile(equal: Path, tmp_path: Path) -> None:
    """It is compared with what the file states, or with libketama."""
    assert ketama.agree(equal, "twemproxy").profiles == ("libketama", "twemproxy")
    stated = written(tmp_path / "stated.servers", EQUAL, "#ketama profile=libmemcached")
    found = ketama.agree(stated, "twemproxy hash=md5")
    assert found.profiles == ("libmemcached", "twemproxy hash=md5")
    assert found.agreed
    assert ketama.agree(stated, "profile=libmemcached").profiles == ("libmemcached",)


def test_several_profiles(equal: Path, tmp_path: Path) -> None:
    """Each two are compared, once, and what the file states as well."""
    found = ketama.agree(equal, "libmc", "dalli", "libmc")
    assert found.profiles == ("libmc", "dalli")
    assert len(found.pairs) == 1
    line = "\ufeff#ketama\tprofile=twemproxy hash_tag={}"
    stated = written(tmp_path / "stated.servers", EQUAL, line)
    found = ketama.agree(stated, "libmc", "dalli")
    assert found.profiles == ("twemproxy hash_tag={}", "libmc", "dalli")
    assert len(found.pairs) == 3


def test_all_profiles(equal: Path, tmp_path: Path) -> None:
    """Without a profile, the file's own is compared with all others that can use the file."""
    names = [profile.name for profile in ketama.profiles() if not profile.is_map]
    found = ketama.agree(equal)
    assert found.profiles == tuple(names)
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        ("libketama", name) for name in names[1:]
    ]
    assert not found.remedies
    named = written(
        tmp_path / "named.servers", [("a:1", 1, "x"), ("b:1", 1, "y")], "#ketama profile=libmc"
    )
    found = ketama.agree(named)
    assert found.profiles[0] == "libmc"
    assert [refused.profile for refused in found.refused] == ["nginx", "pingora"]
    assert f'{named}:2: unexpected name "x"' in found.refused[0].reason
    assert {*found.profiles, "nginx", "pingora"} == set(names)


def test_weights_that_are_numbers_of_points(tmp_path: Path) -> None:
    """A profile that would have far too many points is only compared if it is asked for."""
    path = written(tmp_path / "heavy.servers", [("a:1", 40_000, None), ("b:1", 30_000, None)])
    found = ketama.agree(path)
    assert {refused.profile: refused.reason for refused in found.refused} == dict.fromkeys(
        ("xmemcached", "nginx", "pingora"),
        "its ring would have 11,200,000 points: write smaller weights",
    )


def test_names(tmp_path: Path) -> None:
    """Programs that have no names for servers are listed where the file has some."""
    path = written(tmp_path / "named.servers", [("a:1", 1, "x"), ("b:1", 1, None)])
    found = ketama.agree(path, "libmemcached", "twemproxy", "libmc", "libketama")
    assert found.unnamed == ("libmemcached",)
    path = written(tmp_path / "bare.servers", [("a:1", 1, None)])
    assert ketama.agree(path, "libmemcached", "twemproxy").unnamed == ()


def test_a_server_that_is_listed_twice(tmp_path: Path) -> None:
    """Its lines are one server: what matters is where a key goes."""
    servers: list[Entry] = [("a:1", 1, None), ("b:1", 1, None), ("a:1", 1, None)]
    path = written(tmp_path / "twice.servers", servers)
    (pair,) = ketama.agree(path, "libketama", "uhashring", keys=some_keys(2000)).pairs
    assert pair.agreed == pair.keys == 2000
    assert 0.99999 < pair.share < 1


# ---- errors


def test_wrong_profiles(equal: Path, tmp_path: Path) -> None:
    """A profile or an option that does not exist, or that cannot use the file, is an error."""
    for wrong, reason in (
        ("memcache", 'invalid profile "memcache"'),
        ("", 'invalid profile ""'),
        ("dalli points=1", 'profile "dalli" has no option points'),
        ("twemproxy hash", 'unexpected option "hash": write key=value'),
        ("libmc profile=libmc", "option profile is given twice"),
    ):
        with pytest.raises(ketama.ProfileError, match=reason):
            ketama.agree(equal, wrong)
    line = "#ketama profile=libmc"
    named = written(tmp_path / "n.servers", [("a:1", 1, None), ("b:1", 1, "y")], line)
    with pytest.raises(ketama.ServersError, match=r"n\.servers:3: unexpected name") as caught:
        ketama.agree(named, "nginx")
    assert caught.value.lineno == 3
    with pytest.raises(ketama.ServersError, match=r":1: invalid hash"):
        ketama.agree(written(tmp_path / "w.servers", EQUAL, "#ketama hash=x"), "nginx")
    with pytest.raises(ketama.KetamaOSError, match="No such file"):
        ketama.agree(tmp_path / "absent", "nginx")


def test_wrong_keys(equal: Path) -> None:
    """A single key is no list of keys; a number is no key."""
    with pytest.raises(TypeError, match="iterable of keys, not str"):
        ketama.agree(equal, "libmc", keys="user:42")
    with pytest.raises(TypeError, match=r"keys\[8193\] must be str"):
        ketama.agree(equal, "libmc", keys=["x"] * 8193 + [5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="invalid random_keys 0: must be at least 1"):
        ketama.agree(equal, "libmc", random_keys=0)
    with pytest.raises(ketama.KetamaError, match="no keys were given"):
        ketama.agree(equal, "twemproxy", keys=[])
