"""`ketama check`: errors and likely mistakes in a server file."""

from __future__ import annotations

import click

from ketama.cli import source
from ketama.cli.app import PROBLEMS_FOUND, SUCCESS, file_argument, json_option
from ketama.cli.output import counted, print_json, print_styled

Codes = tuple[str, ...]

COMPAT = "compat"  # stands for all codes that begin with it
STYLES = {"error": "bold red", "warning": "yellow"}


def known_codes(ctx: click.Context, param: click.Parameter, codes: Codes) -> Codes:
    """Reject what is not the code of a warning."""
    from ketama.admin.check import WARNINGS

    for code in codes:
        if code not in {*WARNINGS, COMPAT}:
            known = ", ".join((COMPAT, *WARNINGS))
            raise click.BadParameter(f"unknown code {code!r}: must be one of {known}")
    return codes


@click.command(short_help="Find errors and likely mistakes in a file.")
@file_argument()
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings as well.")
@click.option(
    "--ignore",
    multiple=True,
    metavar="CODE",
    callback=known_codes,
    help="Ignore warnings with this code, such as share; compat: all that begin with compat-.",
)
@json_option
def check(file: str, strict: bool, ignore: tuple[str, ...], as_json: bool) -> int:
    r"""Find errors and likely mistakes in a server file.

    Errors make a file unusable; the exit code is then 1. Warnings: a server without points; a
    share of the keys more than 10 % off the server's weight; a duplicate server; an invalid
    port; characters that do not print; and, with codes that begin with compat-, what the
    libketama of 2007 would misread or cannot hold.

    \b
    Examples:
      ketama check ketama.servers
      ketama check --strict --ignore share --ignore compat ketama.servers && deploy
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
    code = PROBLEMS_FOUND if errors or (strict and warnings) else SUCCESS
    name = source.label(file)
    if as_json:
        print_json(
            {
                "file": name,
                "ok": code == SUCCESS,
                "errors": errors,
                "warnings": warnings,
                "findings": [finding._asdict() for finding in findings],
            }
        )
        return code
    for finding in findings:
        where = name if finding.line is None else f"{name}:{finding.line}"
        print_styled(
            (f"{where}: ", ""),
            (finding.severity, STYLES[finding.severity]),
            (f": {finding.reason} [{finding.code}]", ""),
        )
    print_styled(
        (f"{name}: ", ""),
        ("ok", "green") if code == SUCCESS else ("failed", "bold red"),
        (f", {counted(errors, 'error')}, {counted(warnings, 'warning')}", ""),
    )
    return code


def _is_ignored(code: str, ignored: tuple[str, ...]) -> bool:
    return code in ignored or (COMPAT in ignored and code.startswith(f"{COMPAT}-"))
