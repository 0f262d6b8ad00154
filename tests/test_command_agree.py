"""What `ketama agree` prints, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, as_json, fits_schema, refusal, run, text

import ketama

FLEET = ROOT / "examples" / "fleet.servers"
MIXED = ("libmemcached", "twemproxy", "libketama", "spymemcached")


def given(*profiles: str) -> list[str]:
    """Return the options that name profiles."""
    return [word for profile in profiles for word in ("--profile", profile)]


def differing(*arguments: str | Path, stdin: bytes = b"") -> str:
    """Run it, expect that programs differ, and return what it prints."""
    done = run("agree", *arguments, stdin=stdin)
    assert (done.returncode, done.stderr) == (1, b"")
    return done.stdout.decode()


def test_a_mixed_fleet() -> None:
    """It prints the shares, why they are not 100 %, and what to change."""
    printed = differing(FLEET, *given(*MIXED))
    lines = printed.splitlines()
    assert lines[0].split() == ["program", "and", "program", "agree", "on", "of"]
    found = ketama.agree(FLEET, *MIXED)
    shares = {(pair.first, pair.second): pair for pair in found.pairs}
    for line in lines[1:7]:
        first, second, share, *_ = line.split()
        assert f"{100 * shares[first, second].share:.2f}" == share
        assert ("all keys" in line) == shares[first, second].exact
        assert ("100,000 random keys, ±0." in line) != shares[first, second].exact
    # Programs that agree are one group: three groups, three times why.
    assert [line for line in lines if " and " in line and "program" not in line][:3] == [
        "libmemcached and twemproxy",
        "libmemcached and libketama, spymemcached",
        "twemproxy and libketama, spymemcached",
    ]
    assert "  why    port 11211 is left out in libmemcached (by itself: " in printed
    assert "         md5 in libmemcached, fnv1a_64 in twemproxy\n" in printed
    remedy = printed.partition("remedy: all agree on 100.00 % after\n")[2].partition("\n\n")[0]
    assert f"  {FLEET}: begin with the line #ketama profile=libmemcached\n" in remedy
    assert "  spymemcached: set format=libmemcached\n" in remedy
    assert "  twemproxy: set hash=md5\n" in remedy
    assert "distribution: ketama, with the pool's hash: and hash_tag:" in remedy
    assert printed.count("distribution: ketama") == 1  # explained once, not in each remedy
    assert "\nor: all agree on 100.00 % after\n" in printed


def test_programs_that_agree(tmp_path: Path) -> None:
    """The exit code is 0, and there is nothing to explain."""
    printed = text("agree", FLEET, *given("libmemcached", "twemproxy hash=md5"))
    assert printed.count("\n") == 2
    assert "100.00 %   all keys\n" in printed
    # A file may state what another program speaks: that is the question.
    stated = tmp_path / "stated.servers"
    stated.write_bytes(b"#ketama profile=libmemcached\n" + FLEET.read_bytes())
    assert text("agree", stated, *given("twemproxy hash=md5")) == printed


@pytest.mark.parametrize("stdin", [False, True])
def test_json(stdin: bool) -> None:
    """It has what `ketama.agree` returns, and fits the schema."""
    file = "-" if stdin else str(FLEET)
    data = FLEET.read_bytes() if stdin else b""
    found = fits_schema("agree", as_json("agree", file, *given(*MIXED), code=1, stdin=data))
    expected = ketama.agree(FLEET, *MIXED)
    assert found["file"] == ("<stdin>" if stdin else str(FLEET))
    assert found["ok"] is False
    assert found["profiles"] == list(expected.profiles)
    assert [pair["share"] for pair in found["pairs"]] == [p.share for p in expected.pairs]
    assert found["pairs"] == [_plain(pair) for pair in expected.pairs]
    assert found["remedies"] == [_plain(remedy) for remedy in expected.remedies]


def _plain(value: Any) -> Any:
    """Return named tuples as objects, as JSON has them."""
    if hasattr(value, "_asdict"):
        return {name: _plain(member) for name, member in value._asdict().items()}
    return [_plain(member) for member in value] if isinstance(value, tuple) else value


def test_all_profiles(tmp_path: Path) -> None:
    """Without a profile, there is a table, the best first; a difference is no failure."""
    lines = text("agree", FLEET).splitlines()
    assert lines[0].split()[:2] == ["libketama", "and"]
    shares = [float(line.split("%")[0].split()[-1].lstrip(">")) for line in lines[1:23]]
    assert shares == sorted(shares, reverse=True)
    assert {line.split()[0] for line in lines[1:23]} == {
        profile.name
        for profile in ketama.profiles()
        if profile.name != "libketama" and not profile.is_map
    }
    (uhashring,) = (line for line in lines if line.startswith("uhashring"))
    assert ">99.99 %" in uhashring  # less than all is never printed as 100 %
    found = fits_schema("agree", as_json("agree", FLEET))
    assert (found["ok"], len(found["pairs"]), found["remedies"]) == (True, 22, [])
    named = tmp_path / "named.servers"
    named.write_text("a:1 1 x\nb:1 1 y\n")
    printed = text("agree", named)
    assert f'nginx: {named}:1: unexpected name "x"' in printed
    assert f"note: {named} names servers, but libmemcached, " in printed
    found = fits_schema("agree", as_json("agree", named))
    assert [refused["profile"] for refused in found["refused"]] == ["nginx", "pingora"]


def test_keys(tmp_path: Path) -> None:
    """The keys of a file are asked, or of standard input, and counted."""
    keys = [f"user:{number}" for number in range(10_000)]
    data = "\r\n".join(keys).encode()
    path = tmp_path / "keys.txt"
    path.write_bytes(data)
    (pair,) = ketama.agree(FLEET, "libketama", "twemproxy", keys=keys).pairs
    for file, stdin in ((str(path), b""), ("-", data)):
        arguments: list[str | Path] = [FLEET, *given("libketama", "twemproxy")]
        arguments += ["--keys", file]
        assert f"   {pair.agreed:,} of 10,000 keys\n" in differing(*arguments, stdin=stdin)
        (found,) = as_json("agree", *arguments, code=1, stdin=stdin)["pairs"]
        assert (found["keys"], found["agreed"]) == (10_000, pair.agreed)
    (pair,) = ketama.agree(FLEET, "libketama", "libmc", keys=keys).pairs
    printed = differing(FLEET, *given("libketama", "libmc"), "--keys", path)
    assert f"all keys; {pair.agreed:,} of 10,000 keys\n" in printed


def test_at_least() -> None:
    """Of programs that agree on almost all keys, one may be content with that."""
    profiles = given("libketama", "uhashring")
    assert "   >99.99 %   all keys\n" in differing(FLEET, *profiles)
    text("agree", FLEET, *profiles, "--at-least", "99.99%")
    assert as_json("agree", FLEET, *profiles, "--at-least", "99.99%")["ok"] is True
    differing(FLEET, *given("libketama", "libmc"), "--at-least", "90%")
    assert "invalid percentage '99'" in refusal(2, "agree", FLEET, "--at-least", "99")


def test_one_dialect() -> None:
    """There is nothing to compare, and no empty table."""
    path = ROOT / "examples" / "ketama.servers"
    shown = text("agree", path, "--profile", "libketama")
    assert shown == f"{path}: there is only one dialect, so all programs agree\n"


def test_no_remedy() -> None:
    """It says so where nothing helps; where something helps two of three, it names them."""
    printed = differing(FLEET, *given("dalli", "enyim"))
    assert (
        "remedy: none found; no options, names or weights make two of them agree\n" in printed
    )
    printed = differing(FLEET, *given("dalli", "libmemcached", "twemproxy"))
    assert "\nremedy: libmemcached and twemproxy agree on 100.00 % after\n" in printed


def test_weights_names_and_modes(tmp_path: Path) -> None:
    """Other steps of a remedy are named, too."""
    path = tmp_path / "weights.servers"
    path.write_text("10.0.0.1:11211 3\n10.0.0.2:11211 1\n")
    printed = differing(path, *given("memcached-proxy", "twemproxy hash=md5"))
    assert f"  {path}: give all servers the weight 1\n" in printed
    assert "memcached-proxy: change to memcached-proxy-twemproxy hash=md5\n" in printed
    printed = differing(path, *given("twemproxy hash=md5", "uhashring"), "--at-least", "100%")
    assert (
        "  twemproxy hash=md5: name the servers\n         10.0.0.1:11211 3 10.0.0.1:11211\n"
        in printed
    )


def test_many_names(tmp_path: Path) -> None:
    """A few are printed, each once, and JSON has all."""
    path = tmp_path / "many.servers"
    path.write_text("".join(f"10.0.0.{number}:11211 1\n" for number in range(20)))
    arguments: list[str | Path] = [path, *given("libketama", "libmemcached")]
    printed = differing(*arguments)
    assert "         10.0.0.7:11211 1 10.0.0.7\n" in printed
    assert "         12 more servers (list them with --json)\n" in printed
    assert "10.0.0.8" not in printed
    found = as_json("agree", *arguments, code=1)["remedies"]
    (names,) = (s["write"] for r in found for s in r["steps"] if s["kind"] == "names")
    assert [line.split()[2] for line in names.splitlines()] == [
        f"10.0.0.{number}" for number in range(20)
    ]


def test_wrong_use(tmp_path: Path) -> None:
    """It is an error in one line."""
    assert "cannot read standard input twice" in refusal(2, "agree", "-", "--keys", "-")
    message = refusal(2, "agree", FLEET, *given("memcache"))
    assert message.startswith('ketama: invalid profile "memcache": must be one of libketama, ')
    assert 'profile "dalli" has no option points' in refusal(
        2, "agree", FLEET, *given("dalli points=1")
    )
    empty = tmp_path / "empty.txt"
    empty.touch()
    assert "no keys were given" in refusal(
        3, "agree", FLEET, *given("twemproxy"), "--keys", empty
    )
    assert "absent: No such file" in refusal(3, "agree", tmp_path / "absent")
    assert "absent: No such file" in refusal(
        3, "agree", FLEET, *given("twemproxy"), "--keys", tmp_path / "absent"
    )
    line = b"#ketama profile=libmc\na:1 1\nb:1 1 y\n"
    assert '<stdin>:3: unexpected name "y"' in refusal(
        3, "agree", "-", *given("nginx"), stdin=line
    )


def test_text_that_controls_terminals(tmp_path: Path) -> None:
    """Addresses are escaped, and the NUL between host and port is written as a word."""
    path = tmp_path / "odd.servers"
    path.write_text("a\x1b:11211 1\nb:11211 1\n")
    printed = differing(path, *given("libmemcached", "nginx"))
    assert "\x1b" not in printed
    assert "\0" not in printed
    assert (
        "a\\x1b:11211 is hashed as a\\x1b in libmemcached, a\\x1b and 11211 in nginx" in printed
    )
    assert json.loads(run("agree", path, *given("nginx"), "--json").stdout)["ok"] is False
