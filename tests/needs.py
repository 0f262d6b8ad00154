"""Programs that a test needs and a machine may lack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def need(program: str) -> str:
    """Give the program's path. Where it is missing the test is skipped, and fails in CI."""
    path = shutil.which(program)
    if path is None:
        message = f"{program} is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


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
    return need("another CPython, one of " + ", ".join(versions))
