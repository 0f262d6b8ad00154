"""What the command does with --profile and --option, and what it says about profiles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from answers import CIRCLE, CIRCLES
from command import EXAMPLE, as_json, fits_schema, on_a_terminal, refusal, run, text

import ketama
from ketama.admin.images import image_of

DALLI = ("--profile", "dalli")
FNV = ("--profile", "twemproxy", "--option", "hash=fnv1a_32", "--option", "hash_tag={}")


@pytest.fixture
def stated(tmp_path: Path) -> Path:
    """A server file that states its dialect."""
    path = tmp_path / "stated.servers"
    path.write_bytes(b"#ketama profile=dalli\n" + EXAMPLE.read_bytes())
    return path


def test_where() -> None:
    """Keys get the servers of that dialect."""
    continuum = ketama.Continuum(
        EXAMPLE, shared=False, profile="twemproxy", hash="fnv1a_32", hash_tag="{}"
    )
    keys = [f"user:{{{number}}}:name" for number in range(50)]
    found = as_json("where", *FNV, EXAMPLE, *keys)
    assert [row["server"] for row in found] == continuum.lookup_many(keys)
    assert continuum.lookup_many(keys) != ketama.Continuum(EXAMPLE).lookup_many(keys)
    streamed = text("where", *FNV, EXAMPLE, stdin="\n".join(keys).encode())
    assert [line.split("\t")[1] for line in streamed.splitlines()] == [
        row["server"] for row in found
    ]


def test_each_command_that_reads(stated: Path, tmp_path: Path) -> None:
    """Chosen, stated, or stated on standard input, a dialect gives the same output."""
    commands: list[tuple[str, ...]] = [("show",), ("dump",), ("check",), ("where", "-v")]
    for command in commands:
        keys = ["user:42", "x"] if command[0] == "where" else []
        plain = text(*command, EXAMPLE, *keys)
        chosen = text(*command, *DALLI, EXAMPLE, *keys)
        assert chosen != plain, command
        for file, stdin in ((str(stated), b""), ("-", stated.read_bytes())):
            said = text(*command, file, *keys, stdin=stdin)
            assert _facts(said) == _facts(chosen), command
            again = text(*command, *DALLI, file, *keys, stdin=stdin)
            assert _facts(again) == _facts(said)


def _facts(output: str) -> list[str]:
    """Return the lines that do not depend on the file's name, time or line numbers."""
    lines = [line for line in output.splitlines() if line[:1] not in ("-", "<", "/")]
    return [line for line in lines if not line.startswith(("published", "changed", " "))]


def test_diff(tmp_path: Path) -> None:
    """What moves depends on the dialect, which must be the one of both files."""
    new = tmp_path / "new.servers"
    new.write_bytes(EXAMPLE.read_bytes() + b"10.0.1.9:11211 600\n")
    found = fits_schema("diff", as_json("diff", *DALLI, EXAMPLE, new))
    before, after = (
        ketama.Continuum(path, shared=False, profile="dalli") for path in (EXAMPLE, new)
    )
    assert found["moved"] == before.diff(after).moved
    assert found["moved"] != as_json("diff", EXAMPLE, new)["moved"]


def test_edits(tmp_path: Path) -> None:
    """What an edit moves, and may move, is that of the dialect, whose image is published."""
    path = tmp_path / "ketama.servers"
    path.write_bytes(EXAMPLE.read_bytes())
    continuum = ketama.Continuum(path, profile="dalli")
    bare = ketama.Continuum(path)
    with ketama.edit(path, dry_run=True, profile="dalli") as editing:
        editing.remove("10.0.1.1:11211")
        diff = editing.diff()
    done = as_json("remove", *DALLI, path, "10.0.1.1:11211")
    assert diff is not None
    assert done["diff"]["moved"] == diff.moved
    image, other = image_of(str(path), b"profile=dalli"), image_of(str(path))
    assert image is not None
    assert other is not None
    assert (image.state, other.state) == ("current", "current")
    assert image.image != other.image
    for ring in (continuum, bare):
        assert ring.roll()
        assert ring.shared


def test_a_contradiction(stated: Path) -> None:
    """A file that states another dialect is an error of the file, and nothing is written."""
    before = stated.read_bytes()
    expected = (
        f'ketama: {stated}:1: the file states profile="dalli", the program has chosen '
        '"nginx": leave one of them out'
    )
    chosen = ("--profile", "nginx")
    assert refusal(3, "where", *chosen, stated, "x") == expected
    assert refusal(1, "remove", *chosen, stated, "10.0.1.1:11211") == expected
    assert stated.read_bytes() == before
    (finding,) = as_json("check", *chosen, stated, code=1)["findings"]
    assert (finding["line"], finding["code"]) == (1, "profile")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--profile", "twempoxy"), "invalid profile 'twempoxy': did you mean twemproxy? See "),
        (("--profile", "php"), "invalid profile 'php': did you mean libketama, libmemcached, "),
        (("--profile", "xyz"), "invalid profile 'xyz': must be one of libketama, "),
        (("--option", "hash=fnv"), 'invalid hash "fnv": must be md5'),
        ((*DALLI, "--option", "points=1"), 'profile "dalli" has no option points: it has '),
        ((*FNV[:2], "--option", "hash=sha512"), 'invalid hash "sha512"'),
        ((*DALLI, "--option", "Hash Tag=x"), 'unknown option "Hash_Tag"'),
        ((*DALLI, "--option", "hash"), "invalid option 'hash': write NAME=VALUE, such as"),
        (
            ("--profile", "twemproxy hash=md5"),
            "invalid profile 'twemproxy hash=md5': write --profile twemproxy --option hash=md5",
        ),
        ((*FNV, "--option", "hash=md5"), "invalid option 'hash=md5': hash is given twice"),
        (("--option", "profile=nginx"), "write --profile NAME, not --option profile=NAME"),
    ],
)
def test_wrong_options(options: tuple[str, ...], reason: str) -> None:
    """They are usage errors, in one line that says what is allowed."""
    message = refusal(2, "where", *options, EXAMPLE, "x")
    assert message.startswith(("ketama: " + reason, "ketama where: " + reason))
    assert "see 'ketama " in message.lower()


NAMES = [profile.name for profile in ketama.profiles()]


def test_profiles() -> None:
    """Each profile has a line with its programs and their setting, uncut in a pipe."""
    rows = [re.split(" {3,}", line) for line in text("profiles").splitlines()]
    assert rows[: len(NAMES) + 2] == [
        ["profile", "programs", "setting"],
        *([row.name, row.programs, row.setting] for row in ketama.profiles()),
        [""],
    ]
    assert "it keeps its buckets at another address" in text("profiles", "buckets")
    assert "it is hashed in place of the address" in text("profiles", "dalli")


@pytest.mark.parametrize("columns", ["72", "100", "160"])
def test_profiles_on_a_terminal(columns: str) -> None:
    """The texts are wrapped, and none of their words is lost."""
    shown = on_a_terminal("profiles", env={"COLUMNS": columns, "NO_COLOR": "1"})
    lines = shown.replace("\r", "").splitlines()
    narrow = 25 + 2 * (3 + 24)  # the longest name, and two texts that are not narrower
    assert max(map(len, lines)) <= max(int(columns), narrow)
    letters = "".join(shown.split())
    for profile in ketama.profiles():
        words = f"{profile.programs} {profile.setting}".split()
        assert all(word in letters for word in words if len(word) <= 20), profile.name
    assert len(lines) > len(NAMES) + 3


def test_profiles_as_json() -> None:
    """The document has what the library says of all profiles, and a line that it reads."""
    found = fits_schema("profiles", as_json("profiles"))["profiles"]
    assert [row["name"] for row in found] == NAMES
    for row, profile in zip(found, ketama.profiles(), strict=True):
        assert (row["programs"], row["setting"], row["note"]) == profile[1:4]
        assert row["options"] == [
            {"name": name, "default": default, "choices": list(choices)}
            for name, default, choices in profile.options
        ]
        assert row["key_hash"] in next(o for o in profile.options if o.name == "hash").choices
        assert as_json("profiles", profile.name) == {"profiles": [row]}


# As docs/profiles.md and each program's rules have them: the text for port 11211 and for
# another one, whether it takes a name, and what its weights mean.
TRAITS = {
    "libketama": ("10.0.0.1:11211", "10.0.0.1:11212", True, "ratio", False),
    "libmemcached": ("10.0.0.1", "10.0.0.1:11212", True, "ratio", False),
    "libmemcached-ketama": ("10.0.0.1", "10.0.0.1:11212", True, "ratio", True),
    "libmemcached-spy": ("/10.0.0.1:11211", "/10.0.0.1:11212", True, "ratio", True),
    "twemproxy": ("10.0.0.1", "10.0.0.1:11212", True, "ratio", False),
    "spymemcached": ("10.0.0.1:11211", "10.0.0.1:11212", True, "ratio", True),
    "evcache": ("10.0.0.1/10.0.0.1:11211",) * 2 + (True, "ignored", False),
    "xmemcached": ("/10.0.0.1:11211", "/10.0.0.1:11212", True, "absolute", False),
    "nginx": (None, None, False, "absolute", False),
    "pingora": (None, None, False, "absolute", False),
    "memcached-proxy-evcache": (
        "10.0.0.1/10.0.0.1:11211",
        "10.0.0.1/10.0.0.1:11212",
        True,
        "ignored",
        False,
    ),
    "libmc": ("10.0.0.1", "10.0.0.1:11212", True, "ignored", False),
    "dalli": ("10.0.0.1:11211", "10.0.0.1:11212", True, "ratio", False),
    "buckets": (None, None, True, "buckets", False),
}


def test_traits() -> None:
    """What is computed of a profile is what its rules say."""
    found = {row["name"]: row for row in as_json("profiles")["profiles"]}
    keys = ("hashed", "hashed_other", "names", "weights", "weights_of_one")
    assert {name: tuple(found[name][key] for key in keys) for name in TRAITS} == TRAITS


@pytest.mark.parametrize("profile", CIRCLES)
def test_the_line_of_a_profile(profile: str) -> None:
    """The last line that is printed states the profile in a server file."""
    line = text("profiles", profile).splitlines()[-1]
    file = line + "".join(f"\n{address} {weight}" for address, weight in CIRCLE) + "\n"
    points = [
        int(row.split()[0]) for row in text("dump", "-", stdin=file.encode()).splitlines()
    ]
    assert (len(points), points[0], points[-1]) == CIRCLES[profile]


def test_one_profile() -> None:
    """One profile is shown with all that is known of it."""
    shown = text("profiles", "twemproxy")
    (profile,) = (row for row in ketama.profiles() if row.name == "twemproxy")
    for part in (profile.programs, profile.setting, profile.note):
        assert part in shown
    assert "10.0.0.1 is hashed for 10.0.0.1:11211, 10.0.0.1:11212 for 10.0.0.1:11212" in shown
    rows = [line.split() for line in shown.splitlines()]
    for option in profile.options:
        assert [option.name, option.default or "off", *option.choices] in rows
    assert "weights that are all 1" in text("profiles", "libmemcached-ketama")
    assert "host and port are hashed apart" in text("profiles", "nginx")
    assert "all servers are alike" in text("profiles", "libmc")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pylibmc", "did you mean libmemcached or libmemcached-ketama?"),
        ("Rails", "did you mean dalli?"),
        ("twemprox", "did you mean twemproxy?"),
        ("xyz", f"must be one of {', '.join(NAMES)}"),
        ("", f"must be one of {', '.join(NAMES)}"),
    ],
)
def test_an_unknown_profile(name: str, reason: str) -> None:
    """It is a usage error that names those of such a program, similar ones, or all."""
    said = refusal(2, "profiles", name)
    expected = f"ketama profiles: invalid profile {name!r}: {reason}"
    see = " See" if reason.endswith("?") else "; see"
    assert said == f"{expected}{see} 'ketama profiles --help'"


@pytest.mark.parametrize("verbose", [[], ["-v"]])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_prefix(verbose: list[str], form: list[str]) -> None:
    """A key is answered as with its prefix, and printed without, as an argument or streamed."""
    keys = [b"user:42", b"", b"\xff", "\u043a".encode()]
    options = ["--profile", "twemproxy", "--option", "hash_tag={}", *verbose, *form]
    prefix = ":\u0431{:".encode()
    for stdin, arguments, joined in (
        (b"", [*keys], [prefix + key for key in keys]),
        (b"\n".join(keys) + b"\n", [], []),
    ):
        expected = run(
            "where", *options, EXAMPLE, "--", *joined,
            stdin=b"".join(prefix + key + b"\n" for key in keys),
        ).stdout  # fmt: skip
        found = run(
            "where", *options, "--prefix", prefix, EXAMPLE, "--", *arguments, stdin=stdin
        )
        assert (found.returncode, found.stderr) == (0, b"")
        assert _without_keys(found.stdout) == _without_keys(expected)
        assert b"user:42" in found.stdout
        assert prefix not in found.stdout
    for row in as_json("where", *verbose, "--prefix", ":1:", EXAMPLE, "user:42", "x"):
        fits_schema("where", row)
        assert row["server"] == ketama.Continuum(EXAMPLE).lookup(f":1:{row['key']}")


def _without_keys(output: bytes) -> list[bytes]:
    """Return each line's answer: what follows the key."""
    return [
        line.partition(b'"server"')[2]
        if line.startswith(b"{")
        else b" ".join(word for word in line.split() if word[:1].isdigit())
        for line in output.splitlines()
    ]


def test_no_prefix() -> None:
    """An empty one changes nothing."""
    plain = text("where", "-v", EXAMPLE, "user:42")
    assert plain == text("where", "-v", "--prefix", "", EXAMPLE, "user:42")
    assert plain != text("where", "-v", "--prefix", ":", EXAMPLE, "user:42")
