"""List, find and remove images in shared memory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ketama._ketama import ffi, lib
from ketama.continuum import absolute, continuum_with
from ketama.errors import KetamaError, failure

STATES = {
    lib.KETAMA_IMAGE_CURRENT: "current",
    lib.KETAMA_IMAGE_STALE: "stale",
    lib.KETAMA_IMAGE_ORPHAN: "orphan",
    lib.KETAMA_IMAGE_FOREIGN: "foreign",
    lib.KETAMA_IMAGE_UNCHECKED: "unchecked",
}


class Image(NamedTuple):
    """A published image of a continuum.

    image: path of the image. size: of the image, bytes.
    path: the server file's; "" if the image does not say.
    state: "current": built from the server file as it is now. "stale": the server file has
        changed; the next process that checks it replaces the image. "orphan": no process will
        use it: its server file is gone, it is damaged, or the process that wrote it was killed.
        "foreign": written by another version of the library. "unchecked": another user's,
        whose claims were read but not verified.
    generation: how many images have been published for that path, this one included; 0 if
        unknown.
    made: when the server file was read, seconds since 1970; 0.0 if unknown.
    servers, points: how many it has; 0 if unknown.
    user: id of the user who published it.
    """

    image: str
    path: str
    state: str
    size: int
    generation: int
    made: float
    servers: int
    points: int
    user: int


def images() -> tuple[str | None, list[Image]]:
    """Return the folder of this user's images, and the images sorted by path.

    The folder is None if it does not exist. Every image is read, and its checksum verified.
    Raises KetamaOSError if the folder cannot be read.
    """
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


def images_of_all_users() -> list[Image]:
    """Return the images of all users whose folders can be read, for root, sorted by user.

    Another user may have written anything: of such images only headers are read, no link is
    followed, and no server file is opened. Their state is "unchecked".
    Raises KetamaOSError if the folders cannot be read.
    """
    rows, count = ffi.new("ketama_published ***"), ffi.new("size_t *")
    failed = ffi.new("ketama_failure *")
    if lib.list_all_published(rows, count, failed) < 0:
        raise failure(failed, None)
    try:
        found = [_image(row) for row in (ffi.unpack(rows[0], count[0]) if count[0] else ())]
    finally:
        lib.ketama_free_published(ffi.NULL, rows[0], count[0])
    return sorted(found, key=lambda image: (image.user, image.path, image.image))


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
        user=row.user,
    )


def image_of(path: str | bytes, settings: bytes = b"") -> Image | None:
    """Return the published image of a server file, or None if it is not published.

    Each path to a file, such as a symbolic link, has its own image. Returns the image of the
    path as given, or else the one of another path to the same file.

    settings: the options that it was opened with, as libketama reads them.

    Raises KetamaOSError if the images cannot be read.
    """
    there = absolute(path)
    image = _find(there, settings)
    others = {path for path, _ in _openings(there)} if image is None else ()
    for other in sorted(others):
        image = image or _find(other, settings)
    return image


def _find(path: bytes, settings: bytes) -> Image | None:
    row, failed = ffi.new("ketama_published **"), ffi.new("ketama_failure *")
    if lib.find_published(path, settings, row, failed) < 0:
        raise failure(failed, path)
    if not row[0]:
        return None
    try:
        return _image(row[0])
    finally:
        lib.ketama_free_image(row[0])


def _openings(path: bytes) -> list[tuple[bytes, bytes]]:
    """Return the paths to the same file that have an image, with the options of the image."""
    try:
        file = Path(os.fsdecode(path)).stat()
    except OSError:
        return []
    text, size = ffi.new("char **"), ffi.new("size_t *")
    if lib.ketama_published_openings(text, size) < 0:
        return []
    openings = ffi.gc(text[0], lib.free)
    texts = iter(ffi.buffer(openings, size[0])[:].split(b"\0")[:-1])
    found = []
    for other, settings in zip(texts, texts, strict=True):
        with suppress(OSError):
            if os.path.samestat(file, Path(os.fsdecode(other)).stat()):
                found.append((other, settings))
    return found


def remove(image: Image) -> bool:
    """Remove an image if it is still an orphan; return whether it was.

    Raises KetamaOSError if it cannot be removed.
    """
    failed = ffi.new("ketama_failure *")
    status = lib.remove_published(os.fsencode(image.image), failed)
    if status < 0:
        raise failure(failed, image.image)
    return bool(status == lib.KETAMA_OK)


def publish(path: bytes, settings: bytes = b"") -> bool:
    """Publish a server file's continuum; return whether processes share it.

    Its other images are replaced, too: a process that opened the file by a symbolic link, or
    with other options, uses another one. Errors are ignored: processes that follow the file
    will report them.

    settings: the options that they open it with, as libketama reads them.
    """
    shared = False
    with suppress(KetamaError):
        shared = continuum_with(path, settings, shared=True).shared
    for other, its_settings in _openings(path):
        with suppress(KetamaError):
            continuum_with(other, its_settings, shared=True)
    return shared
