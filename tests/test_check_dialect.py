"""What check finds in a file because of its dialect."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import EXAMPLE, as_json, fits_schema, text

import ketama

ALL = [profile.name for profile in ketama.profiles() if not profile.is_map]
# Whose programs give each server the same number of points.
FLAT = {
    "evcache", "memcached-proxy", "memcached-proxy-ketama", "memcached-proxy-twemproxy",
    "memcached-proxy-evcache", "libmc", "enyim", "couchbase",
}  # fmt: skip
# Those that leave :11211 out, and those that hash an IP address, with its form.
HIDING = {
    "libmemcached", "libmemcached-ketama", "twemproxy", "memcached-proxy-twemproxy", "libmc",
}  # fmt: skip
BOTH, ALONE = "host/ip:port", "ip:port"
HASHING_IP = {
    "spymemcached": BOTH, "elasticache-java": BOTH, "evcache": BOTH, "xmemcached": BOTH,
    "pingora": ALONE, "enyim": ALONE, "couchbase": ALONE,
}  # fmt: skip


def found(tmp_path: Path, text: str, **options: str | int) -> list[ketama.Finding]:
    """Return the findings that are about the dialect."""
    path = tmp_path / "ketama.servers"
    path.write_text(text)
    findings = ketama.check(path, **options)  # type: ignore[arg-type]
    return [finding for finding in findings if finding.code != "share"]


def codes(tmp_path: Path, text: str, **options: str | int) -> list[tuple[int | None, str, str]]:
    return [finding[:3] for finding in found(tmp_path, text, **options)]


def test_nothing_without_a_profile(tmp_path: Path) -> None:
    """Who has chosen no dialect gets none of these findings."""
    lines = "cache1:11211 600\n10.0.0.1:11211 300\nb:1 300 name\n"
    assert codes(tmp_path, lines) == []
    assert codes(tmp_path, lines, profile="libketama") == []
    assert codes(tmp_path, EXAMPLE.read_text()) == []


@pytest.mark.parametrize("profile", ALL)
def test_weights_that_are_not_used(profile: str, tmp_path: Path) -> None:
    """They are a warning if they differ, once per file; and exactly then points are equal."""
    lines = "".join(f"10.0.0.{i}:11212 {1 + i % 3}\n" for i in range(1, 9))
    expected = [(None, "warning", "weights")] if profile in FLAT else []
    assert codes(tmp_path, lines, profile=profile) == expected
    servers = ketama.Continuum(tmp_path / "ketama.servers", profile=profile).servers
    assert (len({server.points for server in servers}) == 1) == (profile in FLAT)
    for weight in (1, 7):
        alike = "".join(f"10.0.0.{i}:11212 {weight}\n" for i in range(1, 9))
        assert codes(tmp_path, alike, profile=profile) == []


def test_shares_without_weights(tmp_path: Path) -> None:
    """Where weights are not used, a share is not compared with them."""
    path = tmp_path / "ketama.servers"
    path.write_text("#ketama profile=libmc\na:1 1\nb:1 100\n")
    (finding,) = ketama.check(path)
    assert finding == (
        None,
        "warning",
        "weights",
        'weights differ, but profile "libmc" does not use them: each server has the same '
        "number of points",
    )


@pytest.mark.parametrize("profile", ALL)
def test_host_names(profile: str, tmp_path: Path) -> None:
    """A host name is a warning where the program hashes the address that it stands for."""
    lines = "10.0.0.1:11212 1\ncache1:11212 1\n[::1]:11212 1\n"
    findings = found(tmp_path, lines, profile=profile)
    form = HASHING_IP.get(profile)
    if form is None:
        assert findings == []
        return
    write = "cache1/ip:11212" if form == BOTH else "ip:11212"
    too = ", too" if form == BOTH else ""
    reason = f'profile "{profile}" hashes the IP address of cache1{too}: write {write}'
    assert findings == [(2, "warning", "host", reason)]
    # With the IP address as the form has it, all is well.
    right = write.replace("ip:", "10.0.0.2:")
    assert codes(tmp_path, lines.replace("cache1:11212", right), profile=profile) == []
    other = codes(tmp_path, lines.replace("cache1:", "cache1/10.0.0.2:"), profile=profile)
    assert other == ([] if form == BOTH else [(2, "warning", "host")])


def test_host_names_that_are_not_hashed(tmp_path: Path) -> None:
    """A server with a name, a socket, or with a format that hashes host names."""
    lines = "cache1:11212 1 name\n/run/cache.sock 1\n/10.0.0.2:11212 1\n"
    assert codes(tmp_path, lines, profile="spymemcached") == []
    options = {"profile": "spymemcached", "format": "libmemcached"}
    assert codes(tmp_path, "cache1:11212 1\n", **options) == []
    options = {"profile": "xmemcached", "format": "nginx"}
    assert codes(tmp_path, "cache1:11212 1\n", **options) == [(1, "warning", "host")]
    (finding,) = found(tmp_path, "cache1 1\n", profile="enyim")
    assert finding.reason.endswith("hashes the IP address of cache1: write ip")


@pytest.mark.parametrize("profile", ALL)
def test_the_default_port(profile: str, tmp_path: Path) -> None:
    """A port that is not hashed is one note per file; and exactly then another text is."""
    lines = "10.0.0.1:11211 1\n10.0.0.2:11211 1\n"
    expected = [(None, "note", "default-port")] if profile in HIDING else []
    assert codes(tmp_path, lines, profile=profile) == expected
    assert codes(tmp_path, lines.replace("11211", "11212"), profile=profile) == []
    if expected:
        named = "10.0.0.1:11211 1 a\n10.0.0.2:11211 1 b\n"
        assert codes(tmp_path, named, profile=profile) == []
        (full, short) = (
            ketama.Continuum([(address, 1, name)], profile=profile).get_points()
            for address, name in (("10.0.0.1:11211", None), ("x", "10.0.0.1"))
        )
        assert [point for point, _ in short] == [point for point, _ in full]


def test_the_default_port_by_an_option(tmp_path: Path) -> None:
    """Options decide which port is left out."""
    lines = "10.0.0.1:11211 1\n"
    note = [(None, "note", "default-port")]
    assert codes(tmp_path, lines, profile="node-hashring", default_port=11211) == note
    assert codes(tmp_path, lines, profile="node-hashring", default_port=11212) == []
    assert codes(tmp_path, lines, profile="spymemcached", format="libmemcached") == note
    assert codes(tmp_path, lines, profile="xmemcached", format="nginx") == note


def test_addresses_that_are_hashed_alike(tmp_path: Path) -> None:
    """Two forms of one address have the same points: a duplicate, in that dialect alone."""
    lines = "10.0.0.1:11212 1\n10.0.0.1 1\n10.0.0.2:11211 1\n10.0.0.1:11211 1\n"
    (finding, *_) = found(tmp_path, lines, profile="libmemcached")
    assert finding == (
        4,
        "warning",
        "duplicate",
        "10.0.0.1:11211 is hashed like 10.0.0.1 on line 2: both have the same points, so their "
        "weights do not add up",
    )
    assert codes(tmp_path, lines, profile="uhashring") == []
    ports = "10.0.0.1:1 1\n10.0.0.1:2 1\n"
    assert codes(tmp_path, ports, profile="evcache") == [(2, "warning", "duplicate")]


def test_names_that_clash_in_one_dialect(tmp_path: Path) -> None:
    """Whether a name is another server's is the dialect's to say."""
    lines = "10.0.0.1:11211 1\nb:1 1 10.0.0.1\n"
    assert codes(tmp_path, lines) == []
    assert codes(tmp_path, lines, profile="libmemcached") == [(2, "error", "name")]
    lines = "10.0.0.1:11211 1\nb:1 1 10.0.0.1:11211\n"
    assert codes(tmp_path, lines) == [(2, "error", "name")]
    assert codes(tmp_path, lines, profile="libmemcached") == [(None, "note", "default-port")]
    ketama.Continuum(tmp_path / "ketama.servers", profile="libmemcached")


def test_the_command(tmp_path: Path) -> None:
    """The command prints them, can leave them out, and warns of them in edits."""
    path = tmp_path / "ketama.servers"
    path.write_text("#ketama profile=evcache\n10.0.0.1:1 1\ncache1:1 2\n")
    value = fits_schema("check", as_json("check", path))
    assert [row["code"] for row in value["findings"]] == ["host", "weights"]
    shown = text("check", "--strict", "--ignore", "host", "--ignore", "weights", path)
    assert shown == f"{path}: ok: 2 servers\n"
    path.write_text("10.0.0.1:11211 1\n")
    value = fits_schema("check", as_json("check", "--profile", "libmc", path))
    assert [row["code"] for row in value["findings"]] == ["default-port"]
    assert text("check", "--strict", "--ignore", "default-port", path).count("\n") == 1
    path.write_text("#ketama profile=evcache\n10.0.0.1:11211 1\n")
    warning = (
        'warning: profile "evcache" hashes the IP address of cache1, too: write cache1/ip:1'
    )
    assert f"\n{warning} [host]\n" in text("add", path, "cache1:1", "1")


@pytest.mark.parametrize(
    ("first", "warned"),
    [
        ("# ketama profile=dalli", True),
        ("#Ketama profile=dalli", True),
        ("#ketama: hash=md5 profile = dalli", True),
        ("\ufeff#\tKETAMA profile=dalli", True),
        ("#ketama profile=dalli", False),
        ("# the ketama profile=dalli is not ours", False),
        ("# ketama servers of the shop", False),
    ],
)
def test_a_comment_that_nearly_states(tmp_path: Path, first: str, warned: bool) -> None:
    """It is a warning, as the profile that it names is not used."""
    assert codes(tmp_path, f"{first}\n10.0.0.1:11210 1\n") == (
        [(1, "warning", "statement")] if warned else []
    )


@pytest.mark.parametrize(
    ("names", "warned"),
    [
        (["0-3", "4,6-7", "-", "5"], True),
        (["0-1", "2-3"], True),
        (["1", "0"], True),
        (["0-3", "4-6"], False),
        (["0-3", "5-7"], False),
        (["0-3", "3-7"], False),
        (["0-3", "7-4"], False),
        (["0-3", ""], False),
        (["0-3", "x4-7"], False),
        (["1-1", "1-2"], False),
        (["0"], False),
        (["-"], False),
        (["0-3", "4-7 x"], False),
    ],
)
def test_a_map_that_has_lost_its_statement(
    tmp_path: Path, names: list[str], warned: bool
) -> None:
    """A tool that removes comments makes a ring of it, whose names are the buckets."""
    path = tmp_path / "servers"
    path.write_text("".join(f"10.0.0.{i}:11211 1 {name}\n" for i, name in enumerate(names)))
    found = [row for row in ketama.check(path) if row.code == "statement"]
    assert [(row.line, row.severity) for row in found] == ([(1, "warning")] if warned else [])
    if warned:
        stated = f"#ketama profile=buckets buckets={found[0].reason.rpartition('=')[2][0]}\n"
        path.write_text(stated + path.read_text())
        assert [row for row in ketama.check(path) if row.severity == "error"] == []
