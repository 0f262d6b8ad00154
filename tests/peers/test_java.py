"""spymemcached, in Java."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from needs import lacking, need

from peers.programs import PROGRAMS, check
from peers.questions import Form, host_name, ipv4, some_ip, some_name, some_port

pytestmark = pytest.mark.xdist_group("peers")

JAR = Path("/usr/share/java/spymemcached.jar")


def resolved(chance: random.Random) -> str:
    """Return an address with a host name as Java prints it."""
    return f"{some_name(chance)}/{some_ip(chance)}:{some_port(chance)}"


def long_ipv6(chance: random.Random) -> str:
    """Return an IPv6 address as Java prints it."""
    return f"[2001:db8:0:0:0:0:0:{chance.randrange(1, 2**16):x}]:{some_port(chance)}"


@pytest.fixture(scope="session")
def spymemcached(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """Compile the program that asks spymemcached, and return its command."""
    java, javac = need("java"), need("javac")
    if not JAR.exists():
        lacking("spymemcached is not installed")
    folder = tmp_path_factory.mktemp("spymemcached")
    source = PROGRAMS / "Spymemcached.java"
    lint = ["-Xlint:all", "-Werror", "--release", "11"]
    subprocess.run([javac, *lint, "-cp", JAR, "-d", folder, source], check=True)
    return [java, "-XX:TieredStopAtLevel=1", "-cp", f"{JAR}:{folder}", "Spymemcached"]


def test_spymemcached(spymemcached: list[str | Path]) -> None:
    """KetamaConnectionFactory's locator, with weights."""
    form = Form([ipv4, resolved, long_ipv6])
    check([*spymemcached, "SPYMEMCACHED"], form, "spymemcached")


def test_format_libmemcached(spymemcached: list[str | Path]) -> None:
    """The same with Format.LIBMEMCACHED, which asks DNS for the name of an IP address."""
    form = Form([host_name])
    command = [*spymemcached, "LIBMEMCACHED"]
    check(command, form, "spymemcached", format="libmemcached")
