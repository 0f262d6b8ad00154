"""`ketama images`: what is published on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli import COULD_NOT
from ketama.cli.app import GOOD, json_option, message_of, report
from ketama.cli.output import counted, duration, print_json, print_table, printable
from ketama.cli.show import image_as_json

if TYPE_CHECKING:
    from ketama.admin.images import Image

STYLES = {"current": "", "stale": "yellow", "orphan": "red", "foreign": "dim"}


@click.command(short_help="List what is published on this machine.")
@click.option("--purge", is_flag=True, help="Remove the orphans.")
@json_option
def images(purge: bool, as_json: bool) -> int:
    r"""List the published images of this user: server file, state, generation, size.

    \b
    current  made from the server file as it is
    stale    the file has changed since; the next process that looks replaces the image
    orphan   nobody will use it: its server file is gone, it is damaged, or the process
             that wrote it was killed
    foreign  another version of the library's

    A process that has an orphan mapped keeps it after a purge.

    \b
    Examples:
      ketama images
      ketama images --purge
    """
    from ketama.admin import images

    folder, found = images.images()
    removed, code = _purge(found) if purge else ([], GOOD)
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
    for image in removed:
        of = f", of {image.path}" if image.path else ""
        print(f"removed {printable(image.image + of)}")
    if folder is None:
        print("nothing is published by this user")
    else:
        size = sum(image.size for image in found)
        print(f"{printable(folder)}: {counted(len(found), 'image')}, {size / 1024:,.0f} KiB")
    return code


def _purge(found: list[Image]) -> tuple[list[Image], int]:
    """Remove the orphans; give those that are gone now, and the exit code."""
    from ketama.admin import images

    removed, code = [], GOOD
    for image in found:
        if image.state != "orphan":
            continue
        try:
            gone = images.remove(image)
        except ketama.KetamaOSError as error:
            gone, code = False, report(message_of(error), COULD_NOT)
        removed += [image] * gone
    return removed, code
