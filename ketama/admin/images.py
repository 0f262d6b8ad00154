"""What this user has published in shared memory, for the machine's processes."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, NamedTuple

from ketama._ketama import ffi, lib
from ketama.continuum import Continuum, absolute
from ketama.errors import KetamaError, failure

STATES = {
    lib.KETAMA_IMAGE_CURRENT: "current",
    lib.KETAMA_IMAGE_STALE: "stale",
    lib.KETAMA_IMAGE_ORPHAN: "orphan",
    lib.KETAMA_IMAGE_FOREIGN: "foreign",
}


class Image(NamedTuple):
    """A published image of a continuum.

    image: its path. size: of the image, bytes.
    path: the server file's; "" where it does not tell.
    state: "current": made from the server file as it is. "stale": that has changed; who
        looks next replaces the image. "orphan": nobody will use it: its server file is gone,
        it is damaged, or its writer was killed. "foreign": another version of the library's.
    generation: of the images published for that path, from 1; 0 where that is unknown.
    made: when the server file was read, seconds since 1970; 0.0 where that is unknown.
    servers, points: how many there are in it.
    """

    image: str
    path: str
    state: str
    size: int
    generation: int
    made: float
    servers: int
    points: int


def images() -> tuple[str | None, list[Image]]:
    """Give the folder of this user's images, None where there is none, and the images."""
    folder, rows = ffi.new("char **"), ffi.new("ketama_published ***")
    count, failed = ffi.new("size_t *"), ffi.new("ketama_failure *")
    if lib.list_published(folder, rows, count, failed) < 0:
        raise failure(failed, None)
    try:
        where = os.fsdecode(ffi.string(folder[0])) if folder[0] else None
        found = [_image(row) for row in (ffi.unpack(rows[0], count[0]) if count[0] else ())]
    finally:
        lib.ketama_free_published(folder[0], rows[0], count[0])
    found.sort(key=lambda image: (image.path, image.image))
    return where, found


def _image(row: Any) -> Image:
    return Image(
        image=os.fsdecode(ffi.string(row.file)),
        path=os.fsdecode(ffi.string(row.path)),
        state=STATES[row.state],
        size=row.size_bytes,
        generation=row.generation,
        made=row.made_ns / 1e9,
        servers=row.servers,
        points=row.points,
    )


def image_of(path: str | bytes) -> Image | None:
    """Give the published image of a server file, None where there is none.

    That of the path as it is given, or else one of another path to the same file: each
    spelling has its own.
    """
    there = os.fsdecode(absolute(path))
    real = os.path.realpath(there)
    return min(
        (image for image in images()[1] if image.path and os.path.realpath(image.path) == real),
        key=lambda image: image.path != there,
        default=None,
    )


def remove(image: Image) -> bool:
    """Remove an image if it is still an orphan, and say whether it was.

    Raises KetamaOSError where it can't be removed.
    """
    failed = ffi.new("ketama_failure *")
    status = lib.remove_published(os.fsencode(image.image), failed)
    if status < 0:
        raise failure(failed, image.image)
    return bool(status == lib.KETAMA_OK)


def publish(path: bytes) -> bool:
    """Publish a server file's continuum, also under other paths that lead to the file.

    Those are the ones that have an image: a process that knows the file by a symbolic link
    has another image than one that knows it by its name. Nothing is raised where that fails:
    whoever looks at the file sees to it. Says whether the first could be shared.
    """
    real = os.path.realpath(os.fsdecode(path))
    with suppress(OSError):
        for image in images()[1]:
            if image.path and os.path.realpath(image.path) == real:
                with suppress(KetamaError):
                    Continuum(image.path)
    with suppress(KetamaError):
        return Continuum(path).shared
    return False
