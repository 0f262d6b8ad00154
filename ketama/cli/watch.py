"""`ketama watch`: report changes of a server file as they happen."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli import source
from ketama.cli.app import dialect_options, file_argument, json_option, message_of, report
from ketama.cli.documents import diff_as_json
from ketama.cli.output import counted, local_time, percent, print_json, print_styled, utc_time
from ketama.cli.store import is_url
from ketama.continuum import continuum_with

if TYPE_CHECKING:
    from typing import Any

    from ketama.admin.diff import Diff

INTERVAL = 0.2  # seconds


@click.command(short_help="Report changes of a file as they happen.")
@file_argument()
@click.option(
    "--exec",
    "command",
    metavar="COMMAND",
    help="Run this shell command for each change that moves keys or a server's address, with "
    "KETAMA_FILE, KETAMA_GENERATION and KETAMA_MOVED in its environment, and the change as "
    "JSON on standard input.",
)
@dialect_options
@json_option
def watch(file: str, command: str | None, dialect: bytes, as_json: bool) -> None:
    r"""Print a line for each change of a server file, until interrupted.

    A line has the time, the published generation, the number of servers, what moved, and which
    servers were added (+), removed (-), got another weight or name (~), or kept their name at
    another address (old->new). If the file is invalid or missing, that is reported, and
    watching continues.

    \b
    Examples:
      ketama watch /etc/ketama.servers
      ketama watch /etc/ketama.servers --exec 'mail -s "cache servers changed" ops'
    """
    if file == source.STDIN:
        raise click.UsageError("cannot watch standard input")
    if is_url(file):
        raise click.UsageError("cannot watch a URL: see 'ketama fleet --watch'")
    continuum = continuum_with(os.fsencode(file), dialect, shared=True)
    before = copy.copy(continuum)  # which does not roll
    report(
        f"{file}: {counted(len(continuum.servers), 'server')}, generation "
        f"{generation(file, continuum, dialect)}; waiting for changes",
        0,
    )
    reported = None
    while True:
        try:
            changed = continuum.roll()
            reported = None
        except ketama.KetamaError as error:
            changed = False
            if reported != message_of(error):
                reported = message_of(error)
                report(f"{reported}; keeping the last valid version", 0)
        if changed:
            now = copy.copy(continuum)
            _report_change(file, continuum, dialect, before.diff(now), command, as_json)
            before = now
        time.sleep(INTERVAL)


def generation(file: str, continuum: ketama.Continuum, dialect: bytes) -> int:
    """Return the published generation; this process's own where nothing is published."""
    from ketama.admin.images import image_of

    image = image_of(file, dialect)
    return continuum.generation if image is None else image.generation


def _report_change(
    file: str,
    continuum: ketama.Continuum,
    dialect: bytes,
    found: Diff,
    command: str | None,
    as_json: bool,
) -> None:
    now = time.time()
    value: dict[str, Any] = {
        "file": file,
        "time": utc_time(now),
        "generation": generation(file, continuum, dialect),
        "servers": len(continuum.servers),
        "diff": diff_as_json(found),
    }
    if as_json:
        print_json(value, indent=None)
    else:
        print_styled(
            (local_time(now), ""),
            (f"   generation {value['generation']}", ""),
            (f"   {counted(value['servers'], 'server')}", ""),
            (f"   moved {percent(found.moved)}", "bold"),
            (f", collateral {percent(found.collateral)}", ""),
            *((f"   +{address}", "green") for address in found.added),
            *((f"   -{address}", "red") for address in found.removed),
            *((f"   ~{address}", "yellow") for address in found.changed),
            *((f"   {start}->{end}", "yellow") for start, end in found.readdressed),
        )
        sys.stdout.flush()
    if command is not None and (found.pairs or found.readdressed):
        _execute(command, value)


def _execute(command: str, value: dict[str, Any]) -> None:
    environment = {
        **os.environ,
        "KETAMA_FILE": value["file"],
        "KETAMA_GENERATION": str(value["generation"]),
        "KETAMA_MOVED": f"{value['diff']['moved']:.6f}",
    }
    # A file, not a pipe, because the command may not read it.
    with tempfile.TemporaryFile("w+") as stdin:
        json.dump(value, stdin)
        stdin.write("\n")
        stdin.seek(0)
        code = subprocess.run(command, shell=True, env=environment, stdin=stdin).returncode  # noqa: S602
    if code != 0:
        report(f"command exited with status {code}: {command}", 0)
