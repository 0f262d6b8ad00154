"""`ketama fleet`: which machine has which version of a fleet's list."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli.app import PROBLEMS_FOUND, SUCCESS, json_option, message_of, report
from ketama.cli.fleet_metrics import metrics_text, ok_text
from ketama.cli.output import (
    counted,
    duration,
    print_json,
    print_styled,
    print_table,
    utc_time,
)
from ketama.cli.store import open_store, url_argument

if TYPE_CHECKING:
    from typing import Any

    from ketama.fleet import Client, Store
    from ketama.fleet.status import FleetStatus

INTERVAL = 1.0  # seconds
LISTED_MAX = 20  # machines that are not ok
STYLES = {"ok": "green", "ready": "cyan", "behind": "yellow"}
WRONG = "red"


@click.command(short_help="Show which machines of a fleet have its list.")
@url_argument
@click.option(
    "--expect",
    "expected",
    metavar="N",
    type=click.IntRange(min=0),
    help="How many machines there must be at least; otherwise, one.",
)
@click.option("--watch", "watched", is_flag=True, help="Show each change, until interrupted.")
@click.option("--metrics", is_flag=True, help="Print metrics for Prometheus.")
@click.option("--all", "show_all", is_flag=True, help="List every machine.")
@json_option
def fleet(
    url: str, expected: int | None, watched: bool, metrics: bool, show_all: bool, as_json: bool
) -> int:
    r"""Show the machines of the fleet at URL, and exit with 1 unless all have its list.

    They are counted by version and state.

    \b
      ok        has the list, byte for byte
      behind    has an older list: wait; if it stays so, see the machine's log
      ahead     has a newer list, because etcd has lost it: push that list
      edited    its file was changed by hand: undo that, or push; a push replaces the file
      conflict  has another list of the same version: push its file, or remove that
      refused   could not use the list, for the reason that is shown
      ready     could switch to the list that is prepared

    Machines that are not ok are listed, with their reasons.

    \b
    Examples:
      ketama fleet etcd://etcd1,etcd2,etcd3/shop
      ketama push shop.servers $URL && ketama fleet --expect 120 --watch $URL
      ketama fleet --metrics $URL | sponge /var/lib/prometheus/node-exporter/ketama.prom
    """
    if metrics and (watched or as_json):
        raise click.UsageError("--metrics goes with neither --watch nor --json")
    from ketama.fleet.status import status

    with open_store(url) as store:
        if watched:
            return _watch(store, expected, show_all, as_json)
        try:
            found = status(store)
        except ketama.KetamaError:
            if metrics:
                print(ok_text(store.domain, False))
            raise
    if metrics:
        print(metrics_text(found, expected), end="")
    elif as_json:
        print_json(_as_json(url, found, expected))
    else:
        _print(found, expected, show_all)
    return SUCCESS if found.is_ok(expected) else PROBLEMS_FOUND


def _watch(store: Store, expected: int | None, show_all: bool, as_json: bool) -> int:
    """Print what has changed, until interrupted; on a terminal, in one place."""
    import sys

    from ketama.errors import KetamaOSError
    from ketama.fleet.status import status

    before: FleetStatus | None = None
    found: FleetStatus | None
    failed: int | None = None
    while True:
        found = before
        try:
            found = status(store)
            failed = None
        except KetamaOSError as error:
            if failed != error.errno:  # in an outage, members fail with different messages
                failed = error.errno
                report(message_of(error), SUCCESS)
        if found is not None and found != before:
            before = found
            if as_json:
                print_json(_as_json(store.url.text, found, expected), indent=None)
            else:
                if sys.stdout.isatty():
                    click.clear()
                _print(found, expected, show_all)
            sys.stdout.flush()
        time.sleep(INTERVAL)


def _print(found: FleetStatus, expected: int | None, show_all: bool) -> None:
    from ketama.fleet.verdict import STATES

    groups = sorted(found.groups.items(), key=lambda row: (-row[0][0], STATES.index(row[0][1])))
    if groups:
        print_table(
            ("version", "state", ">machines"),
            [(_version(version), state, f"{n:,}") for (version, state), n in groups],
            [STYLES.get(state, WRONG) for (_, state), _ in groups],
        )
        print()
    listed = [machine for machine in found.machines if show_all or machine.state != "ok"]
    listed.sort(key=lambda machine: (STATES.index(machine.state), machine.machine))
    shown = listed if show_all else listed[:LISTED_MAX]
    if shown:
        print_table(
            ("~machine", "version", "state", ">for", "~reason"),
            [_row(machine) for machine in shown],
            [STYLES.get(machine.state, WRONG) for machine in shown],
        )
        if len(shown) < len(listed):
            print(f"and {counted(len(listed) - len(shown), 'more machine')}: see --all")
        print()
    for line in _summary(found, expected):
        print_styled((line, ""))


def _version(version: int) -> str:
    return str(version) if version else "none"


def _row(machine: Client) -> tuple[str, ...]:
    since = duration(time.time() - machine.since) if machine.since else ""
    return machine.machine, _version(machine.version), machine.state, since, machine.reason


def _summary(found: FleetStatus, expected: int | None) -> list[str]:
    """Return what an operator has to know in any case."""
    from ketama.fleet.verdict import AHEAD, STATES

    states = [machine.state for machine in found.machines]
    counts = [f"{states.count(state):,} {state}" for state in STATES if state in states]
    machines = counted(len(states), "machine")
    lines = [f"{found.domain}: version {_version(found.version)}, {machines}"]
    if counts:
        lines[0] += f": {', '.join(counts)}"
    if found.prepared:
        lines.append(f"version {found.prepared} is prepared")
    if found.problem:
        remedy = "" if found.lost else ": push one"  # the line below says which
        lines.append(f"problem: {found.problem}{remedy}")
    if found.lost:
        ahead = (machine for machine in found.machines if machine.state == AHEAD)
        newest = max(ahead, key=lambda machine: machine.version)
        lines.append(
            f"problem: etcd has lost changes up to version {newest.version}, which machine "
            f"{newest.machine} has: push that list again"
        )
    least = 1 if expected is None else expected
    if len(states) < least:
        lines.append(f"problem: {counted(least - len(states), 'machine')} missing")
    return lines


def _as_json(url: str, found: FleetStatus, expected: int | None) -> dict[str, Any]:
    return {
        "url": url,
        "domain": found.domain,
        "version": found.version or None,
        "prepared": found.prepared or None,
        "ok": found.is_ok(expected),
        "problem": found.problem or None,
        "expected": expected,
        "machines": [
            {
                "machine": machine.machine,
                "version": machine.version or None,
                "state": machine.state,
                "reason": machine.reason or None,
                "since": utc_time(machine.since) if machine.since else None,
            }
            for machine in found.machines
        ],
    }
