"""What is wrong with a server file, and what is doubtful: all of it, with its line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import ketama
from ketama.admin.check import port_fault
from ketama.admin.server_file import parse

GOOD = "".join(f"10.0.0.{i}:11211 600\n" for i in range(1, 4))


def findings(text: str | bytes, tmp_path: Path) -> list[ketama.Finding]:
    path = tmp_path / "ketama.servers"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ketama.check(path)


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
            (7, "warning", "old-long-line"),
        ]),
        ("\ufeff" + GOOD, []),
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
        (22 * "a" + " 1\n", [(1, "warning", "old-address")]),
        (11 * "é" + " 1\n", [(1, "warning", "old-address")]),
        ("a:1 900", [(1, "warning", "old-last-line")]),
        ("a:1 900\n#", []),
        ("a:1 900 \nb:1 900\t\r\n", [
            (1, "warning", "old-trailing-blank"),
            (2, "warning", "old-trailing-blank"),
        ]),
        ("a:1 1\r\n\r\n", [(2, "warning", "old-empty-line")]),
        ("#" + 126 * "x" + "\na:1 1\n", [(1, "warning", "old-long-line")]),
        ("#" + 125 * "x" + "\na:1 1\n", []),
    ],
)  # fmt: skip
def test_findings(
    text: str | bytes, expected: list[tuple[int | None, str, str]], tmp_path: Path
) -> None:
    """Each thing is found once, with its line, and what is good is not found."""
    assert expected == codes(text, tmp_path)


def test_more_servers_than_libketama_holds(tmp_path: Path) -> None:
    """From 118 servers on libketama crashes, and the whole file is warned of, last."""
    servers = [f"s{i}:1 1\n" for i in range(118)]
    assert codes("".join(servers[:117]), tmp_path) == []
    assert codes("".join(servers), tmp_path) == [(None, "warning", "old-servers")]


def test_shares(tmp_path: Path) -> None:
    """A share more than 10 % off its weight is warned of, with both in words."""
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
    more = "more" if off[first.line] > 0 else "less"
    assert first == (
        first.line,
        "warning",
        "share",
        f"{server.address} has {100 * server.share:.4g} % of the keys and "
        f"{100 * server.weight / total:.4g} % of the weight: "
        f"{100 * abs(off[first.line]):.0f} % {more} than its due",
    )


def test_shares_of_a_server_that_is_there_twice(tmp_path: Path) -> None:
    """It is one server for its share: it has the keys of one, and the weight of two."""
    found = findings("a:1 100\nb:1 100\na:1 100\na:1 100\n", tmp_path)
    by_code = {(finding.line, finding.code): finding.reason for finding in found}
    assert set(by_code) == {(1, "share"), (2, "share"), (3, "duplicate"), (4, "duplicate")}
    assert by_code[1, "share"].startswith("a:1 has 4")
    assert " and 75 % of the weight: " in by_code[1, "share"]
    assert by_code[4, "duplicate"].startswith("a:1 stands in line 1 as well")


def test_a_file_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that no program would read is a finding, too."""
    monkeypatch.setattr("ketama.admin.server_file.LARGEST", 5)
    assert codes("a:1 5", tmp_path) == [(1, "warning", "old-last-line")]
    assert codes("a:1 55", tmp_path) == [(None, "error", "too-many")]


def test_reasons(tmp_path: Path) -> None:
    """A reason says what is read instead of what, or where the other line is."""
    found = findings("a:1 900 \nb:1 700\na:1 900", tmp_path)
    assert [finding.reason for finding in found if finding.code != "share"] == [
        "a blank stands behind the weight: libketama reads 90 for 900",
        "a:1 stands in line 1 as well: both have the same points, so their weights do not "
        "add up",
        "the last line has no end, so libketama reads 90 for 900",
    ]
    assert "libketama reads nothing for 7" in findings("a:1 7", tmp_path)[0].reason


@pytest.mark.parametrize("text", ["a:1\n", "a:1 0\n", "", f"a:1 {2**63 - 1}\n" * 3])
def test_errors_are_those_of_opening(text: str, tmp_path: Path) -> None:
    """What check calls an error is what Continuum raises, in the same words."""
    path = tmp_path / "ketama.servers"
    path.write_text(text)
    with pytest.raises(ketama.ServersError) as caught:
        ketama.Continuum(path)
    first = next(finding for finding in ketama.check(path) if finding.severity == "error")
    assert (caught.value.lineno, caught.value.reason) == (first.line, first.reason)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1:11211", "cache1", "cache1:1", "cache1:65535", "[::1]:11211", "[::1]", "::1",
        "2001:db8::1", "/run/memcached.sock", "/run/a:b", "host/10.0.0.1:x",
    ],
)  # fmt: skip
def test_good_ports(address: str) -> None:
    """host:port, a host alone, IPv6 with and without brackets, and paths are good."""
    assert port_fault(address) is None


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("a:", ""), ("a:0", "0"), ("a:65536", "65536"), ("a:1e3", "1e3"), ("a:-1", "-1"),
        ("a:²", "\\xb2"), ("[::1]:", ""), ("[::1]x", "x"), ("a:b:c", "c"),
        ("a:112111", "112111"),
        ("a:" + "9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_ports_that_are_none(address: str, port: str) -> None:
    """What stands where a port should, and is none, is named."""
    fault = port_fault(address)
    assert fault is not None
    assert fault.startswith(f"'{port}' in ")


def test_unreadable(tmp_path: Path) -> None:
    """A file that is missing or no file is an error as on opening, and nobody waits for it."""
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ketama.KetamaOSError) as here:
            ketama.check(path)
        with pytest.raises(ketama.KetamaOSError) as there:
            ketama.Continuum(path)
        assert str(there.value) == str(here.value)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ketama.KetamaOSError, match="not a regular file"):
        ketama.check(os.fsencode(tmp_path / "fifo"))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_lines(end: bytes) -> None:
    """A line knows its server, where its weight begins, and its end; together they are all."""
    text = b"# x\n\n \ta:1 \t 007 \nb:1 5" + end
    lines = parse(text)
    assert text == b"".join(line.text for line in lines)
    assert [(line.address, line.weight) for line in lines] == [
        ("", 0), ("", 0), ("a:1", 7), ("b:1", 5)
    ]  # fmt: skip
    assert lines[2].text[lines[2].weight_at :] == b"007 \n"
    assert lines[3].end == end


def test_nothing_is_imported_before() -> None:
    """`import ketama` does not import what only operators need."""
    import subprocess
    import sys

    code = (
        "import sys, ketama; names = set(sys.modules); "
        "assert not {'click', 'json', 'tempfile', 'dataclasses', 'ketama.admin'} & names; "
        "assert {'check', 'edit', 'Diff'} <= set(dir(ketama)); "
        "from ketama import *; assert check is ketama.check and edit is ketama.edit; "
        "assert Finding.__module__ == 'ketama.admin.check'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        ketama.frobnicate  # noqa: B018
