"""`ketama dump`: the continuum, point by point."""

from __future__ import annotations

import sys

import click

from ketama.cli import source
from ketama.cli.app import dialect_options, file_argument, json_option
from ketama.cli.documents import servers_as_json
from ketama.cli.output import print_json, printable

AT_ONCE = 10_000  # lines


@click.command(short_help="Print the ring point by point.")
@file_argument()
@dialect_options
@json_option
def dump(file: str, dialect: bytes, as_json: bool) -> None:
    r"""Print all points of the ring in ascending order, each with its server.

    A key belongs to the first point at or after its hash; past the last point, to the
    first one.

    \b
    Examples:
      ketama dump ketama.servers | head
      ketama dump --json ketama.servers >ring.json
    """
    continuum = source.open_continuum(file, dialect)
    points = continuum.get_points()
    if as_json:
        servers = servers_as_json(continuum)
        print_json({"file": source.label(file), "servers": servers, "points": points}, None)
        return
    ends = {server.address: f"   {printable(server.address)}\n" for server in continuum.servers}
    for first in range(0, len(points), AT_ONCE):
        some = points[first : first + AT_ONCE]
        sys.stdout.write("".join(f"{point:>10}{ends[address]}" for point, address in some))
