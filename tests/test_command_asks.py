"""What the command answers: where, show, check, diff, dump."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import pstdev

import pytest
from command import COMMAND, EXAMPLE, as_json, fits_schema, refusal, run, text
from waiting import wait_for

import ketama
from ketama.admin.images import image_of
from ketama.admin.images import images as all_images
from ketama.cli import source

VECTORS = Path(__file__).parent / "vectors"
NEW = b"# next week\n" + EXAMPLE.read_bytes() + b"10.0.1.9:11211    600\n"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    path = tmp_path / "new.servers"
    path.write_bytes(NEW)
    return path


def test_where() -> None:
    """Each key has a line with its server, aligned."""
    assert text("where", EXAMPLE, "user:42", "a\tb") == (
        "user:42   10.0.1.7:11211\n"
        "a\\x09b    10.0.1.7:11211\n"
    )  # fmt: skip
    assert text("where", EXAMPLE, "--", "-v") == "-v   10.0.1.7:11211\n"
    assert text("where", EXAMPLE, b"\xff") == "\\xff   10.0.1.6:11211\n"
    assert text("where", EXAMPLE, "") == "   10.0.1.4:11211\n"


def test_where_verbose() -> None:
    """With -v there are hash, point and the next servers, as the library has them."""
    assert text("where", "-v", EXAMPLE, "user:42", "x") == (
        "key       server                 hash        point   next\n"
        "user:42   10.0.1.7:11211    417323606    417811516   10.0.1.6:11211 10.0.1.5:11211\n"
        "x         10.0.1.2:11211   1642386589   1652344672   10.0.1.6:11211 10.0.1.7:11211\n"
    )
    continuum = ketama.Continuum(EXAMPLE, shared=False)
    found = fits_schema("where", as_json("where", "-v", "-n", "99", EXAMPLE, "user:42"))
    assert found == {
        "key": "user:42",
        "server": continuum.lookup("user:42"),
        "name": None,
        "hash": ketama.hashi("user:42"),
        "point": continuum.get_server("user:42")[0],
        "bucket": None,
        "next": continuum.successors("user:42")[1:],
    }
    assert as_json("where", "-v", "-n", "0", EXAMPLE, "user:42")["next"] == []


@pytest.mark.parametrize(
    "folder", sorted(path.parent.name for path in VECTORS.glob("*/ketama.servers"))
)
def test_where_of_the_vectors(folder: str) -> None:
    """Each golden key on standard input has the hash, point and server of the original."""
    rows = [
        row.split(b"\t") for row in (VECTORS / folder / "lookups.tsv").read_bytes().splitlines()
    ]
    keys = b"".join(row[0] + b"\n" for row in rows)
    servers = VECTORS / folder / "ketama.servers"
    assert run("where", servers, stdin=keys).stdout == b"".join(
        key + b"\t" + address + b"\n" for key, _, _, address in rows
    )
    assert run("where", "-v", "-n", "0", servers, stdin=keys).stdout == b"".join(
        b"\t".join((key, address, hashed, point, b"\n")) for key, hashed, point, address in rows
    )


def test_where_streamed() -> None:
    """Keys of standard input, a line each, are answered with a tab between; as is."""
    keys = b"user:42\n\nk\xff\tx\r\nuser:43"
    answer = (
        b"user:42\t10.0.1.7:11211\n"
        b"\t10.0.1.4:11211\n"
        b"k\xff\tx\t10.0.1.5:11211\n"
        b"user:43\t10.0.1.7:11211\n"
    )
    assert run("where", EXAMPLE, stdin=keys).stdout == answer
    assert run("where", EXAMPLE, "-", stdin=keys + b"\n").stdout == answer
    assert run("where", EXAMPLE).stdout == b""
    continuum = ketama.Continuum(EXAMPLE, shared=False)
    assert continuum.lookup(b"k\xff\tx") == "10.0.1.5:11211"
    for line in run("where", "-v", EXAMPLE, stdin=keys).stdout.splitlines():
        key, server, hashed, point, following = line.rsplit(b"\t", 4)
        assert continuum.successors(key, 3) == [server.decode(), *following.decode().split()]
        assert int(hashed) == ketama.hashi(key)
        assert (int(point), server.decode()) == continuum.get_server(key)


def test_where_of_keys_that_end_in_nul() -> None:
    """With -0 a key may have line breaks in it, and nothing is left out."""
    keys = [b"a\nb", b"c\r", b"\n", b"d"]
    found = as_json("where", "-0", EXAMPLE, stdin=b"\0".join(keys) + b"\0")
    continuum = ketama.Continuum(EXAMPLE, shared=False)
    assert [(row["key"].encode(), row["server"]) for row in found] == [
        (key, continuum.lookup(key)) for key in keys
    ]


@pytest.mark.parametrize("verbose", [[], ["-v"]])
def test_where_as_json(verbose: list[str]) -> None:
    """A key that is not UTF-8 has its bytes in hexadecimal, streamed or not."""
    keys = [b"user:42", b"\xff\x00"[:1], 'naïve "café"\\\x01'.encode(), b"\xed\xa0\x80"]
    streamed = as_json("where", *verbose, EXAMPLE, stdin=b"\n".join(keys))
    assert streamed == as_json("where", *verbose, EXAMPLE, *keys)
    continuum = ketama.Continuum(EXAMPLE, shared=False)
    for key, row in zip(keys, streamed, strict=True):
        fits_schema("where", row)
        data = bytes.fromhex(row["key_hex"]) if row["key"] is None else row["key"].encode()
        assert (key, continuum.lookup(key)) == (data, row["server"])
    assert [row["key"] is None for row in streamed] == [False, True, False, True]


def test_where_wherever_a_block_ends() -> None:
    """Keys and line ends that lie across the blocks that are read are not torn."""
    from io import BufferedReader, BytesIO

    class Slow(BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return self.read(min(step, size or step))

    text = b"a\r\nbb\r\r\n\r\n\nccc\rx\r\n" + 30 * b"d" + b"\r"
    expected = [b"a", b"bb\r", b"", b"", b"ccc\rx", 30 * b"d"]
    for step in range(1, len(text) + 1):
        stream: BufferedReader = Slow(text)  # type: ignore[assignment]
        found = [
            key for keys, _ in source.blocks_of_keys(stream, b"\n", "keys") for key in keys
        ]
        assert expected == found, step
    step = 3
    found = [
        key
        for keys, _ in source.blocks_of_keys(Slow(b"a\r\0\0b\n"), b"\0", "keys")
        for key in keys
    ]
    assert found == [b"a\r", b"", b"b\n"]


def test_where_answers_at_once() -> None:
    """Who asks one key at a time over a pipe has the answer before the next one."""
    with subprocess.Popen(
        [*COMMAND, "where", EXAMPLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(3):
            process.stdin.write(b"user:44\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"user:44\t10.0.1.6:11211\n"


def is_of_size(path: Path, size: int) -> bool:
    return path.stat().st_size == size


def test_where_in_constant_memory(tmp_path: Path) -> None:
    """The memory for a million keys is that for a few thousand."""
    out = tmp_path / "out"
    counts, most = [20_000, 1_000_000], list[int]()
    with (
        out.open("wb") as stdout,
        subprocess.Popen(
            [*COMMAND, "where", EXAMPLE], stdin=subprocess.PIPE, stdout=stdout
        ) as process,
    ):
        assert process.stdin is not None
        for count in counts:
            process.stdin.write(b"".join(b"user:%07d\n" % i for i in range(count)))
            process.stdin.flush()
            answers = sum(counts[: len(most) + 1])
            size = answers * len(b"user:0000000\t10.0.1.1:11211\n")
            wait_for(functools.partial(is_of_size, out, size))
            status = Path(f"/proc/{process.pid}/status").read_text()
            most.append(int(status.partition("VmHWM:")[2].split()[0]))
    assert process.returncode == 0
    assert most[1] - most[0] < 4_000  # KiB; the keys are 12,000, and their answers 27,000


SHOWN = """\
server           weight   of weight   points    of keys   deviation
10.0.1.1:11211      600     13.95 %      176    12.43 %     -10.9 %
10.0.1.2:11211      300      6.98 %       88     6.62 %      -5.1 %
10.0.1.3:11211      200      4.65 %       56     4.76 %      +2.4 %
10.0.1.4:11211      350      8.14 %      104     7.33 %     -10.0 %
10.0.1.5:11211     1000     23.26 %      296    23.68 %      +1.8 %
10.0.1.6:11211      800     18.60 %      236    18.98 %      +2.0 %
10.0.1.7:11211      950     22.09 %      280    23.95 %      +8.4 %
10.0.1.8:11211      100      2.33 %       28     2.24 %      -3.7 %
total              4300    100.00 %     1264   100.00 %

FILE: 8 servers, 1,264 points
deviation   -10.9 % to +8.4 %, standard deviation 6.5 %
"""


def test_show(tmp_path: Path) -> None:
    """The servers with what they get; and whether it is published, since when, and where."""
    path = tmp_path / "ketama.servers"
    path.write_bytes(EXAMPLE.read_bytes())
    os.utime(path, (1_700_000_000, 1_700_000_000))
    environment = {**os.environ, "TZ": "UTC"}
    shown = text("show", path, env=environment)
    expected = SHOWN.replace("FILE", str(path))
    assert shown.startswith(f"{expected}changed     2023-11-14 22:13:20, ")
    assert shown.endswith(" days ago\npublished   no: no process of this user shares it\n")
    assert image_of(str(path)) is None

    ketama.Continuum(path)
    image = image_of(str(path))
    assert image is not None
    *_, when, where = text("show", path, env=environment).splitlines()
    assert re.fullmatch(r"published   generation 1, current, \d+ (second|minute)s? old", when)
    assert where == f"            {image.image}"
    path.write_bytes(NEW)
    assert "\npublished   generation 1, stale, " in text("show", path)

    link = tmp_path / "link"
    link.symlink_to(path)
    for other in (link, tmp_path / "x" / ".." / path.name):
        (tmp_path / "x").mkdir(exist_ok=True)
        shown = text("show", other)
        assert shown.endswith(f" old\n            as {path}\n            {image.image}\n")
        assert as_json("show", other)["published"]["path"] == str(path)
    os.utime(path, (2e9, 2e9))
    assert ", in the future\n" in text("show", path)


def test_names(tmp_path: Path) -> None:
    """Names are shown if there are any, and are in the JSON of show, dump and where -v."""
    path = tmp_path / "ketama.servers"
    path.write_text("a:1 100\nb:1 100 bee\n")
    shown = text("show", path).splitlines()
    assert shown[0].startswith("server   name   weight   of weight")
    assert re.match(r"a:1 +100 +50\.00 %", shown[1])
    assert re.match(r"b:1 +bee +100 +50\.00 %", shown[2])
    assert re.match(r"total +200 +100\.00 %", shown[3])
    for command in ("show", "dump"):
        found = fits_schema(command, as_json(command, path))
        assert [row["name"] for row in found["servers"]] == [None, "bee"]
    names = {"a:1": None, "b:1": "bee"}
    keys = [str(number) for number in range(20)]
    for stdin, arguments in ((b"", keys), ("\n".join(keys).encode(), [])):
        rows = as_json("where", "-v", path, *arguments, stdin=stdin)
        assert {row["server"] for row in rows} == set(names)
        for row in rows:
            assert fits_schema("where", row)["name"] == names[row["server"]]
    assert "name" not in as_json("where", path, "x")
    # The address is the answer; the name decides which keys get it.
    renamed = ketama.Continuum([("a:1", 100), ("x:1", 100, "bee")])
    answers = text("where", path, *keys).replace("b:1", "x:1").splitlines()
    assert [line.split() for line in answers] == [[key, renamed.lookup(key)] for key in keys]


def test_show_as_json(tmp_path: Path) -> None:
    """The same for programs, exactly."""
    path = tmp_path / "ketama.servers"
    path.write_bytes(EXAMPLE.read_bytes())
    continuum = ketama.Continuum(path)
    found = fits_schema("show", as_json("show", path))
    assert [
        (row["address"], row["weight"], row["points"], row["share"], row["name"])
        for row in found["servers"]
    ] == list(continuum.servers)
    assert sum(row["weight_share"] for row in found["servers"]) == pytest.approx(1)
    parts = [row["deviation"] for row in found["servers"]]
    assert found["totals"] == {
        "servers": 8,
        "weight": 4300,
        "points": 1264,
        "deviation": {
            "min": min(parts),
            "max": max(parts),
            "standard": pytest.approx(pstdev(parts, 0)),
        },
    }
    assert found["published"]["state"] == "current"
    assert found["published"]["path"] == str(path)
    here = fits_schema("show", as_json("show", "-", stdin=path.read_bytes()))
    assert (here["file"], here["changed"], here["published"]) == ("<stdin>", None, None)


@pytest.mark.parametrize(
    ("order", "first", "last"),
    [("weight", "10.0.1.5", "10.0.1.8"), ("share", "10.0.1.7", "10.0.1.8"),
     ("deviation", "10.0.1.1", "10.0.1.5")],
)  # fmt: skip
def test_show_sorted(order: str, first: str, last: str) -> None:
    """Servers are sorted by what one asks for; the one that is most off is the first."""
    lines = text("show", "--sort", order, EXAMPLE).splitlines()
    assert (lines[1].split(":")[0], lines[8].split(":")[0]) == (first, last)
    measures = [abs(row[order]) for row in as_json("show", "--sort", order, EXAMPLE)["servers"]]
    assert measures == sorted(measures, reverse=True)
    assert len(set(measures)) == 8


def test_show_files_from_the_wild(tmp_path: Path) -> None:
    """Comments, CR LF, tabs, long and foreign names, IPv6, paths and starved servers work."""
    path = tmp_path / "wild servers"
    path.write_bytes(
        "# pool\r\n[2001:db8::1]:11211\t\t100\r\n\r\n/run/memcached.sock 1\r\n"
        f"{'x' * 200}:1 100\r\n日本:11211 100\r\nstarved:1 1".encode()
    )
    shown = text("show", path)
    assert "/run/memcached.sock" in shown
    assert "日本:11211" in shown
    assert f"{'x' * 200}:1" in shown
    starved = as_json("show", path)["servers"][-1]
    assert (starved["points"], starved["share"], starved["deviation"]) == (0, 0, -1)
    assert run("check", path).returncode == 0
    assert len({len(line.rstrip()) for line in text("dump", path).splitlines()}) == 3


def test_check(tmp_path: Path) -> None:
    """Everything is found, the worst first, as compilers say it; errors exit with 1."""
    path = tmp_path / "x.servers"
    path.write_text("a:1 900 \nb:1 0\nc:99999 900\na:1 900")
    done = run("check", "--compat", path)
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout.decode().replace(str(path), "FILE") == (
        'FILE:2: error: invalid weight "0": must be an integer from 1 to 9223372036854775807 '
        "[weight]\n"
        "FILE:1: warning: trailing space after the weight; the 2007 libketama would read 90 "
        "[compat-trailing-blank]\n"
        "FILE:3: warning: invalid port '99999': must be 1-65535 [port]\n"
        "FILE:4: warning: a:1 is also on line 1: both have the same points, so their "
        "weights do not add up [duplicate]\n"
        "FILE:4: warning: no newline at the end of the file; the 2007 libketama would read 90 "
        "[compat-last-line]\n"
        "FILE: failed: 3 servers, 1 error, 4 warnings\n"
    )
    assert "compat" not in run("check", path).stdout.decode()
    found = fits_schema("check", as_json("check", "--compat", path, code=1))
    assert (found["ok"], found["errors"], found["warnings"], found["notes"]) == (False, 1, 4, 0)
    assert [list(row.values()) for row in found["findings"]] == [
        list(finding) for finding in ketama.check(path, compat=True)
    ]


@pytest.mark.parametrize("weight", ["+600", "600.5", "600MB"])
def test_check_says_which_weight_to_write(weight: str, tmp_path: Path) -> None:
    """Weights that the 2007 libketama reads as 600 are errors that say so."""
    path = tmp_path / "x.servers"
    path.write_text(f"a:1 {weight}\n")
    done = run("check", path)
    assert (done.returncode, done.stdout.decode().splitlines()[0]) == (
        1,
        f'{path}:1: error: invalid weight "{weight}": must be an integer from 1 to '
        "9223372036854775807; write 600, as the 2007 libketama reads it [weight]",
    )


@pytest.mark.parametrize("text", ["a:1 600 # web1\n", "\ufeffa:1 600\n"])
def test_check_accepts(text: str, tmp_path: Path) -> None:
    """A comment after the weight and a byte order mark are no errors."""
    path = tmp_path / "x.servers"
    path.write_text(text, encoding="utf-8")
    assert run("check", path).returncode == 0
    assert ketama.Continuum(path).servers[0][:2] == ("a:1", 600)


def test_check_is_quiet(tmp_path: Path) -> None:
    """Of each kind there is one line, with how many others there are; --all has all."""
    path = tmp_path / "x.servers"
    path.write_text("".join(f"[2001:db8::1:{i}]:11211 600\n" for i in range(1, 41)))
    notes = len(ketama.check(path))
    assert notes > 1
    shown = text("check", path).splitlines()
    assert len(shown) == 2
    assert shown[0].startswith(
        f"{path}:4: note: [2001:db8::1:4]:11211 has 2.862 % of the keys "
    )
    more = f" [share] (and {notes - 1} more lines like this; list them with --all)"
    assert shown[0].endswith(more)
    assert shown[1] == f"{path}: ok: 40 servers, {notes} notes"
    shown = text("check", "--compat", path).splitlines()
    assert len(shown) == 3
    assert ":10: warning: address has 22 bytes; " in shown[0]
    assert " (and 30 more lines like this; " in shown[0]
    assert shown[2].endswith(f": usable, but doubtful: 40 servers, 31 warnings, {notes} notes")
    assert len(text("check", "--compat", "--all", path).splitlines()) == 31 + notes + 1
    path.write_text(1500 * "a:1\n")  # more than are listed
    assert b" (and 1,499 more lines like this; " in run("check", path).stdout
    assert as_json("check", path, code=1)["errors"] == 1500


@pytest.mark.parametrize(
    ("doubt", "code"),
    [("a:1 900", "duplicate"), ("b:1 1", "no-points"), ("b:112111 900", "port")],
)
def test_check_strict(doubt: str, code: str) -> None:
    """What is hardly meant comes first and is no "ok"; a deployment with --strict fails."""
    servers = "".join(f"s{i}:1 900\n" for i in range(8))
    stdin = f"a:1 900\n{servers}{doubt}\n".encode()
    shown = text("check", "-", stdin=stdin).splitlines()
    assert shown[0].startswith("<stdin>:10: warning: ")
    assert f" [{code}]" in shown[0]
    assert any(": note: " in line for line in shown[1:-1])
    assert shown[-1].startswith("<stdin>: usable, but doubtful: 10 servers, 1 warning, ")
    done = run("check", "--strict", "-", stdin=stdin)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[-1].startswith("<stdin>: failed: 10 servers, 1 wa")
    left = text("check", "--strict", "--ignore", code, "-", stdin=stdin).splitlines()
    assert left[-1].startswith("<stdin>: ok: 10 servers, ")


def test_uneven_shares_are_no_mistake() -> None:
    """Eight equal servers are up to 21 % off: no reason for --strict to refuse them."""
    stdin = b"".join(b"10.0.1.%d:11211 600\n" % i for i in range(1, 9))
    shown = text("check", "--strict", "-", stdin=stdin).splitlines()
    assert [line.split(": ")[1] for line in shown] == ["note", "ok"]
    assert text("check", "--ignore", "share", "-", stdin=stdin) == "<stdin>: ok: 8 servers\n"


def test_errors_are_not_ignored() -> None:
    """What no program can use can't be left out."""
    done = run("check", "--ignore", "port", "-", stdin=b"a:1 0\n")
    assert done.returncode == 1
    assert b": error: " in done.stdout


ENDLESS = "ketama: <stdin>: a key has more than 1048576 bytes: end each with a "


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("check -", 1, "<stdin>: error: too large: more than 536870912 bytes [too-many]"),
        ("show -", 3, "ketama: <stdin>: too large: more than 536870912 bytes"),
        ("where FILE", 3, ENDLESS + "newline"),
        ("where -v FILE -", 3, ENDLESS + "newline"),
        ("diff --keys - FILE FILE", 3, ENDLESS + "newline"),
    ],
)
def test_an_endless_input(arguments: str, code: int, message: str) -> None:
    """A file or a key that does not end is refused, in bounded memory."""
    command = arguments.replace("FILE", str(EXAMPLE)).split()
    with Path("/dev/zero").open("rb") as zeros:
        done = subprocess.run([*COMMAND, *command], stdin=zeros, capture_output=True, text=True)
    assert (done.returncode, (done.stdout + done.stderr).splitlines()[0]) == (code, message)


def test_a_key_as_long_as_allowed() -> None:
    """A mebibyte is a key; NULs end keys with -0, and newlines do not."""
    key = 2**20 * b"k"
    continuum = ketama.Continuum(EXAMPLE, shared=False)
    answer = key + b"\t" + continuum.lookup(key).encode() + b"\n"
    assert run("where", EXAMPLE, stdin=key + b"\n" + key).stdout == 2 * answer
    assert run("where", EXAMPLE, stdin=key + b"k\n").returncode == 3
    assert refusal(3, "where", "-0", EXAMPLE, stdin=2**20 * b"\n" + b"k") == ENDLESS + "NUL"


def test_more_servers_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stream of valid lines, the first one too many is reported."""
    monkeypatch.setattr(source, "read_text", lambda file: 1_100_000 * b"a:1 1\n")
    with pytest.raises(ketama.ServersError, match="<stdin>:1048577: too many servers: at most"):
        source.open_continuum("-", b"")


def test_diff(new: Path) -> None:
    """What moves, and what each server had, has, loses and gains; with --pairs, to which."""
    shown = text("diff", EXAMPLE, new)
    assert shown.startswith(
        "added       10.0.1.9:11211\n"
        "moved        12.70 %   of all keys\n"
        "collateral    1.22 %   between unchanged servers\n"
        "\n"
        "server                weight     share   new share     lost    gained\n"
        "10.0.1.1:11211           600   12.43 %     10.51 %   1.96 %    0.03 %\n"
    )
    assert shown.endswith(
        "10.0.1.9:11211   none -> 600    0.00 %     11.48 %   0.00 %   11.48 %\n"
    )
    assert len(shown.splitlines()) == 5 + 9
    more = text("diff", "--pairs", EXAMPLE, new)
    assert more.startswith(
        f"{shown}\n"
        "from             to                share\n"
        "10.0.1.7:11211   10.0.1.9:11211   2.92 %\n"
    )
    assert len(more.splitlines()) == 14 + 2 + 19
    back = text("diff", new, EXAMPLE)
    assert back.startswith("removed     10.0.1.9:11211\nmoved        12.70 %")
    assert "\n10.0.1.9:11211   600 -> none   11.48 %      0.00 %   11.48 %" in back
    assert text("diff", EXAMPLE, EXAMPLE) == (
        "moved         0.00 %   of all keys\ncollateral    0.00 %   between unchanged servers\n"
    )


def test_diff_of_weights(tmp_path: Path) -> None:
    """Where only a weight changes, that server is named, and collateral is counted as well."""
    light = tmp_path / "light"
    light.write_bytes(EXAMPLE.read_bytes().replace(b"1000", b"500"))
    shown = text("diff", EXAMPLE, light)
    assert shown.startswith(
        "changed     10.0.1.5:11211\n"
        "moved        15.20 %   of all keys\n"
        "collateral    4.46 %   between unchanged servers\n"
    )
    assert "\n10.0.1.5:11211   1000 -> 500   23.68 %     12.94 %   10.74 %   0.00 %\n" in shown
    found = fits_schema("diff", as_json("diff", EXAMPLE, light))
    assert found["changed"] == ["10.0.1.5:11211"]
    keys = b"".join(b"user:%d\n" % i for i in range(2000))
    counted = as_json("diff", "--keys", "-", EXAMPLE, light, stdin=keys)["keys"]
    assert 0 < counted["collateral"] < counted["moved"]


def test_diff_as_json(new: Path) -> None:
    """The same for programs, and as the library has it."""
    found = fits_schema("diff", as_json("diff", EXAMPLE, new))
    diff = ketama.Continuum(EXAMPLE).diff(ketama.Continuum(new))
    assert (found["old"], found["new"]) == (str(EXAMPLE), str(new))
    assert (found["moved"], found["collateral"]) == (diff.moved, diff.collateral)
    assert {(row["from"], row["to"]): row["share"] for row in found["pairs"]} == diff.pairs
    assert (found["added"], found["removed"]) == (list(diff.added), [])
    assert found["servers"] == [
        {"address": row.address, **row._asdict()} for row in diff.servers
    ]


def test_diff_of_a_readdressed_server(tmp_path: Path) -> None:
    """A server that keeps its name at another address keeps its keys, real ones as well."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("a:1 600 x\nb:1 300\nc:1 300\n")
    new.write_text("d:1 600 x\nb:1 300\nc:1 300\n")
    nothing = (
        "moved         0.00 %   of all keys\ncollateral    0.00 %   between unchanged servers\n"
    )
    assert text("diff", old, new) == f"readdressed a:1 -> d:1\n{nothing}"
    keys = b"".join(b"%d\n" % i for i in range(1000))
    found = fits_schema("diff", as_json("diff", "--keys", "-", old, new, stdin=keys))
    assert found["readdressed"] == [{"from": "a:1", "to": "d:1"}]
    assert found["keys"] == {"count": 1000, "moved": 0, "collateral": 0}
    assert found["servers"][0]["address"] == "d:1"

    # Its old address is another server's now: keys move to that one.
    new.write_text("d:1 600 x\na:1 300\nc:1 300\n")
    shown = text("diff", old, new)
    assert shown.startswith("added       a:1\nremoved     b:1\nreaddressed a:1 -> d:1\n")
    assert re.search("\na:1 -> d:1 +600 ", shown)
    found = fits_schema("diff", as_json("diff", "--keys", "-", old, new, stdin=keys))
    before, after = ketama.Continuum(old), ketama.Continuum(new)
    same = {"a:1": "d:1", "c:1": "c:1"}
    moved = [
        key
        for key in map(str, range(1000))
        if same.get(before.lookup(key) or "") != after.lookup(key)
    ]
    assert found["keys"]["moved"] == len(moved) > 200


def test_diff_with_many_servers(tmp_path: Path) -> None:
    """Of many rows the largest are printed, and how much is left; --all prints all."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("".join(f"s{i}:1 1\n" for i in range(60)))
    new.write_text("".join(f"s{i}:1 1\n" for i in range(61)))
    shown = text("diff", "--pairs", old, new).splitlines()
    pairs = len(as_json("diff", old, new)["pairs"])
    assert len(shown) == 5 + 20 + 1 + 2 + 20 + 1
    assert re.fullmatch(
        r"41 more servers: lost \d\.\d\d %, gained \d\.\d\d % \(list them with --all\)",
        shown[25],
    )
    assert re.fullmatch(
        rf"{pairs - 20:,} more pairs: \d+\.\d\d % \(list them with --all\)", shown[-1]
    )
    shown = text("diff", "--pairs", "--all", old, new).splitlines()
    assert len(shown) == 5 + 61 + 2 + pairs
    assert [line.split()[0] for line in shown[5:66]] == [f"s{i}:1" for i in range(61)]
    assert text("diff", old, EXAMPLE).startswith(
        "added       10.0.1.1:11211, 10.0.1.2:11211, 10.0.1.3:11211, 5 more\n"
        "removed     s0:1, s1:1, s2:1, s3:1, s4:1, s5:1, s6:1, s7:1, s8:1, s9:1, 50 more\n"
    )


@pytest.mark.parametrize("through", ["file", "stdin"])
def test_diff_on_real_keys(through: str, new: Path, tmp_path: Path) -> None:
    """With --keys it is counted as well, as asking for each key would count it."""
    keys = [b"user:%d" % i for i in range(5000)]
    keys_file = tmp_path / "keys"
    keys_file.write_bytes(b"\r\n".join(keys))
    stdin = keys_file.read_bytes() if through == "stdin" else b""
    name = "-" if through == "stdin" else str(keys_file)
    before, after = ketama.Continuum(EXAMPLE), ketama.Continuum(new)
    pairs = [(before.lookup(key), after.lookup(key)) for key in keys]
    moved = [pair for pair in pairs if pair[0] != pair[1]]
    collateral = sum(end != "10.0.1.9:11211" for _, end in moved)

    back = as_json("diff", "--keys", name, new, EXAMPLE, stdin=stdin)
    assert back["keys"] == {"count": 5000, "moved": len(moved), "collateral": collateral}
    found = fits_schema("diff", as_json("diff", "--keys", name, EXAMPLE, new, stdin=stdin))
    assert found["keys"] == {"count": 5000, "moved": len(moved), "collateral": collateral}
    for row in found["pairs"]:
        assert row["keys"] == moved.count((row["from"], row["to"]))
    shown = text("diff", "--pairs", "--keys", name, EXAMPLE, new, stdin=stdin)
    assert f"of all keys; {len(moved)} of 5,000 keys\n" in shown
    first = moved.count(("10.0.1.7:11211", "10.0.1.9:11211"))
    assert f"10.0.1.7:11211   10.0.1.9:11211   2.92 %    {first}\n" in shown


def test_dump() -> None:
    """Every point has a line, ascending; and --json has servers and points."""
    points = ketama.Continuum(EXAMPLE).get_points()
    assert text("dump", EXAMPLE) == "".join(
        f"{point:>10}   {address}\n" for point, address in points
    )
    found = fits_schema("dump", as_json("dump", EXAMPLE))
    assert [tuple(row) for row in found["points"]] == points
    assert found["servers"] == as_json("show", EXAMPLE)["servers"]


def test_asking_publishes_nothing(new: Path) -> None:
    """None of these leaves an image behind: a draft that was only looked at is nobody's."""
    before = all_images()
    asked: list[list[Path | str]] = [
        ["where", new, "x"],
        ["show", new],
        ["check", new],
        ["dump", new],
    ]
    for arguments in asked:
        text(*arguments)
    text("diff", EXAMPLE, new)
    assert before == all_images()


def test_the_main_function_is_that_of_the_command() -> None:
    """`python -m ketama` and `import ketama.__main__` are no different things."""
    code = "import ketama.__main__, sys; sys.exit(ketama.__main__.main is not ketama.cli.main)"
    subprocess.run([sys.executable, "-c", code], check=True)
