"""`ketama watch`: report changes of a server file, or of a fleet's list, as they happen."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli import source
from ketama.cli.app import dialect_options, file_argument, json_option, message_of, report
from ketama.cli.documents import diff_as_json
from ketama.cli.output import counted, local_time, percent, print_json, print_styled, utc_time
from ketama.cli.store import is_url, open_store
from ketama.continuum import continuum_of_text, continuum_with

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ketama.admin.diff import Diff
    from ketama.fleet import Store


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

    A line has the time, the published generation (of a fleet's list, its version), the number
    of servers, what moved, and which servers were added (+), removed (-), got another weight or
    name (~), or kept their name at another address (old->new). If the file is invalid or
    missing, that is reported, and watching continues.

    \b
    Examples:
      ketama watch /etc/ketama.servers
      ketama watch /etc/ketama.servers --exec 'mail -s "cache servers changed" ops'
      ketama watch etcd://etcd1,etcd2,etcd3/shop
    """
    if file == source.STDIN:
        raise click.UsageError("cannot watch standard input")
    with _watched(file, dialect) as watched:
        before = watched.now
        report(
            f"{file}: {counted(len(before.servers), 'server')}, {watched.counts} "
            f"{watched.number}; waiting for changes",
            0,
        )
        reported: str | int | None = None
        while True:
            try:
                changed = watched.poll()
                reported = None
            except ketama.KetamaError as error:
                changed, was = False, reported
                # In an outage, members of etcd fail with different messages.
                reported = error.errno if isinstance(error, OSError) else str(error)
                if reported != was:
                    report(f"{message_of(error)}; keeping the last valid version", 0)
            if changed:
                _report_change(file, watched, before.diff(watched.now), command, as_json)
                before = watched.now
            time.sleep(watched.interval)


class _File:
    """A server file that is watched.

    now: its continuum, which does not roll. counts: the name of its `number`.
    interval: seconds between two polls.
    """

    counts, interval = "generation", 0.2

    def __init__(self, file: str, dialect: bytes) -> None:
        self._file, self._dialect = file, dialect
        self._continuum = continuum_with(os.fsencode(file), dialect, shared=True)
        self.now = copy.copy(self._continuum)

    @property
    def number(self) -> int:
        """The published generation; this process's own where nothing is published."""
        from ketama.admin.images import image_of

        image = image_of(self._file, self._dialect)
        return self._continuum.generation if image is None else image.generation

    def poll(self) -> bool:
        """Return whether `now` is another continuum than before."""
        changed = self._continuum.roll()
        if changed:
            self.now = copy.copy(self._continuum)
        return changed


class _Fleet:
    """A fleet's list that is watched; see `_File`."""

    counts, interval = "version", 1.0

    def __init__(self, store: Store, dialect: bytes) -> None:
        self._store, self._dialect = store, dialect
        self._text = b""
        self._take()

    def _take(self) -> bool:
        from ketama.fleet.pushing import accept_list

        found = self._store.read()
        text, stamp = accept_list(self._store, found)
        changed = text != self._text
        if changed:
            self.now = continuum_of_text(text, self._store.url.text, self._dialect)
            self._text, self.number = text, stamp.version
        self._seen = found
        return changed

    def poll(self) -> bool:
        """Return whether `now` is another continuum than before."""
        return self._store.has_changed(self._seen) and self._take()


@contextmanager
def _watched(file: str, dialect: bytes) -> Iterator[_File | _Fleet]:
    if not is_url(file):
        yield _File(file, dialect)
        return
    with open_store(file) as store:
        yield _Fleet(store, dialect)


def _report_change(
    file: str, watched: _File | _Fleet, found: Diff, command: str | None, as_json: bool
) -> None:
    now = time.time()
    value: dict[str, Any] = {
        "file": file,
        "time": utc_time(now),
        "generation": watched.number,
        "servers": len(watched.now.servers),
        "diff": diff_as_json(found),
    }
    if as_json:
        print_json(value, indent=None)
    else:
        print_styled(
            (local_time(now), ""),
            (f"   {watched.counts} {value['generation']}", ""),
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
