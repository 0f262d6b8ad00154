"""`ketama images`: the images that this user has published."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli import RUNTIME_ERROR
from ketama.cli.app import SUCCESS, json_option, message_of, report
from ketama.cli.documents import image_as_json
from ketama.cli.output import counted, duration, print_json, print_table, printable

if TYPE_CHECKING:
    from ketama.admin.images import Image

STYLES = {"current": "", "stale": "yellow", "orphan": "red", "foreign": "dim"}


@click.command(short_help="List the published images of this user.")
@click.option("--purge", is_flag=True, help="Remove orphans.")
@json_option
def images(purge: bool, as_json: bool) -> int:
    r"""List the published images of this user: server file, state, generation, size, age.

    \b
    current  built from the server file as it is now
    stale    the server file has changed; the next process that checks it replaces the image
    orphan   unused: its server file is gone, it is damaged, or its writer was killed
    foreign  written by another version of the library

    A process that has an orphan mapped keeps it after a purge.

    \b
    Examples:
      ketama images
      ketama images --purge
    """
    from ketama.admin import images

    folder, found = images.images()
    removed, code = _purge(found) if purge else ([], SUCCESS)
    found = [image for image in found if image not in removed]
    if as_json:
        print_json(
            {
                "folder": folder,
                "images": [image_as_json(image) for image in found],
                "removed": [image_as_json(image) for image in removed],
            }
        )
        return code
    if found:
        _print_table(found)
    for image in removed:
        of = f" ({image.path})" if image.path else ""
        print(f"removed {printable(image.image + of)}")
    if folder is None:
        print("no images: this user has published none")
    else:
        size = sum(image.size for image in found)
        print(f"{printable(folder)}: {counted(len(found), 'image')}, {size / 1024:,.0f} KiB")
    return code


def _print_table(found: list[Image]) -> None:
    now = time.time()
    print_table(
        ("server file", "state", ">generation", ">servers", ">size", ">age", "image"),
        [
            (
                image.path or "?",
                image.state,
                str(image.generation or "?"),
                str(image.servers or "?"),
                f"{image.size / 1024:,.0f} KiB",
                duration(now - image.made) if image.made else "?",
                image.image.rpartition("/")[2],
            )
            for image in found
        ],
        [STYLES[image.state] for image in found],
    )
    print()


def _purge(found: list[Image]) -> tuple[list[Image], int]:
    """Remove the orphans; return those that were removed, and the exit code."""
    from ketama.admin import images

    removed, code = [], SUCCESS
    for image in found:
        if image.state != "orphan":
            continue
        try:
            gone = images.remove(image)
        except ketama.KetamaOSError as error:
            gone, code = False, report(message_of(error), RUNTIME_ERROR)
        removed += [image] * gone
    return removed, code
