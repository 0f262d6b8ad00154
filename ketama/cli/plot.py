"""`ketama plot`: a picture of the ring, and of what each server gets."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ketama.cli import source
from ketama.cli.app import file_argument, json_option
from ketama.cli.documents import diff_as_json
from ketama.cli.output import counted, percent, print_json, printable

if TYPE_CHECKING:
    import ketama

FORMATS = (".png", ".svg")


@click.command(short_help="Draw the ring, and each server's share of the keys.")
@file_argument()
@file_argument("new", required=False)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="PICTURE",
    type=click.Path(dir_okay=False),
    help="The picture to write: .png or .svg.",
)
@json_option
def plot(file: str, new: str | None, output: str, as_json: bool) -> None:
    r"""Draw the ring, and each server's share of the keys.

    On the ring, each arc has the colour of its server; bars show each server's share of the
    keys, and a mark its share of all weights. With NEW, another server file: which keys move
    when NEW replaces FILE, on the ring and for each server.

    \b
    Examples:
      ketama plot ketama.servers -o ring.png
      ketama plot ketama.servers new.servers -o friday.svg
    """
    suffix = Path(output).suffix
    if suffix.lower() not in FORMATS:
        raise click.UsageError(f"unsupported format {suffix!r} (use .png or .svg)")
    source.only_one_stdin(file, new)
    before = source.open_continuum(file)
    after = None if new is None else source.open_continuum(new)
    summary = _summary(before, after)

    import matplotlib as mpl

    from ketama.cli.picture import draw_moves, draw_shares

    mpl.use("agg")
    mpl.rcParams["text.parse_math"] = False  # an address may contain $
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        if after is None:
            figure = draw_shares(before, source.label(file), summary.replace(", ", "\n"))
        else:
            names = source.label(file), source.label(str(new))
            caption = summary.replace(" of", "\nof").replace(", ", ",\n")
            figure = draw_moves(before, after, names, caption)
        figure.savefig(output, dpi=110)
    if as_json:
        print_json(
            {
                "file": source.label(file),
                "new": None if new is None else source.label(new),
                "output": output,
                "diff": None if after is None else diff_as_json(before.diff(after)),
            }
        )
    else:
        print(f"{printable(output)}: {summary}")


def _summary(before: ketama.Continuum, after: ketama.Continuum | None) -> str:
    if after is None:
        servers = before.servers
        points = sum(server.points for server in servers)
        return f"{counted(len(servers), 'server')}, {counted(points, 'point')}"
    found = before.diff(after)
    moved = f"{percent(found.moved)} of all keys move"
    if not found.added and not found.removed:
        return moved  # the weights ask for all of it
    return f"{moved}, {percent(found.collateral)} collateral"
