"""Random server lists and keys, the same ones each time, and the comparison of answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from answers import WEIGHTS
from model import Ring
from model.names import split

import ketama

Listed = tuple[str, int, str | None]
Draw = Callable[[random.Random], str]

KEYS = 20_000
# Sizes and weights for which the dialects' divisions round a server's labels differently.
SIZES = (2, 3, 5, 7, 11, 17, 25, 31, 49, 61)
KINDS = (
    *("equal", "small", "rounded", "equal, above 1", "small"),
    *("starved", "equal, above 1", "usual", "equal", "equal, above 1"),
)
# Two servers that share a point in the dialects that hash the address's labels by MD5.
TIED: list[Listed] = [("127.7.0.81:11311", 1, None), ("127.7.3.81:11311", 1, None)]
# What keys are made of, at most 256: no blank, and no control character.
ASCII = "".join(map(chr, range(33, 127)))
TEXT = ASCII * 2 + "{}:-.$" * 4 + "äéßñкюч漢字🦊"


def some_port(chance: random.Random) -> int:
    return chance.choice([11211, 11211, 11211, 11212, 21001, 8080])


def some_ip(chance: random.Random) -> str:
    return f"10.{chance.randrange(3)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"


def some_name(chance: random.Random) -> str:
    return f"cache{chance.randrange(10**4)}.example.org"


def ipv4(chance: random.Random) -> str:
    return f"{some_ip(chance)}:{some_port(chance)}"


def ipv6(chance: random.Random) -> str:
    return f"[2001:db8::{chance.randrange(1, 2**16):x}]:{some_port(chance)}"


def host_name(chance: random.Random) -> str:
    return f"{some_name(chance)}:{some_port(chance)}"


def unix_socket(chance: random.Random) -> str:
    return f"/run/cache-{chance.randrange(10**6)}.sock"


class Form(NamedTuple):
    """What a program takes as a server.

    addresses: functions that draw an address.
    weights: "any", "small" if large ones give large circles, or "equal" if they are all 1.
    named: whether a server may have a name of its own.
    """

    addresses: Sequence[Draw]
    weights: str = "any"
    named: bool = False


def some_weight(chance: random.Random, kind: str, place: int) -> int:
    return {
        "equal": 1,
        "equal, above 1": 7,
        "rounded": WEIGHTS[place % len(WEIGHTS)],
        "small": chance.randint(1, 4),
        "usual": chance.randint(1, 1000),
        "starved": chance.choice([1, 10**6]),
    }[kind]


def kind_of(weights: str, number: int) -> str:
    """Return which weights the list of a number has."""
    if weights == "equal":
        return "equal"
    return "small" if weights == "small" and KINDS[number] != "equal" else KINDS[number]


def some_lists(form: Form) -> list[list[Listed]]:
    """Return ten lists of servers, in each of which all addresses differ.

    Where it fits the form, a list with a shared point follows, in either order.
    """
    chance = random.Random("ketama")
    lists = []
    for number, size in enumerate(SIZES):
        servers: dict[str, Listed] = {}
        while len(servers) < size:
            address = chance.choice(form.addresses)(chance)
            weight = some_weight(chance, kind_of(form.weights, number), len(servers))
            named = form.named and chance.random() < 0.5
            name = f"cache-{len(servers)}" if named else None
            servers.setdefault(address, (address, weight, name))
        lists.append(list(servers.values()))
    return lists + ([TIED, TIED[::-1]] if ipv4 in form.addresses else [])


@cache
def random_keys(number: int, text: str, count: int) -> list[str]:
    """Return distinct keys of 4 to 40 characters, and some of up to 250 bytes."""
    chance = random.Random(number)
    table = [text[byte % len(text)] for byte in range(256)]
    keys: dict[str, None] = {}
    while len(keys) < count:
        drawn = "".join([table[byte] for byte in chance.randbytes(100_000)])
        at = 0
        while at < len(drawn) and len(keys) < count:
            size = chance.randint(4, 40) if chance.random() < 0.99 else chance.randint(41, 250)
            key = drawn[at : at + size]
            at += size
            if len(key.encode()) <= 250:
                keys[key] = None
    return list(keys)


def labels(number: int, servers: Sequence[Listed]) -> list[str]:
    """Return texts that are hashed to points in most dialects, so that as keys they hit one."""
    chance = random.Random(number)
    return [
        f"{name or chance.choice([address, address.removesuffix(':11211')])}{joint}{k}"
        for address, _, name in servers
        for joint in "-:"
        for k in chance.sample(range(40), 3)
    ]


def some_keys(
    number: int, servers: Sequence[Listed], *, text: str = TEXT, count: int = KEYS
) -> list[str]:
    """Return that many random keys, and labels of the servers."""
    return random_keys(number, text, count) + labels(number, servers)


def host_and_port(address: str) -> tuple[str, int]:
    """Return an address in two: a host without brackets, or a socket's path and port 0."""
    parts = split(address)
    if parts.path:
        return parts.path, 0
    return parts.host.strip("[]"), int(parts.port)


def compare(
    servers: Sequence[Listed],
    keys: Sequence[str],
    found: Sequence[str],
    profile: str,
    *,
    by_chance: bool = False,
    **options: Any,
) -> int:
    """Check that each key has the address that a program found; return how many have not.

    by_chance: the program may give a key whose point several servers share to any of them.
    """
    assert len(keys) == len(found)
    continuum = ketama.Continuum(servers, profile=profile, **options)
    expected = list(continuum.lookup_many(list(keys)))
    others = [i for i, address in enumerate(found) if address != expected[i]]
    wrong = others
    if by_chance and others:
        owners = owners_of_points(servers, profile, options)
        wrong = [
            i
            for i in others
            if not {found[i], expected[i]}
            <= owners.get(continuum.get_server(keys[i])[0], set())
        ]
    shown = "".join(f"\n{keys[i]!r}: {found[i]}, here {expected[i]}" for i in wrong[:5])
    assert not wrong, f"{len(wrong)} of {len(keys)} keys differ, {profile} {options}:{shown}"
    return len(others)


def owners_of_points(
    servers: Sequence[Listed], profile: str, options: dict[str, Any]
) -> dict[int, set[str]]:
    """Return the addresses of the servers that have each point."""
    owners: dict[int, set[str]] = {}
    for point, index in Ring(list(servers), profile, **options).points:
        owners.setdefault(point, set()).add(servers[index][0])
    return owners
