"""`ketama push` and `ketama rollback`: change the list of a fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli.app import PROBLEMS_FOUND, SUCCESS, json_option, message_of, report, share_value
from ketama.cli.documents import diff_as_json, print_diff
from ketama.cli.output import counted, print_json, print_styled
from ketama.cli.store import open_store, url_argument

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ketama.fleet import Preparation, Pushed

OPTIONS = (
    click.option("-n", "--dry-run", is_flag=True, help="Show what would move; write nothing."),
    click.option(
        "--max-moved",
        metavar="PERCENT",
        callback=share_value,
        help="Refuse to move more of the keys, for example 20%.",
    ),
    click.option(
        "--prepare",
        "prepared",
        is_flag=True,
        help="Wait until every machine has checked the list and connected to its new servers; "
        "then switch all at once.",
    ),
    click.option(
        "--expect",
        "expected",
        metavar="N",
        type=click.IntRange(min=0),
        help="With --prepare: how many machines there must be at least; otherwise, one.",
    ),
    click.option(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0),
        help="With --prepare: how long to wait for them; otherwise, 60.",
    ),
    json_option,
)


def push_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of both commands."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command(short_help="Make a file the list of a fleet.")
@click.argument("file", metavar="FILE", type=click.Path(readable=False))
@url_argument
@push_options
def push(file: str, url: str, **options: Any) -> int:
    r"""Make the server file FILE the list of the fleet at URL, and show which keys move.

    FILE must have been pulled from the fleet at the version that it has now, so that nobody's
    change is overwritten: its first line says so, and gets the new version. To a fleet without
    a list, any file can be pushed. An invalid file is refused, and one that would move more of
    the keys than --max-moved; without that option, there is no limit.

    \b
    Examples:
      ketama pull etcd://etcd1,etcd2,etcd3/shop shop.servers
      ketama push --dry-run shop.servers etcd://etcd1,etcd2,etcd3/shop
      ketama push --max-moved 20% shop.servers etcd://etcd1,etcd2,etcd3/shop
      ketama push --prepare --expect 120 shop.servers etcd://etcd1,etcd2,etcd3/shop
    """
    from ketama import fleet

    with open_store(url) as store:
        return _push(file, url, lambda **given: fleet.push(file, store, **given), options)


@click.command(short_help="Make the earlier list of a fleet its list again.")
@url_argument
@push_options
def rollback(url: str, **options: Any) -> int:
    r"""Make the list that was replaced last the list of the fleet at URL again.

    It becomes a new version, so that all machines accept it. A second roll-back undoes the
    first.

    \b
    Examples:
      ketama rollback --dry-run etcd://etcd1,etcd2,etcd3/shop
      ketama rollback etcd://etcd1,etcd2,etcd3/shop
    """
    from ketama import fleet

    with open_store(url) as store:
        return _push(None, url, lambda **given: fleet.rollback(store, **given), options)


def _push(
    file: str | None, url: str, act: Callable[..., Pushed], options: dict[str, Any]
) -> int:
    """Carry out a push, print what it changes, and return the exit code."""
    from ketama.fleet import ConflictError, NotReadyError, RefusedError

    dry_run, max_moved = options["dry_run"], options["max_moved"]
    try:
        done = act(
            dry_run=dry_run,
            max_moved=1.0 if max_moved is None else max_moved,
            prepare=_preparation(options),
        )
    except (ConflictError, NotReadyError, RefusedError, ketama.ServersError) as error:
        return report(message_of(error), PROBLEMS_FOUND)
    if options["as_json"]:
        print_json(_as_json(file, url, done, dry_run))
    else:
        _print(file, url, done, dry_run)
    return SUCCESS


def _preparation(options: dict[str, Any]) -> Preparation | None:
    """Return what waits for the machines, if it is asked for."""
    expected, timeout = options["expected"], options["timeout"]
    if not options["prepared"]:
        if expected is not None or timeout is not None:
            raise click.UsageError("--expect and --timeout need --prepare")
        return None
    from ketama.fleet import Preparation
    from ketama.fleet.prepare import TIMEOUT

    return Preparation(
        expected=expected,
        timeout=TIMEOUT if timeout is None else timeout,
        on_progress=lambda ready, machines: report(
            f"{ready} of {counted(machines, 'machine')} ready", SUCCESS
        ),
    )


def _as_json(file: str | None, url: str, done: Pushed, dry_run: bool) -> dict[str, Any]:
    return {
        "file": file,
        "url": url,
        "version": done.version or None,
        "version_before": done.before or None,
        "dry_run": dry_run,
        "written": done.written,
        "file_written": done.file_written,
        "diff": None if done.diff is None else diff_as_json(done.diff),
        "warnings": [warning._asdict() for warning in done.warnings],
    }


def _print(file: str | None, url: str, done: Pushed, dry_run: bool) -> None:
    for warning in done.warnings:
        where = f"{file or url}:{warning.line}: " if warning.line else ""
        print_styled(
            (where, ""), ("warning", "yellow"), (f": {warning.reason} [{warning.code}]", "")
        )
    if done.diff is not None:
        print_diff(done.diff)
        print()
    else:
        print_styled(("nothing to compare with: the fleet had no list, or an invalid one", ""))
    if dry_run:
        print_styled(("dry run: nothing was written", ""))
    elif not done.written:
        print_styled((f"unchanged: the fleet has this list, version {done.version}", ""))
    else:
        print_styled((f"{url}: version ", ""), (str(done.version), "bold"))
    if done.written and file is not None and not done.file_written:
        print_styled((f"{file}: could not be given the new version: pull it again", "yellow"))
