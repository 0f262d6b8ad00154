"""`ketama live`: which servers are down, as this user's processes know."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import click

from ketama.cli import source
from ketama.cli.app import dialect_options, file_argument, json_option
from ketama.cli.output import counted, duration, print_json, print_table, printable

if TYPE_CHECKING:
    from ketama.health import ServerState

STYLES = {"up": "", "suspect": "yellow", "down": "red"}


@click.command(short_help="List the servers that processes of this user found to be down.")
@file_argument(required=False)
@dialect_options
@json_option
def live(file: str | None, dialect: bytes, as_json: bool) -> None:
    r"""List the servers that processes of this user found to be down, and when they are probed.

    With FILE, all of its servers; else those that were reported recently, whatever their file.
    Nothing is connected to: only what the processes reported is shown, and intervals are those
    of the default options.

    \b
    up       nobody reported it, or it came back
    suspect  reported, but not often enough to be down
    down     its keys go to other servers until enough probes are good

    If more than half of a file's servers are down, programs ask all of them nevertheless.

    \b
    Examples:
      ketama live
      ketama live ketama.servers
      ketama live --json ketama.servers | jq -r '.servers[] | select(.state == "down").address'
      sudo -u www-data ketama live
    """
    from ketama.health import Liveness

    if file is None and dialect:
        raise click.UsageError("--profile and --option need a FILE")
    health = Liveness(create=False)
    addresses = None
    if file is not None:
        servers = source.open_continuum(file, dialect).servers
        addresses = dict.fromkeys(server.address for server in servers)
    states = health.servers(addresses)
    if as_json:
        print_json(
            {
                "file": None if file is None else source.label(file),
                "shared": health.shared,
                "servers": [_as_json(state) for state in states],
            }
        )
        return
    if states:
        print_table(
            ("~server", "state", ">failures", ">down for", ">probe in", ">interval"),
            [_row(state) for state in states],
            [STYLES[state.state] for state in states],
        )
        print()
    down = sum(state.state == "down" for state in states)
    if file is not None:
        print(f"{printable(source.label(file))}: ", end="")
    recently = " reported recently" if file is None else ""
    print(f"{counted(len(states), 'server')}{recently}, {down} down")
    if not health.shared:
        print("no process of this user has reported any server yet")


def _row(state: ServerState) -> tuple[str, ...]:
    is_down = state.state == "down"
    return (
        state.address or "?",
        state.state,
        str(state.failures) if state.failures else "",
        (duration(state.since) if state.since else "?") if is_down else "",
        (duration(ceil(state.due)) if state.due else "now") if is_down else "",
        duration(state.interval) if is_down else "",
    )


def _as_json(state: ServerState) -> dict[str, Any]:
    is_down = state.state == "down"
    return {
        "address": state.address or None,
        "state": state.state,
        "failures": state.failures,
        "good_probes": state.good_probes,
        "down_for": state.since if is_down and state.since else None,
        "probe_in": state.due if is_down else None,
        "interval": state.interval if is_down else None,
    }
