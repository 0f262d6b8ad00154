"""Errors and likely mistakes in a server file: all are found, each with its line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ketama
from ketama.admin.server_file import LINES_AT_ONCE, parse, scan

GOOD = "".join(f"10.0.0.{i}:11211 600\n" for i in range(1, 4))


def findings(text: str | bytes, tmp_path: Path) -> list[ketama.Finding]:
    path = tmp_path / "ketama.servers"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ketama.check(path, compat=True)


def codes(text: str | bytes, tmp_path: Path) -> list[tuple[int | None, str, str]]:
    return [
        (line, severity, code)
        for line, severity, code, _ in findings(text, tmp_path)
        if code != "share"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, []),
        ("# pool\n\n" + GOOD + "\t\n", []),
        ("a:1\n", [(1, "error", "line")]),
        (GOOD + "a:1 0\nb:1 many\nc:1 5 6 7\n" + 300 * "x" + " 1\n", [
            (4, "error", "weight"),
            (5, "error", "weight"),
            (6, "error", "line"),
            (7, "error", "address"),
            (7, "warning", "compat-long-line"),
        ]),
        ("\ufeff" + GOOD, [(1, "warning", "compat-byte-order-mark")]),
        ("#ketama profile=libketama domain=shop\n" + GOOD, []),
        ("#ketama profile=dalli\n" + GOOD, [(1, "warning", "compat-profile")]),
        ("#ketama profile=nginx\na:1 20000000\n", [
            (1, "warning", "compat-profile"),
            (None, "error", "too-many"),
        ]),
        ("#ketama profile=pingora\nbucket1 1\n", [
            (1, "warning", "compat-profile"),
            (2, "error", "profile"),
        ]),
        ("#ketama profile=twemproxy\na:1 1\na:1 1\n", [
            (1, "warning", "compat-profile"),
            (3, "error", "profile"),
        ]),
        (b"#ketama profile=memcached-proxy seed=" + b"\xff\na:1 1\n", [
            (1, "error", "line"),
        ]),
        (b"a:1 1\n\xff:1 1\nb\0:1 1\n", [(2, "error", "address"), (3, "error", "line")]),
        ("", [(None, "error", "no-servers")]),
        ("# only\n", [(None, "error", "no-servers")]),
        (f"a:1 {2**63 - 1}\nb:1 {2**63 - 1}\nc:1 5\n", [(3, "error", "too-many")]),
        (GOOD + "10.0.0.2:11211 600\n", [(4, "warning", "duplicate")]),
        (f"a:1 {2**63 - 1}\nb:1 {2**63 - 1}\nc:1 5\n# x\n d\n", [
            (3, "error", "too-many"),
            (5, "error", "line"),
        ]),
        ("a:1 1\nb:1 100000\nc:1 100000\n", [(1, "warning", "no-points")]),
        ("a:0 1\n", [(1, "warning", "port")]),
        ("a\x07:1 1\n", [(1, "warning", "control")]),
        (21 * "a" + " 1\n", []),
        (22 * "a" + " 1\n", [(1, "warning", "compat-address")]),
        (11 * "é" + " 1\n", [(1, "warning", "compat-address")]),
        ("a:1 900", [(1, "warning", "compat-last-line")]),
        ("a:1 900\n#", []),
        ("a:1 900 \nb:1 900\t\r\n", [
            (1, "warning", "compat-trailing-blank"),
            (2, "warning", "compat-trailing-blank"),
        ]),
        ("a:1 900 x\nb:1 900 # y\n", [
            (1, "warning", "compat-name"),
            (2, "warning", "compat-name"),
        ]),
        ("a:1 900 b:1\nb:1 900\na:1 900\n", [
            (1, "warning", "compat-name"),
            (2, "error", "name"),
        ]),
        ("a:1 1 \x07\n", [(1, "warning", "control"), (1, "warning", "compat-name")]),
        ("a:1 1 #\n", [(1, "warning", "compat-name")]),
        ("a:1 1 x y\n", [(1, "error", "line")]),
        ("a:1 1 " + 256 * "x" + "\n", [
            (1, "error", "name"),
            (1, "warning", "compat-long-line"),
        ]),
        ("a:1 1\r\n\r\n", [(2, "warning", "compat-empty-line")]),
        ("#" + 126 * "x" + "\na:1 1\n", [(1, "warning", "compat-long-line")]),
        ("#" + 125 * "x" + "\na:1 1\n", []),
    ],
)  # fmt: skip
def test_findings(
    text: str | bytes, expected: list[tuple[int | None, str, str]], tmp_path: Path
) -> None:
    """Each mistake is found once, with its line; a valid file has no findings."""
    assert expected == codes(text, tmp_path)


def test_compat_only_where_asked(tmp_path: Path) -> None:
    """What concerns only the 2007 libketama is left out, unless it is asked for."""
    path = tmp_path / "ketama.servers"
    lines = "".join(f"cache-{i}.example.com:11211 900 x{i}\n" for i in range(118))
    path.write_text(f"{lines}{130 * '#'}\n\r\n\r\nb:0 900 ")
    default, compat = ketama.check(path), ketama.check(path, compat=True)
    assert {row.code for row in default} == {"port", "share"}
    assert [row for row in compat if not row.code.startswith("compat-")] == default
    assert {row.code for row in compat if row not in default} == {
        "compat-address", "compat-name", "compat-long-line", "compat-empty-line",
        "compat-trailing-blank", "compat-servers",
    }  # fmt: skip


def test_more_servers_than_the_2007_libketama_holds(tmp_path: Path) -> None:
    """The 2007 libketama crashes with 118 servers: a warning about the whole file, last."""
    servers = [f"s{i}:1 1\n" for i in range(118)]
    assert codes("".join(servers[:117]), tmp_path) == []
    assert codes("".join(servers), tmp_path) == [(None, "warning", "compat-servers")]


def test_shares(tmp_path: Path) -> None:
    """A share more than 10 % off its weight is a warning that states both."""
    text = "# x\n" + "".join(f"s{i}:1 {100 + i}\n" for i in range(30))
    continuum = ketama.Continuum([(f"s{i}:1", 100 + i) for i in range(30)])
    total = sum(range(100, 130))
    off = {
        i + 2: server.share / (server.weight / total) - 1
        for i, server in enumerate(continuum.servers)
    }
    found = findings(text, tmp_path)
    assert {line for line, part in off.items() if abs(part) > 0.10} == {f.line for f in found}
    first = found[0]
    assert first.line is not None
    server = continuum.servers[first.line - 2]
    side = "above" if off[first.line] > 0 else "below"
    assert first == (
        first.line,
        "note",
        "share",
        f"{server.address} has {100 * server.share:.4g} % of the keys and "
        f"{100 * server.weight / total:.4g} % of the weight: "
        f"{100 * abs(off[first.line]):.0f} % {side} its fair share",
    )


def test_shares_of_a_server_that_is_there_twice(tmp_path: Path) -> None:
    """Duplicates count as one server: with the keys of one and the weight of all."""
    found = findings("a:1 100\nb:1 100\na:1 100\na:1 100\n", tmp_path)
    by_code = {(finding.line, finding.code): finding.reason for finding in found}
    assert set(by_code) == {(1, "share"), (2, "share"), (3, "duplicate"), (4, "duplicate")}
    assert by_code[1, "share"].startswith("a:1 has 4")
    assert " and 75 % of the weight: " in by_code[1, "share"]
    assert by_code[4, "duplicate"].startswith("a:1 is also on line 1: ")


def test_a_file_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is too large to be read is a finding, too."""
    monkeypatch.setattr("ketama.admin.server_file.SIZE_MAX", 5)
    assert codes("a:1 5", tmp_path) == [(1, "warning", "compat-last-line")]
    assert codes("a:1 55", tmp_path) == [(None, "error", "too-many")]


def test_reasons(tmp_path: Path) -> None:
    """A reason says what would be read instead, or where the other line is."""
    found = findings("a:1 900 \nb:1 700\na:1 900", tmp_path)
    assert [finding.reason for finding in found if finding.code != "share"] == [
        "trailing space after the weight; the 2007 libketama would read 90",
        "a:1 is also on line 1: both have the same points, so their weights do not add up",
        "no newline at the end of the file; the 2007 libketama would read 90",
    ]
    assert findings("a:1 7", tmp_path)[0].reason.endswith("would read no weight")


@pytest.mark.parametrize("text", ["a:1\n", "a:1 0\n", "", f"a:1 {2**63 - 1}\n" * 3])
def test_errors_are_those_of_opening(text: str, tmp_path: Path) -> None:
    """The first error that check finds is what Continuum raises, in the same words."""
    path = tmp_path / "ketama.servers"
    path.write_text(text)
    with pytest.raises(ketama.ServersError) as caught:
        ketama.Continuum(path)
    first = next(finding for finding in ketama.check(path) if finding.severity == "error")
    assert (caught.value.lineno, caught.value.reason) == (first.line, first.reason)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1:11211", "cache1", "[::1]:11211", "[::1]", "::1", "/run/a:b", "unix:/run/a"],
)
def test_valid_addresses(address: str, tmp_path: Path) -> None:
    """host:port, a host alone, IPv6 and paths of sockets are fine."""
    assert codes(f"{address} 1\n", tmp_path) == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("a:112111", "invalid port '112111': must be 1-65535"),
        ("[::1]x", "unexpected 'x' after ']'"),
        ("[::1:11211", "missing ']' in '[::1:11211'"),
    ],
)
def test_invalid_ports(address: str, reason: str, tmp_path: Path) -> None:
    """What is wrong with the port, or the brackets, is a warning."""
    found = findings(f"{address} 1\n", tmp_path)
    assert found == [(1, "warning", "port", reason)]


def test_unreadable(tmp_path: Path) -> None:
    """A missing file, a directory and a FIFO raise as on opening, without waiting."""
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ketama.KetamaOSError) as here:
            ketama.check(path)
        with pytest.raises(ketama.KetamaOSError) as there:
            ketama.Continuum(path)
        assert str(there.value) == str(here.value)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ketama.KetamaOSError, match="not a regular file"):
        ketama.check(os.fsencode(tmp_path / "fifo"))


@pytest.mark.parametrize("line_break", [b"\n", b"\r\n", b""])
def test_lines(line_break: bytes) -> None:
    """A line has its server, where its weight is, and its break; together they are the text."""
    text = b"# x\n\n \ta:1 \t 007 \n# y\nb:1 5" + line_break
    lines = parse(text)
    assert text == b"".join(line.text for line in lines)
    assert [line.address for line in lines] == ["", "a:1", "", "b:1"]
    first, second = scan(text)
    assert [first, second] == [lines[1], lines[3]]
    assert (first.number, first.weight, second.number, second.weight) == (3, 7, 5, 5)
    assert first.text[first.weight_at : first.weight_end] == b"007"
    assert text[second.start :] == second.text
    assert second.line_break == line_break


def test_lines_after_an_invalid_one() -> None:
    """Reading goes on after an invalid line, wherever it is among the others."""
    for good in (0, 1, LINES_AT_ONCE - 1, LINES_AT_ONCE, LINES_AT_ONCE + 1):
        text = good * b"a:1 5\n" + b"b:1\n" + good * b"c:1 6\n"
        lines = [*scan(text)]
        assert [line.number for line in lines] == [*range(1, 2 * good + 2)]
        assert [line.weight for line in lines] == good * [5] + [0] + good * [6]
        assert [line.number for line in lines if line.reason] == [good + 1]
        assert b"".join(line.text for line in lines) == text


def test_findings_are_limited(tmp_path: Path) -> None:
    """Of thousands of findings with one code, the first are listed and the rest counted."""
    found = findings(1500 * "a:1\n" + 3000 * "\r\n", tmp_path)
    assert len(found) == 1000 + 1000 + 2
    assert found[999].line == 1000
    assert found[1000] == (
        1501,
        "warning",
        "compat-empty-line",
        "empty line ends in CR LF; the 2007 libketama would reject it",
    )
    assert found[-2:] == [
        (None, "error", "line", "500 more lines like these"),
        (None, "warning", "compat-empty-line", "2,000 more lines like these"),
    ]


MEASURED = """
import resource, sys
from ketama.admin.check import examine
text = eval(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
examine(lambda: text, compat=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("text", ["b'\\n' * 5_000_000", "b'#\\n' * 5_000_000"])
def test_memory_for_a_file_of_comments(text: str) -> None:
    """Comments and empty lines take no memory beside the text."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, text], capture_output=True, check=True
    )
    assert int(done.stdout) < 4000  # KiB; a list of the lines would take 100 times as much


def test_nothing_is_imported_before() -> None:
    """`import ketama` does not import what only operators need."""
    code = (
        "import sys, ketama; names = set(sys.modules); "
        "assert not {'click', 'json', 'tempfile', 'dataclasses', 'ketama.admin', "
        "'ketama.fleet', 'urllib3'} & names; "
        "assert {'check', 'edit', 'Diff'} <= set(dir(ketama)); "
        "from ketama import *; assert check is ketama.check and edit is ketama.edit; "
        "assert Finding.__module__ == 'ketama.admin.check'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        ketama.frobnicate  # noqa: B018
