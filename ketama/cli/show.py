"""`ketama show`: the servers, and each one's share of the keys."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ketama.cli import source
from ketama.cli.app import dialect_options, file_argument, json_option
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
    standard_deviation,
    utc_time,
)
from ketama.continuum import absolute

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ketama.admin.images import Image

FACT = 12  # columns of a line's heading
ORDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "weight": lambda row: row["weight"],
    "share": lambda row: row["share"],
    "deviation": lambda row: abs(row["deviation"]),
}


@click.command(short_help="Show servers, weights, points and shares of the keys.")
@file_argument()
@click.option(
    "--sort",
    "order",
    metavar="COLUMN",
    type=click.Choice(list(ORDERS)),
    help="Sort by weight, share or deviation: the largest first, in either direction.",
)
@dialect_options
@json_option
def show(file: str, order: str | None, dialect: bytes, as_json: bool) -> None:
    r"""Show each server's name, weight, number of points, and share of the keys.

    The share of the keys is exact: the part of the ring that belongs to the server. The
    deviation compares it with the server's fair share, its part of all weights. The last lines
    have the smallest, the largest and the standard deviation, when the file was changed, and
    whether processes of this user share its ring in memory.

    \b
    Examples:
      ketama show ketama.servers
      ketama show --sort deviation ketama.servers | head
      ketama show --json ketama.servers | jq '.servers[].share'
    """
    continuum = source.open_continuum(file, dialect)
    rows = servers_as_json(continuum)
    if order is not None:
        rows.sort(key=ORDERS[order], reverse=True)
    is_stream = source.is_stream(file)
    changed = None if is_stream else Path(file).stat().st_mtime
    image = None if is_stream else _image(file, dialect)
    totals = {
        "servers": len(rows),
        "weight": sum(row["weight"] for row in rows),
        "points": sum(row["points"] for row in rows),
        "deviation": _deviations([row["deviation"] for row in rows]),
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
    print()
    name = printable(source.label(file))
    print(f"{name}: {counted(len(rows), 'server')}, {counted(totals['points'], 'point')}")
    _print_facts(totals["deviation"], changed)
    if changed is not None:
        for line in _published(file, image):
            print(printable(line))


def _deviations(parts: list[float]) -> dict[str, float]:
    """Return the extremes, and the standard deviation from the fair shares."""
    return {"min": min(parts), "max": max(parts), "standard": standard_deviation(parts)}


def _print_facts(deviations: dict[str, float], changed: float | None) -> None:
    least, most = deviation(deviations["min"]), deviation(deviations["max"])
    standard = percent(deviations["standard"], 1)
    print(f"{'deviation':<{FACT}}{least} to {most}, standard deviation {standard}")
    if changed is not None:
        ago = time.time() - changed
        when = f"{duration(ago)} ago" if ago > -1 else "in the future"
        print(f"{'changed':<{FACT}}{local_time(changed)}, {when}")


def _image(file: str, dialect: bytes) -> Image | None:
    from ketama.admin.images import image_of

    return image_of(file, dialect)


def _print_servers(rows: list[dict[str, Any]], totals: dict[str, int]) -> None:
    from ketama.admin.check import SHARE_TOLERANCE

    # A column for names only if there are any.
    named = any(row["name"] for row in rows)
    print_table(
        (
            "~server",
            *(["~name"] if named else []),
            *(">weight", ">of weight", ">points", ">of keys", ">deviation"),
        ),
        [
            (
                row["address"],
                *([row["name"] or ""] if named else []),
                str(row["weight"]),
                percent(row["weight_share"]),
                str(row["points"]),
                percent(row["share"]),
                deviation(row["deviation"]),
            )
            for row in rows
        ],
        ["" if abs(row["deviation"]) <= SHARE_TOLERANCE else "yellow" for row in rows],
        (
            "total",
            *([""] if named else []),
            *(str(totals["weight"]), percent(1), str(totals["points"]), percent(1), ""),
        ),
    )


def _published(file: str, image: Image | None) -> list[str]:
    """Return the lines that say what processes of this user share."""
    if image is None:
        return [f"{'published':<{FACT}}no: no process of this user shares it"]
    if image.generation == 0:
        return [
            f"{'published':<{FACT}}damaged: the next process that opens the file replaces it"
        ]
    age = duration(time.time() - image.made)
    lines = [
        f"{'published':<{FACT}}generation {image.generation}, {image.state}, {age} old",
        f"{'':<{FACT}}{image.image}",
    ]
    if image.path != os.fsdecode(absolute(file)):
        lines.insert(1, f"{'':<{FACT}}as {image.path}")
    return lines
