"""Published images, seen from outside: where they are, and what is in them."""

from __future__ import annotations

import os
import struct
from hashlib import md5
from pathlib import Path

GENERATION_AT, SUPERSEDED_AT, HEADER = 192, 256, 320


def folder(base: Path | None = None) -> Path:
    """The folder of this user's images."""
    return (base or Path(os.environ["KETAMA_SHM_DIR"])) / f"libketama-{os.geteuid()}"


def image(path: Path, base: Path | None = None) -> Path:
    """The image of a server file."""
    return folder(base) / f"{md5(os.fsencode(path)).hexdigest()}-1.2"


def generation(path: Path) -> int:
    """How many images have been published for a server file, one replacing the other."""
    (number,) = struct.unpack_from("=Q", image(path).read_bytes(), GENERATION_AT)
    return int(number)


def names(path: Path) -> set[str]:
    """What there is of a server file in the folder, without the common beginning."""
    beginning = image(path).name
    return {
        name.removeprefix(beginning)
        for name in os.listdir(folder())
        if name.startswith(beginning)
    }


def mapped() -> list[str]:
    """The images that this process has mapped, a line each."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if "/libketama-" in line]


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))
