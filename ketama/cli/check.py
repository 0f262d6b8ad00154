"""`ketama check`: what is wrong with a server file."""

from __future__ import annotations

import click

from ketama.cli import source
from ketama.cli.app import BAD_NEWS, GOOD, file_argument, json_option
from ketama.cli.output import counted, print_json, print_styled

Codes = tuple[str, ...]


def known(ctx: click.Context, param: click.Parameter, codes: Codes) -> Codes:
    """Refuse what is no code of a warning."""
    from ketama.admin.check import WARNINGS

    for code in codes:
        if code not in {*WARNINGS, "old"}:
            raise click.BadParameter(f"{code!r} is none of old, {', '.join(WARNINGS)}")
    return codes


STYLES = {"error": "bold red", "warning": "yellow"}


@click.command(short_help="Find all that is wrong or doubtful in a file.")
@file_argument()
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings, too.")
@click.option(
    "--ignore",
    multiple=True,
    metavar="CODE",
    callback=known,
    help="Leave out warnings of this code, such as share; old: all that begin with old-.",
)
@json_option
def check(file: str, strict: bool, ignore: tuple[str, ...], as_json: bool) -> int:
    r"""Find everything that is wrong with a server file, or doubtful, line by line.

    Errors are what no program could use; they exit with 1. Warnings: a server that gets no
    point, or a share of the keys more than 10 % off its weight; an address that is there
    twice, has a port that is none, or characters that do not print; and, with codes that
    begin with old-, what the libketama of 2007 would misread or can't hold.

    \b
    Examples:
      ketama check ketama.servers
      ketama check --strict --ignore share --ignore old ketama.servers && deploy
      sort ketama.servers | ketama check -
    """
    from ketama.admin.check import check_text

    findings = [
        finding
        for finding in check_text(source.read_text(file))
        if finding.severity == "error" or not _is_ignored(finding.code, ignore)
    ]
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    code = BAD_NEWS if errors or (strict and warnings) else GOOD
    name = source.label(file)
    if as_json:
        print_json(
            {
                "file": name,
                "good": code == GOOD,
                "errors": errors,
                "warnings": warnings,
                "findings": [finding._asdict() for finding in findings],
            }
        )
        return code
    for finding in findings:
        place = name if finding.line is None else f"{name}:{finding.line}"
        print_styled(
            (f"{place}: ", ""),
            (finding.severity, STYLES[finding.severity]),
            (f": {finding.reason} [{finding.code}]", ""),
        )
    counts = f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
    print_styled(
        (f"{name}: ", ""),
        ("good", "green") if code == GOOD else ("bad", "bold red"),
        (f", {counts}", ""),
    )
    return code


def _is_ignored(code: str, ignored: tuple[str, ...]) -> bool:
    return code in ignored or ("old" in ignored and code.startswith("old-"))
