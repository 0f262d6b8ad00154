"""Bucket maps: server files that list which buckets, arcs of equal lengths, a server owns."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
from command import as_json, fits_schema, refusal, text
from library import build_in_place
from test_old_programs import run_ctypes

import ketama

SERVERS = ["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211", "10.0.0.4:11211"]


def line(buckets: int) -> str:
    return f"#ketama profile=buckets buckets={buckets}\n"


def listed(owned: list[int]) -> str:
    """Return buckets as ranges, or as single numbers, as a person might."""
    parts: list[list[int]] = []
    for bucket in owned:
        if parts and parts[-1][-1] == bucket - 1:
            parts[-1] = [parts[-1][0], bucket]
        else:
            parts.append([bucket])
    return ",".join("-".join(map(str, part)) for part in parts) or "-"


def owned_by(number: int, owners: list[int]) -> list[int]:
    return [bucket for bucket, owner in enumerate(owners) if owner == number]


def written(path: Path, owners: list[int], servers: list[str] = SERVERS) -> Path:
    """Write the map in which bucket k is owned by the server number owners[k]."""
    lines = [
        f"{server} {100 * (n + 1)} {listed(owned_by(n, owners))}"
        for n, server in enumerate(servers)
    ]
    path.write_text(line(len(owners)) + "\n".join(lines) + "\n")
    return path


def drawn(bits: int, seed: int = 1) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(len(SERVERS)) for _ in range(1 << bits)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A map of 64 buckets, its server file."""
    return written(tmp_path / "map.servers", drawn(6))


def bucket_of(key: str, bits: int) -> int:
    return int.from_bytes(hashlib.md5(key.encode()).digest()[:4], "little") >> (32 - bits)


def test_three_million_keys(tmp_path: Path) -> None:
    """The server of each is the owner of the bucket that the top bits of its hash name."""
    owners = drawn(16)
    path = written(tmp_path / "map.servers", owners)
    continuum, count = ketama.Continuum(path), 3_000_000
    keys = b"".join(b"user:%09d" % i for i in range(count))
    starts = range(0, 14 * count, 14)
    hashes = b"".join(hashlib.md5(keys[i : i + 14]).digest()[:4] for i in starts)
    packed = ketama.Packed(keys, np.arange(0, 14 * (count + 1), 14, dtype=np.int64))
    expected = np.array(owners)[np.frombuffer(hashes, "<u4") >> 16]
    assert (np.frombuffer(continuum.indexes(packed), np.uint32) == expected).all()


def test_points_and_shares(path: Path) -> None:
    """A bucket's point is its last hash; a server's share is its buckets'."""
    owners = drawn(6)
    continuum = ketama.Continuum(path)
    assert continuum.get_points() == [
        ((k + 1) * 2**26 - 1, SERVERS[owner]) for k, owner in enumerate(owners)
    ]
    assert [(server.points, server.share) for server in continuum.servers] == [
        (owners.count(n), owners.count(n) / 64) for n in range(4)
    ]
    explained = continuum.explain("user:42")
    bucket = bucket_of("user:42", 6)
    assert explained == (explained.hash, (bucket + 1) * 2**26 - 1, SERVERS[owners[bucket]])


def test_successors_and_exclude(path: Path) -> None:
    """Both go on with the owners of the next buckets."""
    owners, continuum = drawn(6), ketama.Continuum(path)
    for i in range(200):
        bucket = bucket_of(key := f"user:{i}", 6)
        along = [SERVERS[owners[(bucket + step) % 64]] for step in range(64)]
        assert continuum.successors(key) == [*dict.fromkeys(along)]
        rest = [server for server in along if server != along[0]]
        assert continuum.lookup(key, exclude={along[0]}) == rest[0]


def test_hash_and_tag(tmp_path: Path) -> None:
    """Keys are hashed as the options say; they are part of the file's statement, or chosen."""
    path = written(tmp_path / "map", drawn(6))
    tagged = ketama.Continuum(path, profile="buckets", hash_tag="{}")
    plain = ketama.Continuum(path)
    for i in range(100):
        assert tagged.lookup(f"a{{user:{i}}}b") == plain.lookup(f"user:{i}")
    path.write_text(path.read_text().replace("buckets=64", "buckets=64 hash=crc32a"))
    assert ketama.Continuum(path).explain("123456789").hash == 0xCBF43926


def test_sharing_and_following(tmp_path: Path) -> None:
    """A map is shared, followed, and kept while the file is invalid."""
    path, new = written(tmp_path / "map", [0] * 8), tmp_path / "new"
    first, second = ketama.Continuum(path), ketama.Continuum(path, auto_roll=1.0)
    assert first.shared
    assert second.shared
    written(new, [1] * 8).rename(path)
    assert first.roll()
    assert {first.lookup("x"), second.lookup("x")} == {SERVERS[1]}
    new.write_text(line(8) + "a 1 0-6\n")
    new.rename(path)
    with pytest.raises(ketama.ServersError, match=r"1 of 8 .* no server, such as \d:"):
        first.roll()
    assert first.lookup("x") == SERVERS[1]


def test_a_list_in_memory() -> None:
    """It has no buckets, whatever the options say."""
    with pytest.raises(ketama.ServersError, match="a list of servers has no buckets"):
        ketama.Continuum(SERVERS, profile="buckets", buckets=4)
    with pytest.raises(ketama.ProfileError, match="needs the option buckets"):
        ketama.Continuum(SERVERS, profile="buckets")
    with pytest.raises(ketama.ProfileError, match='invalid buckets "3": must be a power of'):
        ketama.Continuum(SERVERS, profile="buckets", buckets=3)


def test_old_programs(path: Path) -> None:
    """Programs with the interface of 2007 read a map as any file."""
    owners, build = drawn(6), build_in_place()
    ran = run_ctypes(build, path, "user:1", "user:2")
    assert (ran.returncode, ran.stderr) == (0, "")
    rows = [row.split("\t") for row in ran.stdout.splitlines() if "\t" in row]
    points = [[str((k + 1) * 2**26 - 1), SERVERS[owner]] for k, owner in enumerate(owners)]
    assert rows[:64] == points
    assert [row[1:] for row in rows[64:]] == [
        points[bucket_of(key, 6)] for key in ("user:1", "user:2")
    ]


# ---- the commands that read


def test_show(path: Path) -> None:
    assert [row.split()[0] for row in text("show", path).splitlines()[1:5]] == SERVERS
    found = fits_schema("show", as_json("show", path))
    assert [server["points"] for server in found["servers"]] == [
        drawn(6).count(n) for n in range(4)
    ]


def test_where_and_dump(path: Path) -> None:
    owners = drawn(6)
    assert (
        text("where", path, "user:42").split()[-1] == SERVERS[owners[bucket_of("user:42", 6)]]
    )
    assert len(text("dump", path).splitlines()) == 64


def test_diff_with_a_ring(tmp_path: Path) -> None:
    """It is exact: the sum of what the two differ in, hash by hash."""
    owners = drawn(6)
    path, ring = written(tmp_path / "map", owners), tmp_path / "ring"
    ring.write_text("".join(f"{server} {100 * (n + 1)}\n" for n, server in enumerate(SERVERS)))
    points, at, moved = ketama.Continuum(ring).get_points(), 0, 0
    ends = sorted({point for point, _ in points} | {(k + 1) * 2**26 - 1 for k in range(64)})
    begin = 0
    for end in ends:
        while at < len(points) and points[at][0] < begin:
            at += 1
        if points[at % len(points)][1] != SERVERS[owners[begin >> 26]]:
            moved += end + 1 - begin
        begin = end + 1
    found = fits_schema("diff", as_json("diff", ring, path))
    assert found["moved"] == moved / 2**32
    back = fits_schema("diff", as_json("diff", path, ring))
    assert back["moved"] == moved / 2**32


def test_agree(tmp_path: Path) -> None:
    """A map is compared with what rings make of its servers, or with another hash of keys."""
    path = written(tmp_path / "map", drawn(8))
    found = fits_schema("agree", as_json("agree", path))
    assert found["profiles"][0] == "buckets buckets=256"
    assert len(found["pairs"]) == 23
    (ring,) = (pair for pair in found["pairs"] if pair["second"] == "libketama")
    assert 0.1 < ring["share"] < 0.6
    other = as_json("agree", path, "--profile", "buckets buckets=256 hash=xxh3", code=1)
    (pair,) = other["pairs"]
    assert [cause["kind"] for cause in pair["causes"]] == ["hash"]
    assert other["remedies"] == []
    two = as_json("agree", path, "--profile", "libketama", code=1)
    assert two["pairs"][0]["share"] == pytest.approx(ring["share"])
    assert [cause["kind"] for cause in two["pairs"][0]["causes"]] == ["points"]


@pytest.mark.parametrize(
    ("body", "number", "code", "reason"),
    [
        ("a 1 0-3\nb 1 3-7\n", 3, "buckets", "bucket 3 is also on line 2"),
        ("a 1 0-3\n", None, "buckets", "4 of 8 buckets have no server, such as 4-7"),
        ("a 1 0-8\n", 2, "buckets", "numbered 0 to 7"),
        ("a 1 3-0\n", 2, "buckets", "write the smaller number first"),
        ("a 1 0-x\n", 2, "buckets", "write numbers and ranges"),
        ("a 1\n", 2, "line", 'no buckets after the weight of "a"'),
        ("a 1 n 0-7 z\n", 2, "line", 'unexpected "z" after the buckets'),
        ("a 1 0-3\na 1 4-7\n", 3, "profile", "takes each server once"),
    ],
)
def test_check(body: str, number: int | None, code: str, reason: str, tmp_path: Path) -> None:
    """Errors have the line and the reason."""
    path = tmp_path / "map"
    path.write_text(line(8) + body)
    errors = [row for row in ketama.check(path) if row.severity == "error"]
    assert [(row.line, row.code) for row in errors] == [(number, code)]
    assert reason in errors[0].reason
    fits_schema("check", as_json("check", path, code=1))
    assert reason in refusal(3, "where", path, "x")


def test_check_of_a_map(path: Path, tmp_path: Path) -> None:
    """A fair map is good; a share that is off its weight is a note, as are too few buckets."""
    fair = tmp_path / "fair"
    fair.write_text(line(8) + "a 3 0-5\nb 1 name 6-7\n")
    assert ketama.check(fair) == []
    assert {row.code for row in ketama.check(path)} == {"share", "coarse"}


def test_rename(path: Path) -> None:
    """The server keeps its buckets; it gets a name before them."""
    with ketama.edit(path) as servers:
        servers.rename(SERVERS[1], "10.0.9.9:1")
        found = servers.diff()
    assert found is not None
    assert found.moved == 0
    ranges = listed(owned_by(1, drawn(6)))
    assert f"\n10.0.9.9:1     200   {SERVERS[1]} {ranges}\n" in path.read_text()
