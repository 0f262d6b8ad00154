"""The library's dialects against the model, on random lists, options and keys."""

from __future__ import annotations

import random
from typing import Any

import pytest
from model import PROFILES, RefusedError, Ring
from model.profiles import row_of

import ketama

Listed = tuple[str, int, str | None]

LISTS = 12  # for each profile
KEYS = 60  # for each list

# Values of options that may have any.
PAIRS = ["{}", "$$", ":.", "ab"]
TEXTS: dict[str, list[Any]] = {
    "hash_tag": PAIRS,
    "default_port": [11211, 11212, 80],
    "seed": ["s", "some seed", "0123456789abcdef-"],
    "delimiter": [":", "::", "-", "user:"],
}
POINTS = [4, 40, 80, 160, 164, 400]
MORE_POINTS = [1, 2, 3, 10, 150]  # where the points are of one label each
CONFS = {"tags": PAIRS, "stop": ["::", ":1", "user:", "-"]}

ABSOLUTE = ["nginx", "pingora", "xmemcached"]  # many points for large weights
RATIO = [
    "libketama",
    "libmemcached",
    "libmemcached-ketama",
    "libmemcached-spy",
    "twemproxy",
    "spymemcached",
    "elasticache-java",
    "uhashring",
    "hash_ring",
    "node-hashring",
    "predis",
    "dalli",
]
UNNAMED = ["nginx", "pingora"]
DICTS = ["uhashring", "hash_ring"]  # a list there has no address twice


def some_value(chance: random.Random, profile: str, option: str) -> Any:
    """Return a value of an option."""
    allowed = PROFILES[profile].options[option].allowed
    if isinstance(allowed, tuple):
        return chance.choice(allowed)
    if option == "points":
        one_each = profile in ("nginx", "memcached-proxy")
        return chance.choice(POINTS + MORE_POINTS if one_each else POINTS)
    return chance.choice(TEXTS[option])


def some_options(chance: random.Random, profile: str) -> dict[str, Any]:
    """Return a choice of a profile's options, each of them given or not."""
    chosen = {
        option: some_value(chance, profile, option)
        for option in PROFILES[profile].options
        if option != "filter_conf" and chance.random() < 0.5
    }
    if "filter" in chosen:
        chosen["filter_conf"] = chance.choice(CONFS[chosen["filter"]])
    return chosen


IPV6 = ["::1", "fe80::1", "2001:db8::cafe", "fe80::1%eth0"]
PORTS = ["11211", "11211", "11211", "11212", "21001", "80", "65535", "1"]
PATHS = ["/run/a.sock", "unix:/run/b.sock", "/10.0.0.1:11211", "/run/c.sock:0"]


def some_host(chance: random.Random) -> str:
    number = chance.randrange(40)
    return chance.choice(
        [
            f"10.0.0.{number}",
            f"10.0.0.{number % 3}",
            f"cache{number}",
            f"cache{number}.example.org",
            "ключ.example",
            chance.choice(IPV6),
            f"[{chance.choice(IPV6)}]",
        ]
    )


def some_address(chance: random.Random, form: str) -> str:
    """Return an address with host and port, or of another form."""
    host, port = some_host(chance), chance.choice(PORTS)
    if form == "no port":
        return host
    if form == "socket":
        return chance.choice(PATHS)
    if form == "java":
        return f"{host}/10.9.8.{chance.randrange(40)}:{port}"
    return f"{host}:{port}"


def some_weight(chance: random.Random, kind: str) -> int:
    return {
        "equal": 1,
        "equal, above 1": 7,
        "small": chance.randint(1, 4),
        "usual": chance.randint(1, 1000),
        "starved": chance.choice([1, 10**6]),
        "large": chance.randint(1, 2**64 // 40 - 1),
    }[kind]


def some_servers(chance: random.Random, profile: str, options: dict[str, Any]) -> list[Listed]:
    """Return a list of servers, which may be one that the profile refuses."""
    split = "format" in options or "default_port" in options
    other = "usual" if split else chance.choice(["usual", "no port", "socket", "java"])
    kinds = ["equal", "equal, above 1", "small"]
    if profile not in ABSOLUTE:
        kinds += ["usual", "starved", "large"]
    kind = chance.choice(kinds)
    # A name is seldom what a profile makes of an address.
    named = 0.0 if profile in UNNAMED else chance.choice([0.0, 0.3, 1.0])
    servers: list[Listed] = []
    for number in range(chance.randint(1, chance.choice([3, 12, 40]))):
        address = some_address(chance, other if chance.random() < 0.3 else "usual")
        name = chance.choice(["cache-", "имя", "z" * number]) + str(number)
        servers.append(
            (address, some_weight(chance, kind), name if chance.random() < named else None)
        )
    if profile in DICTS or chance.random() < 0.7:
        return list(
            {address: (address, weight, name) for address, weight, name in servers}.values()
        )
    return servers


def some_key(chance: random.Random, servers: list[Listed]) -> bytes:
    """Return a key: a usual one, any bytes, one with tags, or a text that is a label."""
    address, _, name = chance.choice(servers)
    text = chance.choice([name or address, address.removesuffix(":11211")])
    parts = ["{", "}", "$", ":", "::", ".", "-", "a", "b", "user:", "1", "ключ"]
    size = chance.choice([0, 3, 16, 40, 130, 250, 600]) + chance.randrange(9)
    return chance.choice(
        [
            f"user:{chance.randrange(10**6)}".encode(),
            chance.randbytes(size),
            "".join(chance.choices(parts, k=chance.randrange(9))).encode(),
            f"{text}{chance.choice('-:')}{chance.randrange(40)}".encode(),
        ]
    )


def ring_of(servers: list[Listed], profile: str, options: dict[str, Any]) -> Ring | None:
    """Return the model's ring; None where the profile refuses the list."""
    try:
        return Ring(servers, profile, **options)
    except RefusedError:
        return None


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("number", range(LISTS))
def test_lists_and_keys(profile: str, number: int) -> None:
    """Points, lookups and shares equal the model's; what it refuses is a ServersError."""
    chance = random.Random(f"{profile} {number}")
    options = some_options(chance, profile)
    servers = some_servers(chance, profile, options)
    ring = ring_of(servers, profile, options)
    if ring is None:
        with pytest.raises(ketama.ServersError):
            ketama.Continuum(servers, profile=profile, **options)
        return
    continuum = ketama.Continuum(servers, profile=profile, **options)
    addresses = [address for address, _, _ in servers]

    assert sorted((point, addresses[i]) for point, i in ring.points) == sorted(
        continuum.get_points()
    )
    assert servers == [(at.address, at.weight, at.name) for at in continuum.servers]
    shares = [arc / 2**32 for arc in ring.arcs(len(servers))]
    assert shares == [at.share for at in continuum.servers]

    keys = [some_key(chance, servers) for _ in range(KEYS)]
    found = [ring.find_key(key) for key in keys]
    assert found == list(continuum.indexes(keys))
    for key, index in zip(keys, found, strict=True):
        assert addresses[index] == continuum.lookup(key)
        h = ring.hash_key(key)
        assert (h, ring.find(h)[0], addresses[index]) == continuum.explain(key)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_random_lists(profile: str) -> None:
    """The model takes enough of the random lists, so that they test more than errors."""
    taken = []
    for number in range(LISTS):
        chance = random.Random(f"{profile} {number}")
        options = some_options(chance, profile)
        taken.append(ring_of(some_servers(chance, profile, options), profile, options))
    assert sum(ring is not None for ring in taken) >= LISTS // 3


@pytest.mark.parametrize("profile", RATIO)
@pytest.mark.parametrize("kind", ["small", "usual", "large", "equal and large"])
def test_roundings(profile: str, kind: str) -> None:
    """Each server has the model's number of points, for weights in which roundings count."""
    chance = random.Random(f"{profile} {kind}")
    row = row_of(profile, {}, has_weights=True)
    for _ in range(100):
        count = chance.randint(1, 40)
        weights = [some_weight(chance, kind.split()[-1]) for _ in range(count)]
        if kind.startswith("equal"):
            weights = weights[:1] * count
        weights[0] = max(weights[0], 2)  # some programs use weights only if one is above 1
        expected = [row.count(weight, sum(weights), count) for weight in weights]
        continuum = ketama.Continuum(
            [(f"10.0.0.{i}:11211", weight) for i, weight in enumerate(weights)],
            profile=profile,
        )
        points = [at.points for at in continuum.servers]
        assert [labels * row.points_per_label for labels in expected] == points, weights


@pytest.mark.parametrize("profile", ABSOLUTE)
def test_a_large_weight(profile: str) -> None:
    """A thousand times as many points for a weight of 1,000, equal points among them."""
    servers: list[Listed] = [("10.0.0.1:80", 1000, None), ("10.0.0.2:80", 7, None)]
    ring = Ring(servers, profile)
    continuum = ketama.Continuum(servers, profile=profile)
    assert sorted(point for point, _ in ring.points) == [
        point for point, _ in continuum.get_points()
    ]
    keys = [b"%d" % number for number in range(2000)]
    assert [ring.find_key(key) for key in keys] == list(continuum.indexes(keys))


# A clash of names: a server's own name with another's, or with what another server's
# address is hashed as, which is the address itself or not.
CLASHES: dict[str, list[Listed]] = {
    "two names": [("10.0.0.1:1", 1, "a"), ("10.0.0.2:1", 1, "a")],
    "a name and an address": [("10.0.0.1:1", 1, "10.0.0.2:1"), ("10.0.0.2:1", 1, None)],
    "a name and a host": [("10.0.0.1:1", 1, "10.0.0.2"), ("10.0.0.2:11211", 1, None)],
}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("clash", CLASHES)
def test_names_that_are_taken(profile: str, clash: str) -> None:
    """No profile takes a list in which a name is what another server is hashed as."""
    servers = CLASHES[clash]
    if ring_of(servers, profile, {}) is not None:
        assert clash != "two names"
        assert len(ketama.Continuum(servers, profile=profile).servers) == 2
        return
    with pytest.raises(ketama.ServersError):
        ketama.Continuum(servers, profile=profile)


@pytest.mark.parametrize(
    "servers",
    [
        [("10.0.0.1:11211", 1, None), ("10.0.0.1:11211", 1, None)],
        [("10.0.0.1:11211", 1, None), ("10.0.0.2:11211", 1, "10.0.0.1")],
        [("unix:/run/a", 1, None), ("/run/a", 1, None)],
    ],
)
def test_twemproxys_names(servers: list[Listed]) -> None:
    """Two servers of one name are refused, given or made of the address."""
    assert ring_of(servers, "twemproxy", {}) is None
    with pytest.raises(ketama.ServersError):
        ketama.Continuum(servers, profile="twemproxy")


@pytest.mark.parametrize("profile", ["nginx", "pingora"])
def test_names_of_no_use(profile: str) -> None:
    """Where host and port are hashed apart, a name is refused."""
    assert ring_of([("10.0.0.1:80", 1, "a")], profile, {}) is None
    with pytest.raises(ketama.ServersError):
        ketama.Continuum([("10.0.0.1:80", 1, "a")], profile=profile)


# What each profile makes of addresses with no port, and of sockets: the key's server tells.
ADDRESSES = ["10.0.0.1", "[::1]", "::cafe", "/run/a.sock", "unix:/run/a.sock", "h/10.0.0.1"]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses(profile: str, address: str) -> None:
    """An address with no port, or a socket's, is refused or hashed as in the model."""
    servers: list[Listed] = [(address, 1, None), ("10.0.0.9:11212", 1, None)]
    ring = ring_of(servers, profile, {})
    if ring is None:
        with pytest.raises(ketama.ServersError):
            ketama.Continuum(servers, profile=profile)
        return
    points = [(point, servers[i][0]) for point, i in ring.points]
    assert points == ketama.Continuum(servers, profile=profile).get_points()


@pytest.mark.parametrize(
    ("address", "hashed"),
    [
        ("10.0.0.1:11211", "10.0.0.1"),
        ("10.0.0.1:11212", "10.0.0.1:11212"),
        ("[2001:db8::1]:11211", "[2001:db8::1]:11211"),
        ("::1:11211", "::1:11211"),
    ],
)
def test_default_port(address: str, hashed: str) -> None:
    """Npm's hashring leaves out the port behind the first colon: never an IPv6 address's."""
    found = ketama.Continuum([(address, 1)], profile="node-hashring", default_port=11211)
    expected = ketama.Continuum([("x", 1, hashed)], profile="node-hashring")
    assert [p for p, _ in expected.get_points()] == [p for p, _ in found.get_points()]
