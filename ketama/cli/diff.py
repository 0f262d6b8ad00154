"""`ketama diff`: which keys move when one server file replaces another."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ketama.cli import source
from ketama.cli.app import dialect_options, file_argument, json_option
from ketama.cli.documents import ROWS_MAX, KeyMoves, diff_as_json, print_diff
from ketama.cli.output import print_json, progress

if TYPE_CHECKING:
    import ketama


@click.command(short_help="Show which keys move from one file to another.")
@file_argument("old")
@file_argument("new")
@click.option(
    "--keys",
    "keys_file",
    metavar="FILE",
    type=click.Path(allow_dash=True, readable=False),
    help="Also count how many keys in FILE move, one key per line; - for standard input.",
)
@click.option(
    "--pairs", is_flag=True, help="Also print how much moves from which server to which."
)
@click.option(
    "--all", "show_all", is_flag=True, help=f"Print more than {ROWS_MAX} rows of a table."
)
@dialect_options
@json_option
def diff(
    old: str,
    new: str,
    keys_file: str | None,
    pairs: bool,
    show_all: bool,
    dialect: bytes,
    as_json: bool,
) -> None:
    r"""Show which keys move when the server file NEW replaces OLD.

    Shares are exact: the two rings are compared arc by arc, without sampling. Keys that leave
    or reach a server which is added, removed, or gets another weight or name are what the
    change asks for. "Collateral" is the rest: keys that move between two servers whose own
    lines did not change, because a server's number of points depends on all weights. A server
    that keeps its name at another address is "readdressed", and its keys do not move.

    For each server that is affected, the table has its weight, its share of the keys before
    and after the change, and what it loses and gains.

    \b
    Examples:
      ketama diff ketama.servers new.servers
      ketama diff --pairs --keys keys.txt ketama.servers new.servers
      ssh cache1 cat /etc/ketama.servers | ketama diff - ketama.servers
    """
    source.only_one_stdin(old, new, keys_file)
    before, after = (source.open_continuum(file, dialect) for file in (old, new))
    found = before.diff(after)
    keys = None if keys_file is None else count_keys(before, after, keys_file)
    if as_json:
        print_json(
            {"old": source.label(old), "new": source.label(new), **diff_as_json(found, keys)}
        )
    else:
        rows_max = max(len(found.pairs), len(found.servers)) if show_all else ROWS_MAX
        print_diff(found, keys, pairs=pairs, rows_max=rows_max)


def count_keys(before: ketama.Continuum, after: ketama.Continuum, keys_file: str) -> KeyMoves:
    """Count how many keys of a file move, and between which servers."""
    from ketama.admin.diff import same_servers

    stdin = keys_file == source.STDIN
    found: Counter[tuple[int, int]] = Counter()
    name = source.label(keys_file)
    with (
        nullcontext(source.stdin("keys, one per line,"))
        if stdin
        else Path(keys_file).open("rb") as stream
    ):
        size = os.fstat(stream.fileno()).st_size or None
        with progress(size) as advance:
            for keys, read in source.blocks_of_keys(stream, b"\n", name):
                found.update(zip(before.indexes(keys), after.indexes(keys), strict=True))
                advance(read)
    old, new = before.servers, after.servers
    old_numbers, new_numbers = same_servers(before._now, after._now)
    moved: Counter[tuple[str, str]] = Counter()
    for (start, end), count in found.items():
        if old_numbers[start] != new_numbers[end]:
            moved[old[start].address, new[end].address] += count
    return KeyMoves(found.total(), moved)
