"""`ketama show`: the servers, and what each of them gets."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ketama.cli import source
from ketama.cli.app import file_argument, json_option
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

    import ketama
    from ketama.admin.images import Image


@click.command(short_help="Show servers, weights, points, shares of the keys.")
@file_argument()
@json_option
def show(file: str, as_json: bool) -> None:
    r"""Show the servers: weight, its share of all weights, points, and share of the keys.

    The share of the keys is exact: the part of the circle that belongs to the server. The
    deviation is how far it is off the weight's share. Below it: whether this user's processes
    share the continuum, since when, and how many were published before it.

    \b
    Examples:
      ketama show ketama.servers
      ketama show --json ketama.servers | jq '.servers[].share'
    """
    from ketama.admin.check import UNEVEN

    continuum = source.open_continuum(file)
    rows = servers_as_json(continuum)
    changed = None if source.is_stream(file) else Path(file).stat().st_mtime
    image = None if source.is_stream(file) else _image(file)
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
        ["" if abs(row["deviation"]) <= UNEVEN else "yellow" for row in rows],
        ("total", str(totals["weight"]), percent(1), str(totals["points"]), percent(1), ""),
    )
    servers, points = counted(totals["servers"], "server"), counted(totals["points"], "point")
    print(f"\n{printable(source.label(file))}: {servers}, {points}", end="")
    if changed is None:
        print()
        return
    ago = time.time() - changed
    when = f"{duration(ago)} ago" if ago > -1 else "in the future"
    print(f"; changed {local_time(changed)}, {when}")
    if image is None:
        print("not published: no process of this user shares it")
        return
    as_path = "" if image.path == os.fsdecode(absolute(file)) else f" as {image.path}"
    print(
        printable(
            f"published{as_path} in {image.image}: generation {image.generation}, "
            f"{image.state}, {duration(time.time() - image.made)} old"
        )
    )


def _image(file: str) -> Image | None:
    from ketama.admin.images import image_of

    return image_of(file)


def servers_as_json(continuum: ketama.Continuum) -> list[dict[str, Any]]:
    """Give each server as the JSON of `show` and `dump` has it."""
    servers = continuum.servers
    total = sum(server.weight for server in servers)
    return [
        {
            "address": server.address,
            "weight": server.weight,
            "weight_share": server.weight / total,
            "points": server.points,
            "share": server.share,
            "deviation": server.share / (server.weight / total) - 1,
        }
        for server in servers
    ]


def image_as_json(image: Image) -> dict[str, Any]:
    """Give a published image as the JSON of `show` and `images` has it."""
    return {
        "image": image.image,
        "path": image.path or None,
        "state": image.state,
        "generation": image.generation or None,
        "made": utc_time(image.made) if image.made else None,
        "size": image.size,
        "servers": image.servers or None,
        "points": image.points or None,
    }
