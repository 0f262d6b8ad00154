"""`ketama buckets`: make a bucket map, and plan how to fill or empty a server in steps."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

import ketama
from ketama.admin import buckets as maps
from ketama.cli import source
from ketama.cli.app import (
    PROBLEMS_FOUND,
    SUCCESS,
    dialect_options,
    file_argument,
    json_option,
    report,
    share_value,
    verbatim,
)
from ketama.cli.documents import diff_as_json, print_diff
from ketama.cli.edit import complete_server, utf8, weight_value
from ketama.cli.output import counted, percent, print_json, print_styled, printable
from ketama.continuum import continuum_of_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ketama.continuum import Continuum


@click.group(short_help="Make bucket maps, which are exactly fair.")
def buckets() -> None:
    r"""Make a bucket map, and plan how to fill or empty a server in steps.

    A bucket map is a server file that lists which buckets, equal parts of all keys, each server
    owns. Every server has its fair share, and a change moves no key that it need not move. All
    commands take a map as a server file, and 'ketama add' and the other edits keep it fair. All
    three commands below accept --json.

    \b
    Examples:
      ketama buckets new /etc/ketama.servers -o map.servers
      ketama buckets drain map.servers 10.0.1.3:11211 --step 2% -o drain/
    """


def _output(what: str, metavar: str) -> Callable[[Any], Any]:
    return click.option(
        "-o", "--output", required=True, metavar=metavar, type=click.Path(), help=what
    )


@click.command(short_help="Make a bucket map of the servers of a file.")
@file_argument("servers")
@_output("The file to write; it must not exist.", "MAP")
@click.option(
    "--buckets", "count", metavar="N", type=click.IntRange(1, maps.BUCKETS_MAX),
    help=f"How many, a power of two. Without this and --within: {maps.BUCKETS}.",
)  # fmt: skip
@click.option(
    "--within", metavar="PERCENT", callback=share_value,
    help="As many as keep every server within this of its fair share, such as 1%.",
)  # fmt: skip
@click.option(
    "--from-ring", is_flag=True,
    help="Begin with the ring of SERVERS, so that few keys move.",
)  # fmt: skip
@dialect_options
@json_option
def new(
    servers: str,
    output: str,
    count: int | None,
    within: float | None,
    from_ring: bool,
    dialect: bytes,
    as_json: bool,
) -> int:
    r"""Make a bucket map of the servers of a file, and show which keys move.

    With --from-ring, each bucket goes to the server that owns most of it on the ring, and then
    as many move as fair shares need; keys are hashed as on the ring. To switch a fleet that
    uses the ring, replace its file with 'ketama apply'.

    If SERVERS is a map, MAP is one with another number of buckets, --buckets or --within. With
    more of them, nearly all keys stay with their servers; with fewer, many move.

    \b
    Examples:
      ketama buckets new /etc/ketama.servers -o map.servers
      ketama buckets new /etc/ketama.servers -o map.servers --within 1% --from-ring
      ketama apply --dry-run map.servers /etc/ketama.servers
      ketama buckets new map.servers -o finer.servers --buckets 262144
    """
    if count is not None and within is not None:
        raise click.UsageError("write --buckets or --within, not both")
    if within == 0:
        raise click.UsageError("--within must be above 0%")
    text = source.read_text(servers)
    name = source.label(servers)
    try:
        made = maps.map_of_text(
            text, name, count, within, from_ring=from_ring, settings=dialect
        )
    except ketama.ServersError as error:
        return report(str(error), PROBLEMS_FOUND)
    _write(output, made)
    after = continuum_of_text(made, output)
    found = continuum_of_text(text, name, dialect).diff(after)
    if as_json:
        print_json({"file": name, **_described(output, after), "diff": diff_as_json(found)})
        return SUCCESS
    _print_described(output, after)
    print_diff(found)
    return SUCCESS


@click.command(short_help="Plan how to empty a server in steps.")
@file_argument("map_")
@click.argument("server", shell_complete=complete_server)
@click.option(
    "--step", metavar="PERCENT", required=True, callback=share_value,
    help="How many of all keys may move in a step, such as 2%.",
)  # fmt: skip
@_output("The folder for the files; it must be new or empty.", "FOLDER")
@json_option
def drain(map_: str, server: str, step: float, output: str, as_json: bool) -> int:
    r"""Plan how to empty a server in steps, each a map of its own.

    The files 01.servers, 02.servers ... move its buckets to the others bit by bit, so that
    their caches are warmed bit by bit; the last one is without the server, as after 'ketama
    remove'. MAP stays as it is: apply one file after the other, when hit rates have recovered.

    Each file is a whole map, so it undoes other edits that were made since. --max-moved refuses
    that if it moves more than a step does. To go back, apply the file before it.

    \b
    Examples:
      ketama buckets drain map.servers 10.0.1.3:11211 --step 2% -o drain/
      ketama apply --max-moved 2% drain/01.servers map.servers
    """
    text = source.read_text(map_)
    return _plan(
        source.label(map_), text, output, as_json, step,
        lambda name: maps.drain(text, name, utf8(server), step),
    )  # fmt: skip


@click.command(short_help="Plan how to fill a new server in steps.")
@file_argument("map_")
@click.argument("server")
@click.argument("weight")
@click.option("--name", metavar="NAME", help="The server's name.")
@click.option(
    "--step", metavar="PERCENT", required=True, callback=share_value,
    help="How many of all keys may move in a step, such as 2%.",
)  # fmt: skip
@_output("The folder for the files; it must be new or empty.", "FOLDER")
@json_option
def fill(
    map_: str,
    server: str,
    weight: str,
    name: str | None,
    step: float,
    output: str,
    as_json: bool,
) -> int:
    r"""Plan how to fill a new server in steps, each a map of its own.

    The files 01.servers, 02.servers ... give it buckets bit by bit, of all others in
    proportion, so that its cache is warmed bit by bit; with the last one it has its fair share,
    as after 'ketama add'. MAP stays as it is. Apply them like those of 'ketama buckets drain'.

    \b
    Examples:
      ketama buckets fill map.servers 10.0.1.9:11211 600 --step 2% -o fill/
      ketama apply --max-moved 2% fill/01.servers map.servers
    """
    text = source.read_text(map_)
    size, named = weight_value(weight), None if name is None else utf8(name)
    return _plan(
        source.label(map_), text, output, as_json, step,
        lambda file: maps.fill(text, file, utf8(server), size, step, named),
    )  # fmt: skip


for command in (new, drain, fill):
    buckets.add_command(verbatim(command))


def _plan(
    name: str,
    text: bytes,
    folder: str,
    as_json: bool,
    step: float,
    plan: Callable[[str], list[bytes]],
) -> int:
    """Write the files of a plan, and show what each of them moves."""
    if step == 0:
        raise click.UsageError("--step must be above 0%")
    try:
        texts = plan(name)
    except ketama.ServersError as error:
        if error.filename is None:  # an argument is invalid, not the map
            raise click.UsageError(error.reason) from None
        return report(str(error), PROBLEMS_FOUND)
    files = _write_all(folder, texts)
    rows: list[tuple[str, float]] = []
    before = continuum_of_text(text, name)
    for file, made in zip(files, texts, strict=True):
        after = continuum_of_text(made, file)
        rows.append((file, before.diff(after).moved))
        before = after
    if as_json:
        steps = [{"file": file, "moved": moved} for file, moved in rows]
        print_json({"file": name, **_described(folder, before), "steps": steps})
        return SUCCESS
    for file, moved in rows:
        print_styled((f"{printable(file)}  moves ", ""), (percent(moved), "bold"))
    applied_to = "MAP" if name == source.STDIN_NAME else printable(name)
    limit = f"--max-moved {f'{100 * step:.14f}'.rstrip('0').rstrip('.')}%"
    print(
        "\napply each in turn, and edit the map only after the last one:\n"
        f"ketama apply {limit} {printable(rows[0][0])} {applied_to}"
    )
    return SUCCESS


def _worst(continuum: Continuum) -> float:
    """Return the largest share of a server over its fair one."""
    total = sum(server.weight for server in continuum.servers)
    return max(server.share * total / server.weight for server in continuum.servers)


def _described(output: str, made: Continuum) -> dict[str, Any]:
    return {
        "output": output,
        "buckets": sum(server.points for server in made.servers),
        "worst": _worst(made),
    }


def _print_described(output: str, made: Continuum) -> None:
    found = _described(output, made)
    servers = counted(len(made.servers), "server")
    above = percent(max(0.0, found["worst"] - 1))
    print_styled(
        (f"{printable(output)}: ", ""),
        (f"{found['buckets']:,} buckets", "bold"),
        (f" for {servers}, at most {above} above the fair share", ""),
    )


def _write(path: str, text: bytes) -> None:
    """Write a new file, or none; one that exists is not replaced."""
    try:
        file = Path(path).open("xb")  # noqa: SIM115 - closed below, as it may be removed
    except FileExistsError:
        there = printable(path)
        raise click.UsageError(
            f"{there} exists: write another file, and use 'ketama apply' to replace it"
        ) from None
    with ExitStack() as on_failure:
        on_failure.callback(os.unlink, path)
        try:
            with file:
                file.write(text)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        on_failure.pop_all()


def _write_all(folder: str, texts: list[bytes]) -> list[str]:
    """Write the files of a plan to a new or empty folder; all of them, or none."""
    try:
        Path(folder).mkdir(exist_ok=True)
    except FileExistsError:
        raise click.UsageError(f"{printable(folder)} is not a folder") from None
    if os.listdir(folder):
        raise click.UsageError(f"{printable(folder)} is not empty: write to a new folder")
    width = max(2, len(str(len(texts))))
    files = [str(Path(folder) / f"{i:0{width}}.servers") for i in range(1, len(texts) + 1)]
    with ExitStack() as on_failure:
        for file, text in zip(files, texts, strict=True):
            _write(file, text)
            on_failure.callback(os.unlink, file)
        on_failure.pop_all()
    return files
