"""`ketama add`, `remove`, `weight`: the server file edited."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli.app import BAD_NEWS, GOOD, json_option, report
from ketama.cli.diff import diff_as_json, print_diff
from ketama.cli.output import print_json, print_styled

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ketama.admin.edit import Edit


def complete_server(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Give the shell the addresses that are in the file."""
    try:
        servers = ketama.Continuum(ctx.params["file"], shared=False).servers
    except (KeyError, TypeError, ketama.KetamaError):
        return []
    return [
        row.address
        for row in servers
        if row.address.startswith(incomplete) and row.address.isprintable()
    ]


def as_in_a_file(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Take a weight that is written as in a server file."""
    if value is None:
        return None
    if re.fullmatch("[0-9]{1,19}", value) and 0 < int(value) <= HEAVIEST:
        return int(value)
    raise click.BadParameter(f"{value!r:.40} is not a whole number from 1 to {HEAVIEST}")


def utf8(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Take an address as UTF-8, whatever the locale takes its bytes for."""
    return os.fsencode(value).decode(errors="surrogateescape")


HEAVIEST = 2**63 - 1
# What a new server's line is warned of; the rest is for check.
NEWCOMERS = {"port", "control", "no-points"}
FILE = click.argument("file", metavar="FILE", type=click.Path(readable=False))
SERVER = click.argument(
    "server", metavar="SERVER", shell_complete=complete_server, callback=utf8
)
DRY_RUN = click.option(
    "-n", "--dry-run", is_flag=True, help="Say what would move; write nothing."
)


@click.command(short_help="Add a server to a file.")
@FILE
@click.argument("server", metavar="SERVER", callback=utf8)
@click.argument("weight", metavar="[WEIGHT]", callback=as_in_a_file, required=False)
@DRY_RUN
@json_option
def add(file: str, server: str, weight: int | None, dry_run: bool, as_json: bool) -> int:
    r"""Add a server to a server file, and tell which keys move to it.

    It comes behind the last server of the file. Without a WEIGHT it gets the weight that all
    servers of the file have.

    The file is replaced at once as a whole: its comments, order, spacing, mode and owner
    stay, a symbolic link is followed. Two edits at once wait for each other. What check
    would call an error is refused. Then the new continuum is published, so that every
    process of this user that follows the file has it within a second.

    \b
    Examples:
      ketama add --dry-run /etc/ketama.servers 10.0.1.9:11211 600
      ketama add /etc/ketama.servers 10.0.1.9:11211 600
    """

    def act(editing: Edit) -> None:
        editing.add(server, _common_weight(editing) if weight is None else weight)

    return _edit("add", file, server, act, dry_run, as_json)


@click.command(short_help="Remove a server from a file.")
@FILE
@SERVER
@DRY_RUN
@json_option
def remove(file: str, server: str, dry_run: bool, as_json: bool) -> int:
    r"""Remove a server from a server file, and tell which keys move away.

    The last server can't be removed. The file is replaced and published as by add.

    \b
    Examples:
      ketama remove --dry-run /etc/ketama.servers 10.0.1.9:11211
      ketama remove /etc/ketama.servers 10.0.1.9:11211
    """
    return _edit(
        "remove", file, server, lambda editing: editing.remove(server), dry_run, as_json
    )


@click.command(short_help="Change a server's weight in a file.")
@FILE
@SERVER
@click.argument("weight", metavar="WEIGHT", callback=as_in_a_file)
@DRY_RUN
@json_option
def weight(file: str, server: str, weight: int, dry_run: bool, as_json: bool) -> int:
    r"""Change a server's weight in a server file, and tell which keys move.

    The file is replaced and published as by add.

    \b
    Examples:
      ketama weight --dry-run /etc/ketama.servers 10.0.1.9:11211 300
      ketama weight /etc/ketama.servers 10.0.1.9:11211 300
    """
    return _edit(
        "weight",
        file,
        server,
        lambda editing: editing.set_weight(server, weight),
        dry_run,
        as_json,
    )


def _common_weight(editing: Edit) -> int:
    weights = {weight for _, weight in editing.servers}
    if len(weights) == 1:
        return weights.pop()
    which = "the servers have different weights" if weights else "there is no server yet"
    raise click.UsageError(f"{which}, so WEIGHT must be given")


def _edit(
    action: str,
    file: str,
    server: str,
    act: Callable[[Edit], None],
    dry_run: bool,
    as_json: bool,
) -> int:
    try:
        with ketama.edit(file, dry_run=dry_run) as editing:
            before = _weights(editing, server)
            act(editing)
            after = _weights(editing, server)
            found = editing.diff()
    except ketama.ServersError as error:
        if error.filename is None:  # it is not the file that is wrong
            raise click.UsageError(error.reason) from None
        return report(f"refused: {error}", BAD_NEWS)
    doubts = _doubts(editing, server) if action == "add" else []
    if as_json:
        value: dict[str, Any] = {
            "file": file,
            "action": action,
            "server": server,
            "weight_before": before[0] if before else None,
            "weight": after[0] if after else None,
            "dry_run": dry_run,
            "published": editing.published,
            "diff": None if found is None else diff_as_json(found),
            "warnings": [doubt._asdict() for doubt in doubts],
        }
        print_json(value)
        return GOOD
    _print(action, file, server, before, after)
    for doubt in doubts:
        print_styled(("warning", "yellow"), (f": {doubt.reason} [{doubt.code}]", ""))
    if found is not None:
        print_diff(found)
    if before == after:
        print("\nnothing was written: it was so already")
    elif dry_run:
        print("\nnothing was written: this was a dry run")
    elif not editing.published:
        print("\nwritten; it could not be published, so processes build it for themselves")
    else:
        print("\nwritten and published")
    return GOOD


def _weights(editing: Edit, server: str) -> list[int]:
    """Give the weights of each line of a server."""
    return [weight for address, weight in editing.servers if address == server]


def _doubts(editing: Edit, server: str) -> list[ketama.Finding]:
    """Find what is doubtful about a server that has come."""
    from ketama.admin.check import check_text
    from ketama.admin.server_file import parse

    line = next(line.number for line in parse(editing.text) if line.address == server)
    return [
        finding
        for finding in check_text(editing.text)
        if finding.line == line and finding.code in NEWCOMERS
    ]


def _print(action: str, file: str, server: str, before: list[int], after: list[int]) -> None:
    was, now = (" and ".join(map(str, weights)) for weights in (before, after))
    weights = {
        "add": f"weight {now}",
        "remove": f"weight was {was}",
        "weight": f"weight {was} to {now}",
    }
    print_styled((f"{file}: {action} ", ""), (server, "bold"), (f", {weights[action]}", ""))
