"""`ketama diff`: what moves when one server file takes another's place."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from ketama.cli import source
from ketama.cli.app import file_argument, json_option
from ketama.cli.output import counted, percent, print_json, print_styled, print_table, progress

if TYPE_CHECKING:
    from typing import Any

    import ketama

SHOWN = 20  # pairs


@click.command(short_help="Tell which keys move from one file to another.")
@file_argument("old")
@file_argument("new")
@click.option(
    "--keys",
    "keys_file",
    metavar="FILE",
    type=click.Path(allow_dash=True, readable=False),
    help="Count it on real keys as well: a key a line; - for standard input.",
)
@click.option("--all", "show_all", is_flag=True, help=f"Print more pairs than {SHOWN}.")
@json_option
def diff(old: str, new: str, keys_file: str | None, show_all: bool, as_json: bool) -> None:
    r"""Tell which keys move when the server file NEW takes the place of OLD.

    The shares are exact: the two circles are compared, and nothing is sampled. Needless is
    what moves between servers that are in both files. Some of it is always there, as the
    number of a server's points depends on all weights; and where weights were changed it is
    what was asked for.

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
        print_diff(found, keys, SHOWN if not show_all else len(found.pairs))


class Counted:
    """What was counted on real keys."""

    def __init__(self, found: Counter[tuple[str, str]]) -> None:
        self.count = found.total()
        self.pairs = {pair: keys for pair, keys in found.items() if pair[0] != pair[1]}
        self.moved = sum(self.pairs.values())

    def needless(self, found: ketama.Diff) -> int:
        """Give how many moved between servers that are in both files."""
        return sum(
            keys
            for (start, end), keys in self.pairs.items()
            if start not in found.removed and end not in found.added
        )


def count_keys(before: ketama.Continuum, after: ketama.Continuum, keys_file: str) -> Counted:
    """Count on the keys of a file how many move."""
    import os
    from contextlib import nullcontext
    from pathlib import Path

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
    for (start, end), keys_found in found.items():
        addresses[old[start].address, new[end].address] += keys_found
    return Counted(addresses)


def diff_as_json(found: ketama.Diff, keys: Counted | None = None) -> dict[str, Any]:
    """Give a difference as the JSON of all commands has it."""
    value: dict[str, Any] = {
        "moved": found.moved,
        "needless": found.needless,
        "added": list(found.added),
        "removed": list(found.removed),
        "pairs": [
            {"from": start, "to": end, "share": share}
            for (start, end), share in found.pairs.items()
        ],
    }
    if keys is not None:
        for pair in value["pairs"]:
            pair["keys"] = keys.pairs.get((pair["from"], pair["to"]), 0)
        value["keys"] = {
            "count": keys.count,
            "moved": keys.moved,
            "needless": keys.needless(found),
        }
    return value


def print_diff(found: ketama.Diff, keys: Counted | None = None, most: int = SHOWN) -> None:
    """Print a difference for people, at most so many of its pairs."""
    for what, servers in (("added", found.added), ("removed", found.removed)):
        if servers:
            print_styled((f"{what:<11}", ""), (", ".join(servers), "bold"))
    moved = needless = ""
    if keys is not None:
        of = f"of {counted(keys.count, 'key')}"
        moved, needless = f"; {keys.moved:,} {of}", f"; {keys.needless(found):,} {of}"
    _print_share("moved", found.moved, f"of the keys{moved}")
    if found.added or found.removed:  # else all that moves was asked for, by the weights
        where = f"between servers that are in both files{needless}"
        _print_share("needless", found.needless, where)
    if not found.pairs:
        return
    print()
    pairs = list(found.pairs.items())
    heads = ["from", "to", ">of keys"]
    rows = [[start, end, percent(share)] for (start, end), share in pairs[:most]]
    if keys is not None:
        heads.append(">keys")
        for row, (pair, _) in zip(rows, pairs, strict=False):
            row.append(str(keys.pairs.get(pair, 0)))
    print_table(heads, rows)
    if rest := pairs[most:]:
        share = percent(sum(share for _, share in rest))
        print(f"and {counted(len(rest), 'pair')} more: {share} (--all)")


def _print_share(name: str, share: float, what: str) -> None:
    print_styled((f"{name:<10}", ""), (f"{percent(share):>9}", "bold"), (f"   {what}", ""))
