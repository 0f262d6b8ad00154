"""Helpers that inspect published images from outside the library."""

from __future__ import annotations

import os
import struct
from hashlib import md5
from pathlib import Path

CHECKSUM_AT, GENERATION_AT, SUPERSEDED_AT, HEADER = 184, 192, 256, 320


def folder(base: Path | None = None) -> Path:
    """Return the directory of this user's images."""
    return (base or Path(os.environ["KETAMA_SHM_DIR"])) / f"libketama-{os.geteuid()}"


def image(path: Path, base: Path | None = None) -> Path:
    """Return the path of a server file's image."""
    return folder(base) / f"{md5(os.fsencode(path)).hexdigest()}-1.3"


def generation(path: Path) -> int:
    """Return the generation of a server file's image: how many were published, in sequence."""
    (number,) = struct.unpack_from("=Q", image(path).read_bytes(), GENERATION_AT)
    return int(number)


def with_checksum(image: bytes) -> bytes:
    """Return an image with its checksum corrected, as docs/image-format.md describes it."""
    data = bytearray(image)
    data[CHECKSUM_AT : CHECKSUM_AT + 8] = bytes(8)
    data[SUPERSEDED_AT : SUPERSEDED_AT + 4] = bytes(4)
    total = _checksum(_checksum(0, data[:HEADER]), data[HEADER:])
    struct.pack_into("=Q", data, CHECKSUM_AT, total)
    return bytes(data)


def _checksum(total: int, data: bytearray) -> int:
    odd, most = 0x9E3779B97F4A7C15, 2**64 - 1
    lanes = [total, 1, 2, 3]
    for words in struct.iter_unpack("=4Q", data):
        for i, word in enumerate(words):
            lane = (lanes[i] ^ word) * odd & most
            lanes[i] = lane ^ lane >> 29
    for lane in lanes:
        total = (total ^ lane) * odd & most
        total ^= total >> 32
    return total


def names(path: Path) -> set[str]:
    """Return the suffixes of a server file's files in the directory: "", ".lock" ..."""
    beginning = image(path).name
    try:
        found = os.listdir(folder())
    except FileNotFoundError:  # nobody has published anything yet
        return set()
    return {name.removeprefix(beginning) for name in found if name.startswith(beginning)}


def mapped() -> list[str]:
    """Return the lines of /proc/self/maps that are images."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if "/libketama-" in line]


def descriptors() -> int:
    """Return the number of files that this process has open."""
    return len(os.listdir("/proc/self/fd"))
