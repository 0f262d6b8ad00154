"""`ketama images`: the published images of this user, or of all users."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli import RUNTIME_ERROR
from ketama.cli.app import SUCCESS, json_option, message_of, report
from ketama.cli.documents import image_as_json
from ketama.cli.output import counted, duration, print_json, print_table, printable, user_name

if TYPE_CHECKING:
    from ketama.admin.images import Image

STYLES = {"current": "", "stale": "yellow", "orphan": "red", "foreign": "dim", "unchecked": ""}


@click.command(short_help="List the published images of this user.")
@click.option("--purge", is_flag=True, help="Remove orphans.")
@click.option("--all-users", is_flag=True, help="List the images of all users; only for root.")
@json_option
def images(purge: bool, all_users: bool, as_json: bool) -> int:
    r"""List the published images of this user: server file, state, generation, size, age.

    \b
    current    built from the server file as it is now
    stale      the server file has changed; the next process that checks it replaces the image
    orphan     unused: its server file is gone, it is damaged, or its writer was killed
    foreign    written by another version of the library
    unchecked  another user's: what it says about itself was read, not verified

    A process that has an orphan mapped keeps it after a purge.

    With --all-users, root sees what all users have published. Another user's folder is never
    trusted: only headers are read, and nothing is followed, verified or removed. For the state
    of such an image, or to purge it, run the command as that user.

    \b
    Examples:
      ketama images
      ketama images --purge
      sudo ketama images --all-users
      sudo -u www-data ketama images --purge
    """
    from ketama.admin import images

    if all_users and purge:
        raise click.UsageError("--purge is not for all users: run it as each of them")
    if all_users and os.geteuid() != 0:
        return report("--all-users: only root can read other users' folders", RUNTIME_ERROR)
    folder, found = (None, images.images_of_all_users()) if all_users else images.images()
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
        _print_table(found, all_users)
    for image in removed:
        of = f" ({image.path})" if image.path else ""
        print(f"removed {printable(image.image + of)}")
    _print_sum(folder, found, all_users)
    return code


def _print_table(found: list[Image], all_users: bool) -> None:
    now = time.time()
    columns = ("~server file", "state", ">generation", ">size", ">age")
    rows = [
        (
            image.path or image.image.rpartition("/")[2],
            image.state,
            str(image.generation or "?"),
            f"{image.size / 1024:,.0f} KiB",
            duration(now - image.made) if image.made else "?",
        )
        for image in found
    ]
    styles = [STYLES[image.state] for image in found]
    if all_users:
        users = [user_name(image.user) for image in found]
        owned = [(user, *row) for user, row in zip(users, rows, strict=True)]
        print_table(("user", *columns), owned, styles)
    else:
        print_table(columns, rows, styles)
    print()


def _print_sum(folder: str | None, found: list[Image], all_users: bool) -> None:
    size = (
        f"{counted(len(found), 'image')}, {sum(image.size for image in found) / 1024:,.0f} KiB"
    )
    if all_users:
        print(f"{counted(len({image.user for image in found}), 'user')}: {size}")
    elif folder is None:
        print("no images: this user has published none")
    else:
        print(f"{printable(folder)}: {size}")


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
