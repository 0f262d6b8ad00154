"""The server file that the tests of editing begin with, and what they ask of it."""

from __future__ import annotations

import os
from pathlib import Path

import ketama

TEXT = (
    "# the pool of the shop\n"
    "10.0.1.1:11211     600\t \n"
    "\n"
    "  10.0.1.22:11211 \t 300\r\n"
    "# 10.0.1.3:11211   600    is away\n"
    "10.0.1.4:11211     600\n"
    "# the end"
)


def left_over(path: Path) -> list[str]:
    """What an edit may have left beside the file."""
    return [name for name in os.listdir(path.parent) if name.startswith(".")]


def lock_of(path: Path) -> Path:
    """The lock file of an edit."""
    return path.with_name(f".ketama-edit-{path.name}")


def edited(path: Path) -> str:
    """The file's text; nothing is left beside it."""
    assert left_over(path) == []
    return path.read_bytes().decode()


def remove_first(path: Path, timeout: float = 30) -> None:
    with ketama.edit(path, timeout=timeout) as servers:
        servers.remove("10.0.1.1:11211")
