"""What a test needs and a machine may lack: then it is skipped, and fails in CI."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest


def lacking(what: str) -> NoReturn:
    """Skip the test for what the machine lacks; in CI, let it fail."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def need(program: str) -> str:
    """Give the program's path."""
    return shutil.which(program) or lacking(f"{program} is not installed")


def need_strace() -> str:
    """Give the path of strace, which some containers forbid to trace."""
    strace = need("strace")
    if subprocess.run([strace, "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
        lacking("strace may not trace processes here")
    return strace


def need_module(name: str) -> Any:
    """Give a library that the tests use and ketama does not need."""
    try:
        return importlib.import_module(name)
    except ImportError:
        lacking(f"{name} is not installed")


def need_root() -> None:
    """Be root, who can be other users and mount file systems."""
    if os.getuid() != 0:
        lacking("this needs root")


def need_python(*versions: str) -> str:
    """Give an interpreter of one of these versions that is not the one that runs this."""
    for version in versions:
        if sys.version_info[:2] == tuple(map(int, version.split("."))):
            continue
        candidates = [
            f"python{version}",
            *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")),
        ]
        for candidate in candidates:
            path = shutil.which(candidate)
            if (
                path
                and subprocess.run([path, "--version"], capture_output=True).returncode == 0
            ):
                return path
    lacking("there is no other CPython, one of " + ", ".join(versions))
