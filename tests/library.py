"""The C library, built in its folder, and programs that are linked with it."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from needs import need

LIBRARY = Path(__file__).resolve().parents[1] / "libketama"
# As a build by hand would have it, whatever calls the tests.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


def make(folder: Path, *arguments: str) -> None:
    """Run make, which has to succeed."""
    ran = subprocess.run(
        [need("make"), "-s", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        env=CLEAN,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def build_in_place(*targets: str) -> Path:
    """Build the library as a user does, one process at a time; return the folder."""
    with (LIBRARY / "Makefile").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make(LIBRARY, *targets)
    return LIBRARY / "build"


def archive() -> Path:
    """Build libketama.a, which has every symbol that the sources have; return it."""
    return build_in_place() / "libketama.a"


def sanitized_archive() -> Path:
    """Build libketama.a under AddressSanitizer and UBSan; return it."""
    target = "memory/libketama.a"
    return build_in_place(f"build/{target}") / target


def compile_program(name: str, program: Path, *options: str) -> None:
    """Compile a program of tests/programs with the library."""
    source = Path(__file__).resolve().parent / "programs" / name
    command = [need("cc"), "-std=c11", "-O2", "-o", str(program), str(source), *options]
    subprocess.run([*command, str(archive())], check=True)
