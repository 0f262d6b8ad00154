"""Programs written for the old header and layouts: an Erlang driver, C++, and ctypes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from library import LIBRARY, build_in_place
from needs import need
from test_golden import rows
from test_port import VECTORS, answers, read, replace, request
from waiting import PATIENCE

PROGRAMS = Path(__file__).with_name("programs")

# One process of the tests builds the library and the programs.
pytestmark = pytest.mark.xdist_group("languages")


@pytest.fixture(scope="module")
def build() -> Path:
    """Build libketama.so.1 as a user would; return its folder."""
    return build_in_place()


def compiled(build: Path, compiler: str, source: Path, folder: Path, *flags: str) -> Path:
    """Compile a program against the header and the shared library, without a warning."""
    program = folder / source.stem
    link = [f"-L{build}", "-lketama", f"-Wl,-rpath,{build}"]
    command = [need(compiler), *flags, "-Wall", "-Werror", f"-I{LIBRARY}", "-o", str(program)]
    subprocess.run([*command, str(source), *link], check=True)
    return program


def test_the_erlang_driver_of_2008(build: Path, tmp_path: Path, two: Path) -> None:
    """A driver with the old names compiles unchanged, and follows the file."""
    driver = compiled(build, "cc", PROGRAMS / "old_driver.c", tmp_path)
    servers = VECTORS / "classic8" / "ketama.servers"
    keys = [(row[0].encode(), row[3].encode()) for row in rows("classic8", "lookups.tsv")]
    keys = [(key, address) for key, address in keys if len(key) < 255]
    given = b"".join(request(key) for key, _ in keys) + b"\xff" + request(b"unread")
    ran = subprocess.run([driver, servers], input=given, capture_output=True, timeout=PATIENCE)
    assert ([address for _, address in keys], b"", 0) == (
        answers(ran.stdout), ran.stderr, ran.returncode
    )  # fmt: skip

    pipe = subprocess.PIPE
    with subprocess.Popen(
        [driver, two], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0
    ) as process:
        assert process.stdin
        for text, address in [("a:1 1\n", b"a:1"), ("b:1 1\n", b"b:1"), ("b:1\n", b"b:1")]:
            replace(two, text)
            process.stdin.write(request(b"key"))
            assert read(process.stdout, 1 + len(address)) == request(address)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert said.startswith(f"{two}:1: no weight after address".encode())
    assert said.count(b"\n") == 1


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("standard", ["gnu++98", "gnu++17"])
def test_cpp(compiler: str, standard: str, build: Path, tmp_path: Path) -> None:
    """A C++ program with the old names, semaphores and types compiles without a warning."""
    program = compiled(build, compiler, PROGRAMS / "old.cpp", tmp_path, f"-std={standard}")
    servers = VECTORS / "two" / "ketama.servers"
    ran = subprocess.run([program, servers, "test"], capture_output=True, text=True, check=True)
    points = ["\t".join(row) for row in rows("two", "points.tsv")]
    assert ran.stdout.splitlines() == [
        "320", *points, "3446378249\t3454255383\t127.0.0.1:11211"
    ]  # fmt: skip
    failed = subprocess.run([program, tmp_path / "no"], capture_output=True, text=True)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == f"{tmp_path / 'no'}: No such file or directory\n"


def run_ctypes(build: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAMS / "old_ctypes.py", *arguments],
        env={**os.environ, "LD_LIBRARY_PATH": str(build)},
        capture_output=True,
        text=True,
    )


def test_ctypes(build: Path) -> None:
    """The old functions and layouts through ctypes: print, walk, look up, compare."""
    servers = VECTORS / "two" / "ketama.servers"
    points = list(rows("two", "points.tsv"))
    lookups = list(rows("two", "lookups.tsv"))[:5]
    ran = run_ctypes(build, servers, *[row[0] for row in lookups])
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "Numpoints in continuum: 320",
        *[f"{ip} ({point})" for point, ip in points],
        f"320 {int(servers.stat().st_mtime)} ''",
        *["\t".join(row) for row in points],
        *["\t".join(row[1:]) for row in lookups],
        "098f6bcd4621d373cade4e832627b4f6",
        "0 -1 1 0",
    ]


def test_ctypes_of_an_invalid_file(build: Path, tmp_path: Path) -> None:
    """A roll that fails has a message, and leaves a ring that all functions accept."""
    path = tmp_path / "ketama.servers"
    path.write_text("a:1\n")
    ran = run_ctypes(build, path)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert sorted(ran.stdout.splitlines()) == sorted([
        f"{path}:1: no weight after address \"a:1\": write 'address weight'",
        "nothing",
        "Numpoints in continuum: 0",
    ])  # fmt: skip
