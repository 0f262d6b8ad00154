"""libmemcached itself, and PHP's memcached extension and pylibmc, which use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from model.profiles import LIBHASHKIT
from needs import lacking, need, need_module

from peers.programs import PROGRAMS, check
from peers.questions import (
    ASCII,
    Form,
    host_name,
    ipv4,
    ipv6,
    unix_socket,
)

pytestmark = pytest.mark.xdist_group("peers libmemcached")

NO_SOCKETS = Form([ipv4, ipv6, host_name])
FORM = Form([ipv4, ipv6, host_name, unix_socket])
PYLIBMC: list[str | Path] = [sys.executable, PROGRAMS / "ask_pylibmc.py"]
HASHED = pytest.mark.parametrize("hash_", [None, *LIBHASHKIT])


@pytest.fixture(scope="session")
def libmemcached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the program that asks libmemcached."""
    if not Path("/usr/include/libmemcached/memcached.h").exists():
        lacking("libmemcached's headers are not installed")
    program = tmp_path_factory.mktemp("libmemcached") / "libmemcached"
    source = PROGRAMS / "libmemcached.c"
    warnings = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
    command: list[str | Path] = [
        need("cc"),
        *warnings,
        "-o",
        program,
        source,
        "-lmemcached",
        "-lhashkit",
    ]
    subprocess.run(command, check=True)
    return program


def ask_with(program: Path, mode: str, hash_: str | None, form: Form, profile: str) -> None:
    if hash_ is None:
        check([program, mode], form, profile)
    else:
        check([program, mode, hash_], form, profile, hash=hash_)


@HASHED
def test_ketama_weighted(libmemcached: Path, hash_: str | None) -> None:
    """MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, with a hash set afterwards."""
    ask_with(libmemcached, "KETAMA_WEIGHTED", hash_, FORM, "libmemcached")


@HASHED
def test_ketama(libmemcached: Path, hash_: str | None) -> None:
    """MEMCACHED_BEHAVIOR_KETAMA, with a hash set before."""
    ask_with(libmemcached, "KETAMA", hash_, FORM, "libmemcached-ketama")


@HASHED
def test_spy(libmemcached: Path, hash_: str | None) -> None:
    """MEMCACHED_DISTRIBUTION_CONSISTENT_KETAMA_SPY, with a hash set before."""
    ask_with(libmemcached, "SPY", hash_, NO_SOCKETS, "libmemcached-spy")


@pytest.fixture
def php() -> list[str | Path]:
    """Return the command of the program that asks PHP's memcached extension."""
    program = need("php")
    if (
        "memcached"
        not in subprocess.run([program, "-m"], capture_output=True, text=True).stdout
    ):
        lacking("php has no memcached extension")
    return [program, PROGRAMS / "get_server_by_key.php"]


def test_php_libketama_compatible(php: list[str | Path]) -> None:
    """OPT_LIBKETAMA_COMPATIBLE."""
    check([*php, "LIBKETAMA_COMPATIBLE"], FORM, "libmemcached", text=ASCII)


def test_php_hash_set_after(php: list[str | Path]) -> None:
    """OPT_LIBKETAMA_COMPATIBLE, and then OPT_HASH."""
    check(
        [*php, "LIBKETAMA_COMPATIBLE", "MURMUR"],
        FORM,
        "libmemcached",
        text=ASCII,
        hash="murmur",
    )


def test_php_distribution_consistent(php: list[str | Path]) -> None:
    """OPT_DISTRIBUTION set to DISTRIBUTION_CONSISTENT."""
    check([*php, "DISTRIBUTION_CONSISTENT"], FORM, "libmemcached-ketama", text=ASCII)


def test_php_consistent_hash_set_after(php: list[str | Path]) -> None:
    """OPT_DISTRIBUTION set to DISTRIBUTION_CONSISTENT, and then OPT_HASH."""
    check(
        [*php, "DISTRIBUTION_CONSISTENT", "MD5"],
        FORM,
        "libmemcached-ketama",
        text=ASCII,
        hash="md5",
    )


def test_pylibmc_ketama_weighted() -> None:
    """pylibmc.Client(servers, behaviors={"ketama_weighted": True})."""
    need_module("pylibmc")
    check([*PYLIBMC, "ketama_weighted"], NO_SOCKETS, "libmemcached")


def test_pylibmc_ketama() -> None:
    """The behavior ketama: the library in pylibmc's wheel corrupts memory if weights differ."""
    need_module("pylibmc")
    form = NO_SOCKETS._replace(weights="equal")
    check([*PYLIBMC, "ketama"], form, "libmemcached-ketama")
