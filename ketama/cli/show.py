"""`ketama show`: the servers, and each one's share of the keys."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ketama.cli import source
from ketama.cli.app import file_argument, json_option
from ketama.cli.documents import image_as_json, servers_as_json
from ketama.cli.output import (
    counted,
    deviation,
    duration,
    local_time,
    percent,
    print_json,
    print_table,
    printable,
    utc_time,
)
from ketama.continuum import absolute

if TYPE_CHECKING:
    from typing import Any

    from ketama.admin.images import Image


@click.command(short_help="Show servers, weights, points and shares of the keys.")
@file_argument()
@json_option
def show(file: str, as_json: bool) -> None:
    r"""Show each server's weight, number of points, and share of the keys.

    The share of the keys is exact: the part of the ring that belongs to the server. The
    deviation compares it with the server's share of all weights. The last lines say when the
    file was changed, and whether processes of this user share its ring in memory.

    \b
    Examples:
      ketama show ketama.servers
      ketama show --json ketama.servers | jq '.servers[].share'
    """
    continuum = source.open_continuum(file)
    rows = servers_as_json(continuum)
    is_stream = source.is_stream(file)
    changed = None if is_stream else Path(file).stat().st_mtime
    image = None if is_stream else _image(file)
    totals = {
        "servers": len(rows),
        "weight": sum(row["weight"] for row in rows),
        "points": sum(row["points"] for row in rows),
    }
    if as_json:
        print_json(
            {
                "file": source.label(file),
                "servers": rows,
                "totals": totals,
                "changed": None if changed is None else utc_time(changed),
                "published": None if image is None else image_as_json(image),
            }
        )
        return
    _print_servers(rows, totals)
    servers, points = counted(totals["servers"], "server"), counted(totals["points"], "point")
    print(f"\n{printable(source.label(file))}: {servers}, {points}", end="")
    if changed is None:
        print()
        return
    ago = time.time() - changed
    when = f"{duration(ago)} ago" if ago > -1 else "in the future"
    print(f"; changed {local_time(changed)}, {when}")
    print(printable(_published(file, image)))


def _image(file: str) -> Image | None:
    from ketama.admin.images import image_of

    return image_of(file)


def _print_servers(rows: list[dict[str, Any]], totals: dict[str, int]) -> None:
    from ketama.admin.check import SHARE_TOLERANCE

    print_table(
        ("server", ">weight", ">of weight", ">points", ">of keys", ">deviation"),
        [
            (
                row["address"],
                str(row["weight"]),
                percent(row["weight_share"]),
                str(row["points"]),
                percent(row["share"]),
                deviation(row["deviation"]),
            )
            for row in rows
        ],
        ["" if abs(row["deviation"]) <= SHARE_TOLERANCE else "yellow" for row in rows],
        ("total", str(totals["weight"]), percent(1), str(totals["points"]), percent(1), ""),
    )


def _published(file: str, image: Image | None) -> str:
    if image is None:
        return "not published: no process of this user shares it"
    as_path = "" if image.path == os.fsdecode(absolute(file)) else f" as {image.path}"
    return (
        f"published{as_path} in {image.image}: generation {image.generation}, "
        f"{image.state}, {duration(time.time() - image.made)} old"
    )
