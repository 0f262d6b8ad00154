"""`ketama plot`: a picture of each server's share, or of what a change moves."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ketama.cli import source
from ketama.cli.app import dialect_options, file_argument, json_option
from ketama.cli.documents import diff_as_json
from ketama.cli.moves import Moves
from ketama.cli.output import counted, print_json, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMATS = (".png", ".svg")
DPI = 200  # 1,800 pixels across, for a screen that shows them as 900


@click.command(short_help="Draw each server's share of the keys, or what a change moves.")
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
@dialect_options
@json_option
def plot(file: str, new: str | None, output: str, dialect: bytes, as_json: bool) -> None:
    r"""Draw each server's share of the keys, or what a change moves.

    The picture shows how far each server's share of the keys is from its fair share, which is
    its part of all weights; the servers are sorted, the fullest first. With NEW, another server
    file, it shows what happens if NEW replaces FILE: each server's share before and after, what
    it loses and gains, and between which servers the most keys move. "Collateral" is what moves
    between two servers whose own lines are the same in both files.

    \b
    Examples:
      ketama plot ketama.servers -o shares.png
      ketama plot ketama.servers new.servers -o friday.svg
    """
    suffix = Path(output).suffix
    if suffix.lower() not in FORMATS:
        raise click.UsageError(f"unsupported format {suffix!r} (use .png or .svg)")
    source.only_one_stdin(file, new)
    before = source.open_continuum(file, dialect)
    with _style():
        if new is None:
            from ketama.cli.plot_shares import draw_shares

            moves = None
            points = counted(sum(server.points for server in before.servers), "point")
            summary = f"{counted(len(before.servers), 'server')}, {points}"
            figure = draw_shares(before, source.label(file))
        else:
            from ketama.cli.plot_moves import draw_moves

            moves = Moves(before, source.open_continuum(new, dialect))
            summary = moves.summary
            figure = draw_moves(moves, (source.label(file), source.label(new)))
        figure.savefig(output, dpi=DPI)
    if as_json:
        print_json(
            {
                "file": source.label(file),
                "new": None if new is None else source.label(new),
                "output": output,
                "diff": None if moves is None else diff_as_json(moves.diff),
            }
        )
    else:
        print(f"{printable(output)}: {summary}")


@contextmanager
def _style() -> Iterator[None]:
    """Draw any address: one with $ is no formula, and a glyph that is missing is a box."""
    import matplotlib as mpl

    with mpl.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        yield
