"""Helpers that inspect published images from outside the library."""

from __future__ import annotations

import os
import struct
from hashlib import md5
from pathlib import Path

GENERATION_AT, SUPERSEDED_AT, HEADER = 192, 256, 320


def folder(base: Path | None = None) -> Path:
    """Return the directory of this user's images."""
    return (base or Path(os.environ["KETAMA_SHM_DIR"])) / f"libketama-{os.geteuid()}"


def image(path: Path, base: Path | None = None) -> Path:
    """Return the path of a server file's image."""
    return folder(base) / f"{md5(os.fsencode(path)).hexdigest()}-1.2"


def generation(path: Path) -> int:
    """Return the generation of a server file's image: how many were published, in sequence."""
    (number,) = struct.unpack_from("=Q", image(path).read_bytes(), GENERATION_AT)
    return int(number)


def names(path: Path) -> set[str]:
    """Return the suffixes of a server file's files in the directory: "", ".lock" ..."""
    beginning = image(path).name
    return {
        name.removeprefix(beginning)
        for name in os.listdir(folder())
        if name.startswith(beginning)
    }


def mapped() -> list[str]:
    """Return the lines of /proc/self/maps that are images."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if "/libketama-" in line]


def descriptors() -> int:
    """Return the number of files that this process has open."""
    return len(os.listdir("/proc/self/fd"))
