"""`ketama diff`: which keys move when one server file replaces another."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ketama.cli import source
from ketama.cli.app import file_argument, json_option
from ketama.cli.documents import PAIRS_MAX, KeyMoves, diff_as_json, print_diff
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
@click.option("--all", "show_all", is_flag=True, help=f"Print more than {PAIRS_MAX} pairs.")
@json_option
def diff(old: str, new: str, keys_file: str | None, show_all: bool, as_json: bool) -> None:
    r"""Show which keys move when the server file NEW replaces OLD.

    Shares are exact: the two rings are compared arc by arc, without sampling. "Collateral" is
    the part that moves between two servers that are in both files. Some of it is unavoidable,
    because a server's number of points depends on all weights. Where only weights change, all
    moves are of that kind, and the line is left out.

    \b
    Examples:
      ketama diff ketama.servers new.servers
      ketama diff --keys keys.txt ketama.servers new.servers
      ssh cache1 cat /etc/ketama.servers | ketama diff - ketama.servers
    """
    source.only_one_stdin(old, new, keys_file)
    before, after = source.open_continuum(old), source.open_continuum(new)
    found = before.diff(after)
    keys = None if keys_file is None else count_keys(before, after, keys_file)
    if as_json:
        print_json(
            {"old": source.label(old), "new": source.label(new), **diff_as_json(found, keys)}
        )
    else:
        print_diff(found, keys, PAIRS_MAX if not show_all else len(found.pairs))


def count_keys(before: ketama.Continuum, after: ketama.Continuum, keys_file: str) -> KeyMoves:
    """Count how many keys of a file move, and between which servers."""
    stdin = keys_file == source.STDIN
    found: Counter[tuple[int, int]] = Counter()
    with nullcontext(source.stdin()) if stdin else Path(keys_file).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size or None
        with progress(size) as advance:
            for keys, read in source.blocks_of_keys(stream, b"\n"):
                found.update(zip(before.indexes(keys), after.indexes(keys), strict=True))
                advance(read)
    old, new = before.servers, after.servers
    addresses: Counter[tuple[str, str]] = Counter()
    for (start, end), count in found.items():
        addresses[old[start].address, new[end].address] += count
    return KeyMoves(addresses)
