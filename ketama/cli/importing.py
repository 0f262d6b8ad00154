"""`ketama import`: a server file of another program's configuration."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from ketama.admin.imports import FORMATS, import_servers
from ketama.cli import source
from ketama.cli.app import SUCCESS, dialect_options, json_option, report
from ketama.cli.output import print_json, printable

if TYPE_CHECKING:
    from typing import Any

    from ketama.admin.imports import Imported


@click.command("import", short_help="Turn another program's server list into a server file.")
@click.argument("file", metavar="SOURCE", type=click.Path(allow_dash=True, readable=False))
@click.option(
    "--format",
    "format_",
    metavar="FORMAT",
    type=click.Choice(list(FORMATS)),
    help="The format of SOURCE, if it is not recognized: " + ", ".join(FORMATS) + ".",
)
@click.option(
    "--pool",
    metavar="NAME",
    help="Which of several: a twemproxy pool, an nginx upstream, a Django cache.",
)
@partial(dialect_options, instead_of=", in place of what SOURCE says")
@json_option
def import_(
    file: str, format_: str | None, pool: str | None, dialect: bytes, as_json: bool
) -> None:
    r"""Print a server file with the servers of another program's configuration.

    Its first line states the profile that gives that program's answers. What cannot be carried
    over, and what makes keys move, is reported on standard error. No file is written, no code
    is run, and no include is followed: put the output into place with 'ketama apply'.

    \b
    twemproxy      nutcracker.yml
    libmemcached   --SERVER=host:port/?weight --DISTRIBUTION=consistent ...
    nginx          an upstream block, or a file that has some
    literal        a list in Python or JSON, for pymemcache, pylibmc, PHP; Django's CACHES
    list           host:port or host:port:weight, by comma, blank or line: dalli, spymemcached

    The last two do not state a profile: give the program's with --profile.

    \b
    Examples:
      ketama import nutcracker.yml --pool sessions
      ketama import nginx.conf | ketama apply --max-moved 20% - /etc/ketama.servers
      echo cache1:11211:2,cache2:11211 | ketama import --profile dalli -
    """
    made = import_servers(
        source.read_text(file), source.label(file), format=format_, pool=pool, settings=dialect
    )
    if as_json:
        print_json(_as_json(source.label(file), made))
        return
    for note in made.notes:
        line = f":{note.line}" if note.line else ""
        report(f"{source.label(file)}{line}: {note.reason}", SUCCESS)
    _print_file(made)


def _print_file(made: Imported) -> None:
    text = made.text
    if sys.stdout.isatty():
        lines = text.decode().splitlines(keepends=True)
        text = "".join(printable(line[:-1]) + line[-1] for line in lines).encode()
    sys.stdout.buffer.write(text)


def _as_json(file: str, made: Imported) -> dict[str, Any]:
    return {
        "file": file,
        "format": made.format,
        "pool": made.pool,
        "line": f"#ketama {made.settings}" if made.settings else None,
        "servers": [
            {"address": row.address, "weight": row.weight, "name": row.name}
            for row in made.servers
        ],
        "text": made.text.decode(),
        "notes": [note._asdict() for note in made.notes],
    }
