"""`ketama buckets`, and the commands that edit a map."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import EXAMPLE, as_json, fits_schema, refusal, run, text

import ketama
from ketama.admin.buckets import owners


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A map of the servers of the example."""
    text("buckets", "new", EXAMPLE, "-o", tmp_path / "map", "--buckets", "1024")
    return tmp_path / "map"


def test_new(tmp_path: Path) -> None:
    """The map is fair; the document says how fair, and what moves from the ring."""
    output = tmp_path / "map"
    found = fits_schema("buckets", as_json("buckets", "new", EXAMPLE, "-o", output))
    assert (found["buckets"], found["file"]) == (65536, str(EXAMPLE))
    assert 1 <= found["worst"] < 1.001
    before, after = ketama.Continuum(EXAMPLE), ketama.Continuum(output)
    assert found["diff"]["moved"] == before.diff(after).moved > 0.7
    shares = {server.address: server.share for server in after.servers}
    moves = found["diff"]["servers"]
    assert {row["address"]: row["share_after"] for row in moves} == pytest.approx(shares)
    kept = fits_schema(
        "buckets", as_json("buckets", "new", EXAMPLE, "-o", tmp_path / "kept", "--from-ring")
    )
    assert kept["diff"]["moved"] < 0.1
    shown = text("buckets", "new", EXAMPLE, "-o", tmp_path / "third", "--within", "1%")
    assert "third: 8,192 buckets for 8 servers, at most 0." in shown
    assert text("check", tmp_path / "third").endswith("ok: 8 servers\n")


def test_where_names_the_bucket(path: Path) -> None:
    """It is the one that the line of the key's server lists."""
    owned = owners(ketama.Continuum(path), 1024)
    addresses = ketama.Continuum(path).addresses
    for key in ("user:42", "b", "c"):
        found = fits_schema("where", as_json("where", "-v", path, key))
        assert found["bucket"] == ketama.hashi(key) // 2**22
        assert found["server"] == addresses[owned[found["bucket"]]]
        head, row = (line.split() for line in text("where", "-v", path, key).splitlines())
        assert head == ["key", "server", "hash", "bucket", "next"]
        assert row[3] == str(found["bucket"])
        streamed = text("where", "-v", path, stdin=f"{key}\n".encode())
        assert streamed.split("\t")[3] == row[3]


def test_new_of_a_dialect(tmp_path: Path) -> None:
    """The ring can be another program's, stated or chosen; keys are hashed as on it."""
    options = ["--profile", "twemproxy", "--option", "hash_tag={}"]
    output = tmp_path / "map"
    found = as_json("buckets", "new", EXAMPLE, "-o", output, "--from-ring", *options)
    assert found["diff"]["moved"] < 0.1
    first = output.read_text().splitlines()[0]
    assert first == "#ketama profile=buckets buckets=65536 hash=fnv1a_64 hash_tag={}"
    said = refusal(
        2, "buckets", "new", EXAMPLE, "-o", tmp_path / "x", "--from-ring",
        "--profile", "evcache", "--option", "delimiter=:",
    )  # fmt: skip
    assert "hashes keys as no bucket map does" in said


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["new", EXAMPLE, "-o", "{map}"], 2, "map exists: write another file, and use"),
        (["new", "{map}", "-o", "{x}"], 1, "is a bucket map already"),
        (["new", EXAMPLE, "-o", "{x}", "--buckets", "1000"], 2, "must be a power of two"),
        (["new", EXAMPLE, "-o", "{x}", "--within", "0%"], 2, "--within must be above 0%"),
        (["new", EXAMPLE, "-o", "{x}", "--within", "1%", "--buckets", "8"], 2, "not both"),
        (["new", EXAMPLE], 2, "missing option '-o'"),
        (["drain", "{map}", "x:1", "--step", "2%", "-o", "{x}"], 1, "server 'x:1' not found"),
        (["drain", EXAMPLE, "x:1", "--step", "2%", "-o", "{x}"], 1, "is not a bucket map"),
        (["drain", "{map}", "10.0.1.3:11211", "--step", "0%", "-o", "{x}"], 2, "above 0%"),
        (["drain", "{map}", "10.0.1.3:11211", "--step", "2%", "-o", "{f}"], 2, "is not empty"),
        (
            ["drain", "{map}", "10.0.1.3:11211", "--step", "2%", "-o", "{map}"],
            2,
            "not a folder",
        ),
        (
            ["drain", "{map}", "10.0.1.3:11211", "--step", "0.09%", "-o", "{x}"],
            1,
            "a step must move a bucket of 1,024, so it is at least 0.097657 %",
        ),
        (["drain", "{one}", "a:1", "--step", "2%", "-o", "{x}"], 1, "no server would be left"),
        (
            ["drain", "{many}", "a:1", "--step", "2%", "-o", "{x}"],
            1,
            'many:1: invalid buckets "',
        ),
        (["fill", "{many}", "b:1", "1", "--step", "2%", "-o", "{x}"], 1, "many:1: invalid b"),
        (
            ["new", "{twice}", "-o", "{x}"],
            1,
            "twice:4: a:1 is also on line 2: a bucket map has",
        ),
        (["fill", "{map}", "10.0.1.3:11211", "5", "--step", "2%", "-o", "{x}"], 1, "already p"),
        (["fill", "{map}", "a:1", "0", "--step", "2%", "-o", "{x}"], 2, "invalid weight '0'"),
        (
            ["fill", "{map}", "c 1", "1", "--step", "2%", "-o", "{x}"],
            2,
            'invalid address "c 1"',
        ),
        (["frob"], 2, "no such command 'frob'"),
    ],
)
def test_refusals(
    arguments: list[str | Path], code: int, reason: str, path: Path, tmp_path: Path
) -> None:
    """Each is one line with the reason, and nothing is written."""
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "file").touch()
    one = tmp_path / "one"
    one.write_text("#ketama profile=buckets buckets=64\na:1 600 0-63\n")
    many, twice = tmp_path / "many", tmp_path / "twice"
    many.write_text("#ketama profile=buckets buckets=many\na:1 600 0-63\n")
    twice.write_text("# pool\na:1 1\nb:1 1\na:1 1\n")
    names = {
        "map": path, "x": tmp_path / "x", "f": folder, "one": one, "many": many, "twice": twice,
    }  # fmt: skip
    before = path.read_bytes()
    given = [str(word).format(**names) for word in arguments]
    assert reason in refusal(code, "buckets", *given)
    assert path.read_bytes() == before
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("action", ["drain", "fill"])
def test_steps(action: str, path: Path, tmp_path: Path) -> None:
    """Each moves no more than the step; the last is what one edit would have made."""
    folder, server = tmp_path / "plan", "10.0.1.6:11211" if action == "drain" else "a:1"
    weight = [] if action == "drain" else ["800"]
    found = fits_schema(
        "buckets",
        as_json("buckets", action, path, server, *weight, "--step", "2%", "-o", folder),
    )
    files = [Path(step["file"]) for step in found["steps"]]
    assert [file.name for file in files][:2] == ["01.servers", "02.servers"]
    assert len(files) == (10 if action == "drain" else 8)
    edit = ["remove", server] if action == "drain" else ["add", server, "800"]
    once = tmp_path / "once"
    once.write_bytes(path.read_bytes())
    all_at_once = as_json(edit[0], once, *edit[1:])["diff"]["moved"]
    assert files[-1].read_bytes() == once.read_bytes()
    assert sum(step["moved"] for step in found["steps"]) == pytest.approx(all_at_once)
    for step, file in zip(found["steps"], files, strict=True):
        assert 0 < step["moved"] <= 0.02
        done = as_json("apply", "--max-moved", "2%", file, path)
        assert done["diff"]["moved"] == step["moved"]
        shares = {row.address: row.share for row in ketama.Continuum(path).servers}
        assert (server in shares) or file == files[-1]


def test_a_plan_of_too_many_steps(tmp_path: Path) -> None:
    """It would take gigabytes."""
    path = tmp_path / "map"
    text("buckets", "new", EXAMPLE, "-o", path)
    said = refusal(
        1, "buckets", "drain", path, "10.0.1.5:11211", "--step", "0.002%", "-o", tmp_path / "x"
    )
    assert "would take 15,241 steps: at most 1,000" in said
    assert not (tmp_path / "x").exists()


def test_a_full_disk(path: Path, tmpfs: Path) -> None:
    """The error names the file that could not be written, and nothing is left."""
    said = refusal(
        3, "buckets", "drain", path, "10.0.1.5:11211", "--step", "1%", "-o", tmpfs / "plan"
    )
    assert said.startswith(f"ketama: {tmpfs / 'plan'}/")
    assert "No space left on device" in said
    assert [*(tmpfs / "plan").iterdir()] == []
    said = refusal(3, "buckets", "new", EXAMPLE, "-o", tmpfs / "map")
    assert said == f"ketama: {tmpfs / 'map'}: No space left on device"
    assert not (tmpfs / "map").exists()


def test_what_steps_print(path: Path, tmp_path: Path) -> None:
    """It is what each file moves, and how to apply them."""
    folder = tmp_path / "plan"
    shown = text("buckets", "drain", path, "10.0.1.3:11211", "--step", "3%", "-o", folder)
    first, second, _, hint, last = shown.splitlines()
    assert first.startswith(f"{folder / '01.servers'}  moves 2.93 %")
    assert second.startswith(f"{folder / '02.servers'}  moves ")
    assert hint == "apply each in turn, and edit the map only after the last one:"
    assert last == f"ketama apply --max-moved 3% {folder / '01.servers'} {path}"
    assert text(*last.split()[1:]).startswith(f"{path}: replace with")
    text("add", path, "10.0.1.9:11211", "600")
    words: list[str | Path] = ["apply", "--max-moved", "3%", folder / "02.servers", path]
    assert "more than the limit of 3 %" in refusal(1, *words)  # it would undo the edit


@pytest.mark.parametrize("step", ["12.20703125%", "29%"])
def test_the_limit_that_steps_print(step: str, path: Path, tmp_path: Path) -> None:
    """It lets each step pass, however many digits it takes."""
    shown = text("buckets", "fill", path, "a:1", "900", "--step", step, "-o", tmp_path / "f")
    assert text(*shown.splitlines()[-1].split()[1:]).startswith(f"{path}: replace with")


def test_a_map_from_standard_input(path: Path, tmp_path: Path) -> None:
    """Its name is not known, so MAP is written in its place."""
    words: list[str | Path] = [
        "buckets",
        "drain",
        "-",
        "10.0.1.3:11211",
        "--step",
        "9%",
        "-o",
        tmp_path / "f",
    ]
    done = run(*words, stdin=path.read_bytes())
    assert done.stdout.decode().endswith(f" {tmp_path / 'f' / '01.servers'} MAP\n")


def test_edits(path: Path) -> None:
    """add, remove, weight and apply of a list rebalance; nothing moves in vain."""
    ring = as_json("add", EXAMPLE, "a:1", "333", "--dry-run")["diff"]
    assert ring["collateral"] > 0
    edits: list[list[str | Path]] = [
        ["add", path, "10.0.1.9:11211", "600"],
        ["weight", path, "10.0.1.1:11211", "1200"],
        ["remove", path, "10.0.1.2:11211"],
        ["rename", path, "10.0.1.5:11211", "10.0.9.5:11211"],
    ]
    for words in edits:
        before = path.read_bytes()
        tried = as_json(*words, "--dry-run")
        assert path.read_bytes() == before
        found = fits_schema("edit", as_json(*words))
        assert found["written"]
        assert found["diff"] == tried["diff"]
        assert found["diff"]["collateral"] == 0
        assert (found["diff"]["moved"] > 0) == (words[0] != "rename")
    done = run("remove", "--max-moved", "5%", path, "10.0.1.7:11211")
    assert done.returncode == 1
    assert b"more than the limit of 5 %" in done.stderr
    found = as_json("apply", EXAMPLE, path)
    assert found["diff"]["added"] == ["10.0.1.2:11211"]
    servers = ketama.Continuum(path).servers
    assert sum(server.points for server in servers) == 1024
    assert text("check", path).endswith("ok: 8 servers\n")


def test_a_map_that_is_too_coarse(tmp_path: Path) -> None:
    """Check says how many buckets the weights need."""
    path = tmp_path / "map"
    text("buckets", "new", EXAMPLE, "-o", path, "--buckets", "16")
    found = fits_schema("check", as_json("check", path))
    (coarse,) = (row for row in found["findings"] if row["code"] == "coarse")
    assert coarse["severity"] == "note"
    assert coarse["reason"] == (
        "16 buckets cannot keep the server with the weight 100 within 1 % of its fair share: "
        "8,192 do"
    )
    path.write_text("#ketama profile=buckets buckets=8\na 99999999 0-6\nb 1 7\n")
    found = as_json("check", path)
    (coarse,) = (row for row in found["findings"] if row["code"] == "coarse")
    assert coarse["reason"].endswith("write larger weights for small servers")


def test_completion() -> None:
    """The group lists its commands with a line each."""
    shown = text("buckets", "--help").partition("Commands:")[2].splitlines()[1:]
    assert [line.split()[0] for line in shown] == ["drain", "fill", "new"]
    for command in ("drain", "fill", "new"):
        own = text("buckets", command, "--help")
        assert "Examples:\n    ketama buckets" in own
        assert own.startswith(f"Usage: ketama buckets {command} [OPTIONS] ")
        assert "MAP_" not in own
        assert "--json" in own
