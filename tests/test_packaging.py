"""Building and freezing the package: what is missing is said, and PyInstaller finds all."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from needs import need, need_module

import ketama

ROOT = Path(__file__).resolve().parents[1]
REMEDY = (
    "install a C compiler and Python's headers (apt-get install gcc python3-dev, "
    "dnf install gcc python3-devel, or xcode-select --install)"
)


def build(folder: Path, compiler: str | Path) -> subprocess.CompletedProcess[str]:
    """Build the extension modules with a compiler, in a folder of their own."""
    need_module("setuptools")
    command = [sys.executable, "setup.py", "-q", "build_ext"]
    return subprocess.run(
        [*command, f"--build-lib={folder}", f"--build-temp={folder}/temporary"],
        cwd=ROOT,
        env={**os.environ, "CC": str(compiler)},
        capture_output=True,
        text=True,
    )


def test_a_missing_compiler(tmp_path: Path) -> None:
    """The build says in its last line what to install."""
    ran = build(tmp_path, "/nonexistent")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        f"libketama needs a C compiler, and /nonexistent is missing: {REMEDY}"
    )


def test_missing_headers(tmp_path: Path) -> None:
    """A compiler that finds no Python.h, as without python3-dev: the same remedy."""
    compiler = tmp_path / "cc"
    hidden = f"-I{sysconfig.get_paths()['include']}"
    compiler.write_text(
        "#!/bin/bash\n"
        f'for argument; do [[ $argument == {hidden} ]] || kept+=("$argument"); done\n'
        f'exec {need("cc")} "${{kept[@]}}"\n'
    )
    compiler.chmod(0o755)
    ran = build(tmp_path, compiler)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        f"libketama needs Python.h, which is missing: {REMEDY}"
    )


@pytest.mark.stress
@pytest.mark.parametrize("form", ["--onedir", "--onefile"])
def test_pyinstaller(form: str, tmp_path: Path) -> None:
    """A program that PyInstaller has frozen looks a key up, and checks a file."""
    need_module("PyInstaller")
    program, servers = tmp_path / "program.py", tmp_path / "ketama.servers"
    servers.write_text("127.0.0.1:11211 600\n127.0.0.1:11212 400\n")
    program.write_text(
        "import sys, ketama\n"
        "print(*ketama.Continuum(sys.argv[1]).get_server('test'))\n"
        "print(ketama.check(sys.argv[1]))\n"
    )
    freeze = [sys.executable, "-m", "PyInstaller", "--log-level=ERROR", form, str(program)]
    folders = [f"--{name}path={tmp_path / name}" for name in ("dist", "work", "spec")]
    where = f"--paths={Path(ketama.__file__).parents[1]}"
    environment = {**os.environ, "PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")}
    subprocess.run([*freeze, *folders, where], check=True, env=environment)
    frozen = tmp_path / "dist" / "program"
    ran = subprocess.run(
        [frozen / "program" if form == "--onedir" else frozen, servers],
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "3454255383 127.0.0.1:11211\n[]\n"
