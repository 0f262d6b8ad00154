"""What the command does with --profile and --option."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import EXAMPLE, as_json, fits_schema, refusal, text

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
        f"ketama: {stated}:1: the file states profile=dalli, the program has chosen "
        '"nginx": they must agree'
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
        (("--profile", "memcache"), 'invalid profile "memcache": must be one of libketama, '),
        (("--option", "hash=fnv"), 'invalid hash "fnv": must be md5'),
        ((*DALLI, "--option", "points=1"), 'profile "dalli" has no option points: it has '),
        ((*FNV[:2], "--option", "hash=sha512"), 'invalid hash "sha512"'),
        ((*DALLI, "--option", "Hash Tag=x"), 'unknown option "Hash_Tag"'),
        ((*DALLI, "--option", "hash"), "invalid option 'hash': write NAME=VALUE, such as"),
        ((*FNV, "--option", "hash=md5"), "invalid option 'hash=md5': hash is given twice"),
        (("--option", "profile=nginx"), "write --profile NAME, not --option profile=NAME"),
    ],
)
def test_wrong_options(options: tuple[str, ...], reason: str) -> None:
    """They are usage errors, in one line that says what is allowed."""
    message = refusal(2, "where", *options, EXAMPLE, "x")
    assert message.startswith(("ketama: " + reason, "ketama where: " + reason))
    assert "see 'ketama " in message
