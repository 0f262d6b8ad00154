"""`ketama check`: errors and likely mistakes in a server file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ketama.cli import source
from ketama.cli.app import PROBLEMS_FOUND, SUCCESS, dialect_options, file_argument, json_option
from ketama.cli.output import counted, print_json, print_styled

if TYPE_CHECKING:
    from ketama.admin.check import Findings

Codes = tuple[str, ...]

# In the order in which they are printed.
STYLES = {"error": "bold red", "warning": "bold yellow", "note": "dim"}


def known_codes(ctx: click.Context, param: click.Parameter, codes: Codes) -> Codes:
    """Reject what is not the code of a warning or a note."""
    from ketama.admin.check import COMPAT, NOTES, WARNINGS

    known = (*WARNINGS, *NOTES, *COMPAT)
    for code in codes:
        if code not in known:
            raise click.UsageError(f"unknown code {code!r}: must be one of {', '.join(known)}")
    return codes


@click.command(short_help="Find errors and likely mistakes in a file.")
@file_argument()
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings as well.")
@click.option(
    "--compat",
    is_flag=True,
    help="Also warn of what the 2007 libketama would misread or cannot hold.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="CODE",
    callback=known_codes,
    help="Leave out warnings or notes with this code, such as port.",
)
@click.option("--all", "show_all", is_flag=True, help="Print every line, not one of each kind.")
@dialect_options
@json_option
def check(
    file: str,
    strict: bool,
    compat: bool,
    ignore: Codes,
    show_all: bool,
    dialect: bytes,
    as_json: bool,
) -> int:
    r"""Find errors and likely mistakes in a server file.

    Errors make a file unusable; the exit code is then 1. Warnings are probably mistakes: a
    duplicate server, a server without points, an invalid port, characters that do not print,
    and what the file's dialect does not use: weights, or a host name where it hashes the IP
    address. With --strict, they also exit with 1. Notes never do: a share of the keys more than
    10 % off the server's weight is usual on a ring, and a port that only some programs hash is
    no mistake. --compat is for files that the 2007 libketama reads as well.

    Of each kind one line is printed, with the number of others.

    \b
    Examples:
      ketama check ketama.servers
      ketama check --strict ketama.servers && deploy
      sort ketama.servers | ketama check -
    """
    from ketama.admin.check import examine

    found = examine(partial(source.read_text, file), compat=compat, settings=dialect)
    found.ignore(ignore)
    code = (
        PROBLEMS_FOUND
        if found.count("error") or (strict and found.count("warning"))
        else SUCCESS
    )
    name = source.label(file)
    if as_json:
        print_json(
            {
                "file": name,
                "ok": code == SUCCESS,
                "errors": found.count("error"),
                "warnings": found.count("warning"),
                "notes": found.count("note"),
                "findings": [finding._asdict() for finding in found.in_order()],
            }
        )
        return code
    _print_findings(name, found, show_all)
    _print_summary(name, found, code)
    return code


def _print_findings(name: str, found: Findings, show_all: bool) -> None:
    """Print the findings, the most severe first; of each kind only the first, unless all."""
    severities = list(STYLES)
    left = dict(found.counts)
    for finding in sorted(found.in_order(), key=lambda row: severities.index(row.severity)):
        count = 1 if show_all else left.pop((finding.severity, finding.code), 0)
        if not count:
            continue
        where = name if finding.line is None else f"{name}:{finding.line}"
        more = f" (and {counted(count - 1, 'more line')} like this; list them with --all)"
        print_styled(
            (f"{where}: ", ""),
            (finding.severity, STYLES[finding.severity]),
            (f": {finding.reason} [{finding.code}]", ""),
            (more if count > 1 else "", "dim"),
        )


def _print_summary(name: str, found: Findings, code: int) -> None:
    if code != SUCCESS:
        result = ("failed", STYLES["error"])
    elif found.count("warning"):
        result = ("usable, but doubtful", STYLES["warning"])
    else:
        result = ("ok", "green")
    counts = [counted(n, noun) for noun in STYLES if (n := found.count(noun))]
    print_styled(
        (f"{name}: ", ""),
        result,
        (f": {', '.join((counted(found.servers, 'server'), *counts))}", ""),
    )
