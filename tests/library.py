"""The C library's sources, for tests that compile them."""

from __future__ import annotations

from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1] / "libketama"


def sources() -> list[Path]:
    """Give every C file of the library: the stages, and the folders that serve them."""
    folders = ("", "hash", "profile", "admin")
    return sorted(path for folder in folders for path in (LIBRARY / folder).glob("*.c"))
