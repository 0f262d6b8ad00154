"""`ketama add`, `remove`, `weight`, `rename` and `apply`: edit a server file."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

import click

import ketama
from ketama.admin import server_file
from ketama.cli import source
from ketama.cli.app import (
    PROBLEMS_FOUND,
    SUCCESS,
    dialect_options,
    file_argument,
    json_option,
    message_of,
    report,
    share_value,
)
from ketama.cli.edit_result import Change, Done, Rows, as_json, print_result
from ketama.cli.output import percent, print_json, printable
from ketama.cli.store import editing, refusals_of, repeated

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ketama.admin.edit import Edit

WEIGHT_MAX = 2**63 - 1
ASK_ABOVE = 0.5  # of the keys


def complete_server(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the addresses in the file for shell completion."""
    file = ctx.params.get("file") or ctx.params.get("map_")
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


def weight_value(value: str) -> int:
    """Return a weight that is written as in a server file."""
    if re.fullmatch("[0-9]{1,19}", value) and 0 < int(value) <= WEIGHT_MAX:
        return int(value)
    raise click.BadParameter(
        f"invalid weight {value!r:.40}: must be 1-{WEIGHT_MAX}", param_hint="'WEIGHT'"
    )


def utf8(value: str) -> str:
    """Return an address as UTF-8, in any locale."""
    return os.fsencode(value).decode(errors="surrogateescape")


class Options(NamedTuple):
    """The options of all edits."""

    dry_run: bool
    max_moved: float | None
    yes: bool
    dialect: bytes
    as_json: bool


OPTIONS = (
    click.option("-n", "--dry-run", is_flag=True, help="Show what would move; write nothing."),
    click.option(
        "--max-moved",
        metavar="PERCENT",
        callback=share_value,
        help="Refuse to move more than this share of the keys, such as 20%.",
    ),
    click.option("-y", "--yes", is_flag=True, help="Do not ask if more than half would move."),
    dialect_options,
    json_option,
)


def edit_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of all edits."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


FILE = click.argument("file", metavar="FILE", type=click.Path(readable=False))


def servers_argument(metavar: str, complete: bool = True) -> Callable[[Any], Any]:
    """Add an argument for one or more servers."""
    return click.argument(
        "servers",
        metavar=metavar,
        nargs=-1,
        required=True,
        shell_complete=complete_server if complete else None,
    )


@click.command(short_help="Add servers to a file.")
@FILE
@servers_argument("SERVER [WEIGHT] [SERVER WEIGHT]...", complete=False)
@click.option(
    "--name",
    metavar="NAME",
    help="The name of a single server: the text that is hashed in place of its address.",
)
@edit_options
def add(file: str, servers: tuple[str, ...], name: str | None, **options: Any) -> int:
    r"""Add servers to a server file, and show which keys move to them.

    They are added after the last server. Each is followed by its weight. The weight of a single
    server may be left out if all servers of the file have the same. A server that is present
    with that weight, and the name if one is given, stays as it is.

    The file is replaced atomically: comments, order, spacing, mode and owner stay, and a
    symbolic link is followed. Concurrent edits wait for each other. An edit that would make
    the file invalid is refused, and one that would move more of the keys than --max-moved. On
    a terminal, the command asks before it moves more than half of them. Then the new ring is
    published, and every process of this user that follows the file has it within a second.

    \b
    Examples:
      ketama add --dry-run /etc/ketama.servers 10.0.1.9:11211 600
      ketama add --max-moved 20% /etc/ketama.servers 10.0.1.9:11211 600
      ketama add /etc/ketama.servers 10.0.1.9:11211 600 10.0.1.10:11211 300
      ketama add --name cache-i /etc/ketama.servers 10.0.1.9:11211 600
    """
    if name is not None and len(servers) > 2:
        raise click.UsageError("--name is the name of one server: add the others separately")
    weights = [(utf8(servers[0]), None)] if len(servers) == 1 else _pairs(servers)

    def act(editing: Edit) -> list[Change]:
        return [
            _add(editing, server, weight, None if name is None else utf8(name))
            for server, weight in weights
        ]

    return _edit("add", file, act, Options(**options))


@click.command(short_help="Remove servers from a file.")
@FILE
@servers_argument("SERVER...")
@edit_options
def remove(file: str, servers: tuple[str, ...], **options: Any) -> int:
    r"""Remove servers from a server file, and show where their keys move.

    A server that is not in the file is no error. The last server cannot be removed. The file is
    replaced and published as 'ketama add' does.

    \b
    Examples:
      ketama remove --dry-run /etc/ketama.servers 10.0.1.9:11211
      ketama remove /etc/ketama.servers 10.0.1.9:11211 10.0.1.10:11211
    """

    def act(editing: Edit) -> list[Change]:
        return [_remove(editing, utf8(server)) for server in servers]

    return _edit("remove", file, act, Options(**options))


@click.command(short_help="Change the weights of servers in a file.")
@FILE
@servers_argument("SERVER WEIGHT [SERVER WEIGHT]...")
@edit_options
def weight(file: str, servers: tuple[str, ...], **options: Any) -> int:
    r"""Change the weights of servers in a server file, and show which keys move.

    The file is replaced and published as 'ketama add' does.

    \b
    Examples:
      ketama weight --dry-run /etc/ketama.servers 10.0.1.9:11211 300
      ketama weight /etc/ketama.servers 10.0.1.9:11211 300 10.0.1.10:11211 300
    """
    weights = _pairs(servers)

    def act(editing: Edit) -> list[Change]:
        return [_set_weight(editing, server, weight) for server, weight in weights]

    return _edit("weight", file, act, Options(**options))


@click.command(short_help="Change the address of a server that keeps its keys.")
@FILE
@click.argument("old", metavar="OLD", shell_complete=complete_server)
@click.argument("new", metavar="NEW")
@edit_options
def rename(file: str, old: str, new: str, **options: Any) -> int:
    r"""Change the address of a server from OLD to NEW, and let it keep its keys.

    The server keeps its name, which is hashed in place of the address. A server without a name
    gets one: the text that is hashed for it now, which in the default profile is its old
    address. So no key moves to another server. The server at NEW needs the data of the one at
    OLD, or begins empty. To move the keys to the other servers instead, use 'ketama remove' and
    'ketama add'.

    The profiles nginx and pingora know no names, and refuse this. The 2007 libketama misreads a
    line that has a name: see 'ketama check --compat'. If OLD is not in the file, and NEW is,
    with a name, nothing is changed. The file is replaced and published as 'ketama add' does.

    \b
    Examples:
      ketama rename --dry-run /etc/ketama.servers 10.0.1.3:11211 10.0.2.3:11211
      ketama rename /etc/ketama.servers 10.0.1.3:11211 10.0.2.3:11211
    """

    def act(editing: Edit) -> list[Change]:
        return [_rename(editing, utf8(old), utf8(new))]

    return _edit("rename", file, act, Options(**options))


@click.command(short_help="Replace a file with another one.")
@file_argument("new")
@FILE
@edit_options
def apply(new: str, file: str, **options: Any) -> int:
    r"""Replace the text of the server file FILE with that of NEW, and show which keys move.

    NEW may be - for standard input. It is checked first, and an invalid file is refused. FILE
    is replaced and published as 'ketama add' does, so mode and owner stay. If there is no FILE,
    it is created, with mode 0644 less the umask.

    A bucket map stays one if NEW states no profile: the servers of NEW get the buckets. If FILE
    was pulled from a fleet, and NEW states no version, that of FILE stays, so that it can be
    pushed.

    \b
    Examples:
      ketama apply --max-moved 20% new.servers /etc/ketama.servers
      ssh config cat ketama.servers | ketama apply --dry-run - /etc/ketama.servers
    """
    text = source.read_text(new)

    def act(editing: Edit) -> list[Change]:
        before = _all_rows(editing)
        editing.replace(text, source.label(new))
        after = _all_rows(editing)
        changes = [
            Change(server, before.get(server, ()), after.get(server, ()))
            for server in {**before, **after}
        ]
        return [change for change in changes if change.is_one]

    return _edit("apply", file, act, Options(**options), source.label(new))


def _pairs(words: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return servers with their weights."""
    if len(words) % 2:
        raise click.UsageError(f"missing argument WEIGHT after {words[-1]!r:.80}")
    return [
        (utf8(server), weight_value(weight))
        for server, weight in zip(words[::2], words[1::2], strict=True)
    ]


def _all_rows(editing: Edit) -> dict[str, Rows]:
    rows: dict[str, Rows] = {}
    for address, weight, name in editing.servers:
        rows[address] = (*rows.get(address, ()), (weight, name))
    return rows


def _rows(editing: Edit, server: str) -> Rows:
    return _all_rows(editing).get(server, ())


def _add(editing: Edit, server: str, weight: int | None, name: str | None) -> Change:
    before = _rows(editing, server)
    if len(before) == 1:
        present = before[0]
        if weight in (None, present[0]) and name in (None, present[1]):
            return Change(server, before, before)
    try:
        editing.add(server, _common_weight(editing) if weight is None else weight, name)
    except ketama.ServersError as error:
        if not before:
            raise
        remedy = "use 'ketama weight' to change it"
        if name is not None and name != before[0][1]:
            remedy = "another name is another server, so remove this one first"
        reason = f"{error.reason}: {remedy}"
        raise ketama.ServersError(error.filename, error.lineno, reason) from None
    return Change(server, before, _rows(editing, server))


def _remove(editing: Edit, server: str) -> Change:
    before = _rows(editing, server)
    if before:
        editing.remove(server)
    else:
        server_file.check_server(server, 1)
    return Change(server, before, ())


def _set_weight(editing: Edit, server: str, weight: int) -> Change:
    before = _rows(editing, server)
    editing.set_weight(server, weight)
    return Change(server, before, _rows(editing, server))


def _rename(editing: Edit, old: str, new: str) -> Change:
    before, there = _rows(editing, old), _rows(editing, new)
    if not before and len(there) == 1 and there[0][1] is not None:
        server_file.check_server(old, 1)
        return Change(new, there, there)
    editing.rename(old, new)
    return Change(new, before, _rows(editing, new), old)


def _common_weight(editing: Edit) -> int:
    weights = {weight for _, weight, _ in editing.servers}
    if len(weights) == 1:
        return weights.pop()
    why = "the servers have different weights" if weights else "the file has no servers"
    raise click.UsageError(f"missing argument WEIGHT: {why}")


def _edit(
    action: str,
    file: str,
    act: Callable[[Edit], list[Change]],
    options: Options,
    new: str | None = None,
) -> int:
    if file == source.STDIN:
        raise click.UsageError("FILE cannot be standard input; for a file of that name, ./-")

    def attempt(dry_run: bool, max_moved: float | None) -> Done:
        limit = 1.0 if max_moved is None else max_moved
        with editing(file, options.dialect, dry_run, limit, action == "apply") as one:
            changes = act(one)
            found = one.diff()
        return Done(action, file, new, options.dialect, one, changes, found, one._is_changed)

    max_moved = options.max_moved
    try:
        if _is_asked(options):
            # Without the lock: the answer may take its time. No more may move than was agreed.
            tried = attempt(True, None)
            moved = tried.found.moved if tried.found else 0.0
            if moved > ASK_ABOVE and not _agreed(file, moved):
                return report(f"{file}: nothing was written", PROBLEMS_FOUND)
            max_moved = max(moved, ASK_ABOVE)
        done = repeated(file, lambda: attempt(options.dry_run, max_moved))
    except ketama.ServersError as error:
        if error.filename is None:  # an argument is invalid, not the file
            raise click.UsageError(error.reason) from None
        return report(str(error), PROBLEMS_FOUND)
    except refusals_of(file) as error:
        return report(message_of(error), PROBLEMS_FOUND)
    if options.as_json:
        print_json(as_json(done, options.dry_run))
    else:
        print_result(done, options.dry_run)
    return SUCCESS


def _is_asked(options: Options) -> bool:
    """Return whether somebody at a terminal may be asked, and has not answered already."""
    if options.dry_run or options.yes or options.max_moved is not None:
        return False
    return all(stream and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _agreed(file: str, moved: float) -> bool:
    question = f"{printable(file)}: {percent(moved)} of the keys would move. Write it? [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
