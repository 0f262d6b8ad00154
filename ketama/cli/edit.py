"""`ketama add`, `remove` and `weight`: edit a server file."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli.app import PROBLEMS_FOUND, SUCCESS, json_option, report
from ketama.cli.documents import diff_as_json, print_diff
from ketama.cli.output import print_json, print_styled

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ketama.admin.edit import Edit

WEIGHT_MAX = 2**63 - 1


def complete_server(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the addresses in the file for shell completion."""
    file = ctx.params.get("file")
    if file is None:
        return []
    try:
        servers = ketama.Continuum(file, shared=False).servers
    except ketama.KetamaError:
        return []
    return [
        server.address
        for server in servers
        if server.address.startswith(incomplete) and server.address.isprintable()
    ]


def weight_value(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return a weight that is written as in a server file."""
    if value is None:
        return None
    if re.fullmatch("[0-9]{1,19}", value) and 0 < int(value) <= WEIGHT_MAX:
        return int(value)
    raise click.BadParameter(f"invalid weight {value!r:.40}: must be 1-{WEIGHT_MAX}")


def utf8(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return an address as UTF-8, in any locale."""
    return os.fsencode(value).decode(errors="surrogateescape")


FILE = click.argument("file", metavar="FILE", type=click.Path(readable=False))
SERVER = click.argument(
    "server", metavar="SERVER", shell_complete=complete_server, callback=utf8
)
DRY_RUN = click.option(
    "-n", "--dry-run", is_flag=True, help="Show what would move; write nothing."
)


@click.command(short_help="Add a server to a file.")
@FILE
@click.argument("server", metavar="SERVER", callback=utf8)
@click.argument("weight", metavar="[WEIGHT]", callback=weight_value, required=False)
@DRY_RUN
@json_option
def add(file: str, server: str, weight: int | None, dry_run: bool, as_json: bool) -> int:
    r"""Add a server to a server file, and show which keys move to it.

    The server is added after the last one. WEIGHT may be left out if all servers of the file
    have the same weight.

    The file is replaced atomically: comments, order, spacing, mode and owner stay, and a
    symbolic link is followed. Concurrent edits wait for each other. An edit that would make
    the file invalid is refused. Then the new ring is published, and every process of this user
    that follows the file has it within a second.

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
    r"""Remove a server from a server file, and show where its keys move.

    The last server can't be removed. The file is replaced and published as 'ketama add' does.

    \b
    Examples:
      ketama remove --dry-run /etc/ketama.servers 10.0.1.9:11211
      ketama remove /etc/ketama.servers 10.0.1.9:11211
    """

    def act(editing: Edit) -> None:
        editing.remove(server)

    return _edit("remove", file, server, act, dry_run, as_json)


@click.command(short_help="Change the weight of a server in a file.")
@FILE
@SERVER
@click.argument("weight", metavar="WEIGHT", callback=weight_value)
@DRY_RUN
@json_option
def weight(file: str, server: str, weight: int, dry_run: bool, as_json: bool) -> int:
    r"""Change the weight of a server in a server file, and show which keys move.

    The file is replaced and published as 'ketama add' does.

    \b
    Examples:
      ketama weight --dry-run /etc/ketama.servers 10.0.1.9:11211 300
      ketama weight /etc/ketama.servers 10.0.1.9:11211 300
    """

    def act(editing: Edit) -> None:
        editing.set_weight(server, weight)

    return _edit("weight", file, server, act, dry_run, as_json)


def _common_weight(editing: Edit) -> int:
    weights = {weight for _, weight in editing.servers}
    if len(weights) == 1:
        return weights.pop()
    why = "the servers have different weights" if weights else "the file has no servers"
    raise click.UsageError(f"missing argument WEIGHT: {why}")


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
        if error.filename is None:  # an argument is invalid, not the file
            raise click.UsageError(error.reason) from None
        return report(str(error), PROBLEMS_FOUND)
    warnings = _warnings(editing, server) if action == "add" else []
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
            "warnings": [warning._asdict() for warning in warnings],
        }
        print_json(value)
        return SUCCESS
    _print_action(action, file, server, before, after)
    for warning in warnings:
        print_styled(("warning", "yellow"), (f": {warning.reason} [{warning.code}]", ""))
    if found is not None:
        print_diff(found)
    print(f"\n{_outcome(editing, before, after, dry_run)}")
    return SUCCESS


def _weights(editing: Edit, server: str) -> list[int]:
    """Return the weight of each line of a server."""
    return [weight for address, weight in editing.servers if address == server]


def _warnings(editing: Edit, server: str) -> list[ketama.Finding]:
    """Return the warnings about a server that has been added."""
    from ketama.admin.check import check_added

    return check_added(editing, server)


def _print_action(
    action: str, file: str, server: str, before: list[int], after: list[int]
) -> None:
    old, new = (" and ".join(map(str, weights)) for weights in (before, after))
    what, detail = {
        "add": ("add ", f" (weight {new})"),
        "remove": ("remove ", f" (weight {old})"),
        "weight": ("change the weight of ", f" from {old} to {new}"),
    }[action]
    print_styled((f"{file}: {what}", ""), (server, "bold"), (detail, ""))


def _outcome(editing: Edit, before: list[int], after: list[int], dry_run: bool) -> str:
    if before == after:
        return f"unchanged: weight is already {after[0]}"
    if dry_run:
        return "dry run: nothing was written"
    if not editing.published:
        return "written, but not published: each process builds its own copy"
    return "written and published"
