"""Agreement with the 2007 libketama, on the vectors that tests/vectors/README.md describes."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from hashlib import md5
from itertools import accumulate
from pathlib import Path

import pytest

import ketama

VECTORS = Path(__file__).with_name("vectors")
FOLDERS = sorted(path.parent.name for path in VECTORS.glob("*/ketama.servers"))
WITH_POINTS = [name for name in FOLDERS if (VECTORS / name / "points.tsv").exists()]

Lookup = Callable[[ketama.Continuum, str], tuple[int, str]]
WAYS: dict[str, Lookup] = {
    "get_server": lambda c, key: c.get_server(key),
    "get_server of bytes": lambda c, key: c.get_server(key.encode()),
    "get_server of a bytearray": lambda c, key: c.get_server(bytearray(key.encode())),
    "get_server of a memoryview": lambda c, key: c.get_server(memoryview(key.encode())),
    "ketama.get_server": lambda c, key: ketama.get_server(key, c),
    "lookup": lambda c, key: (c.get_server(key)[0], c.lookup(key)),
    "[key]": lambda c, key: (c.get_server(key)[0], c[key]),
}


def packed(keys: list[str], offsets: str) -> ketama.Packed:
    """Return packed keys with offsets of an array type."""
    data = [key.encode() for key in keys]
    ends = accumulate(map(len, data), initial=0)
    return ketama.Packed(b"".join(data), array(offsets, ends))


def ungrouped(groups: dict[str, list[str]], keys: list[str]) -> list[str]:
    address_of = {key: address for address, group in groups.items() for key in group}
    return [address_of[key] for key in keys]


def named(c: ketama.Continuum, indexes: Iterable[int]) -> list[str]:
    servers = c.servers
    return [servers[i].address for i in indexes]


Batch = Callable[[ketama.Continuum, list[str]], list[str]]
BATCHES: dict[str, Batch] = {
    "lookup_many of a list": lambda c, keys: c.lookup_many(keys),
    "lookup_many of a generator of bytes": lambda c, keys: c.lookup_many(
        key.encode() for key in keys
    ),
    "lookup_many of bytearrays": lambda c, keys: c.lookup_many(
        [bytearray(key.encode()) for key in keys]
    ),
    "lookup_many, one by one": lambda c, keys: [c.lookup_many((key,))[0] for key in keys],
    "lookup_many, packed": lambda c, keys: c.lookup_many(packed(keys, "I")),
    "group_by_server": lambda c, keys: ungrouped(c.group_by_server(keys), keys),
    "indexes": lambda c, keys: named(c, c.indexes(keys)),
    "indexes, 4-byte offsets": lambda c, keys: named(c, c.indexes(packed(keys, "I"))),
    "indexes, 8-byte offsets": lambda c, keys: named(c, c.indexes(packed(keys, "Q"))),
    "indexes, signed offsets": lambda c, keys: named(c, c.indexes(packed(keys, "i"))),
    "indexes, into 2 bytes": lambda c, keys: named(
        c, c.indexes(keys, array("H", bytes(2 * len(keys))))
    ),
    "successors": lambda c, keys: [c.successors(key, 1)[0] for key in keys],
    "lookup with an empty exclude": lambda c, keys: [
        c.lookup(key, exclude=set()) or "" for key in keys
    ],
}


def rows(name: str, file: str) -> Iterator[list[str]]:
    text = (VECTORS / name / file).read_text(encoding="utf-8")
    return (line.split("\t") for line in text.splitlines())


def test_the_vectors_are_complete() -> None:
    """There are eight directories of vectors, one too large to list its points."""
    assert len(FOLDERS) == 8
    assert set(FOLDERS) - set(WITH_POINTS) == {"equal1000"}


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("way", WAYS)
def test_lookups(name: str, way: str) -> None:
    """Every lookup function returns the 2007 libketama's point and server for each key."""
    continuum = ketama.Continuum(VECTORS / name / "ketama.servers")
    expected = [
        (key, int(point), address) for key, _, point, address in rows(name, "lookups.tsv")
    ]
    assert len(expected) >= 200
    assert expected == [(key, *WAYS[way](continuum, key)) for key, _, _ in expected]


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("way", BATCHES)
def test_batches(name: str, way: str) -> None:
    """Every batch function returns the 2007 libketama's server for each key."""
    continuum = ketama.Continuum(VECTORS / name / "ketama.servers")
    keys, _, _, expected = map(list, zip(*rows(name, "lookups.tsv"), strict=True))
    assert expected == BATCHES[way](continuum, keys)


@pytest.mark.parametrize("name", FOLDERS)
def test_lookups_with_the_drop_in(name: str) -> None:
    """PyPI's class returns the same results."""
    continuum = ketama.Ketama(str(VECTORS / name / "ketama.servers"))
    for key, _, point, address in rows(name, "lookups.tsv"):
        assert (int(point), address) == continuum.get_server(key)


@pytest.mark.parametrize("name", FOLDERS)
def test_hashes(name: str) -> None:
    """Each key has the 2007 libketama's hash."""
    for key, hashed, _, _ in rows(name, "lookups.tsv"):
        assert int(hashed) == ketama.hashi(key)


@pytest.mark.parametrize("name", WITH_POINTS)
def test_points(name: str) -> None:
    """The points are those of the 2007 libketama, ties included."""
    continuum = ketama.Continuum(VECTORS / name / "ketama.servers")
    expected = [(int(point), address) for point, address in rows(name, "points.tsv")]
    assert expected == continuum.get_points()


@pytest.mark.parametrize("name", FOLDERS)
def test_servers_in_memory(name: str) -> None:
    """A list of servers makes the same continuum as a file of them."""
    from_file = ketama.Continuum(VECTORS / name / "ketama.servers")
    listed = ketama.Continuum([(s.address, s.weight) for s in from_file.servers])
    assert from_file.get_points() == listed.get_points()
    assert from_file.servers == listed.servers


def test_a_million_keys() -> None:
    """The MD5 over a million results is that of the 2007 libketama's results."""
    continuum = ketama.Continuum(VECTORS / "classic8" / "ketama.servers")
    output = md5(b"\n")
    for number in range(1_000_000):
        key = str(number)
        output.update(b"%d %d %b\n" % (ketama.hashi(key), *_encoded(continuum.get_server(key))))
    assert output.hexdigest() == "5672b131391f5aa2b280936aec1eea74"


def test_a_million_keys_at_once() -> None:
    """In one batch, each of a million keys has the same server as on its own."""
    continuum = ketama.Continuum(VECTORS / "classic8" / "ketama.servers")
    keys = [str(number) for number in range(1_000_000)]
    alone = [continuum[key] for key in keys]
    assert alone == continuum.lookup_many(keys)
    assert alone == continuum.lookup_many(packed(keys, "Q"))


def _encoded(found: tuple[int, str]) -> tuple[int, bytes]:
    return found[0], found[1].encode()
