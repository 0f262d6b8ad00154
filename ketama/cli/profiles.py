"""`ketama profiles`: the dialects of ketama, and what to write for each of them."""

from __future__ import annotations

import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli.app import complete_profile, json_option
from ketama.cli.output import GAP, print_json, print_styled, print_table, printable
from ketama.settings import settings_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ketama.admin.profiles import Traits

COLUMN_MIN = 24  # columns of the terminal that a wrapped text keeps
BUCKETS = 65536  # of a map, in an example
LABEL = 13  # columns of a heading on the left

NAMES = {
    True: "if a server has one, it is hashed in place of the address",
    False: "not accepted: host and port are hashed",
}
WEIGHTS = {
    "ratio": "a server's share of all weights counts",
    "absolute": "each unit of weight has its points, so write the program's own weights",
    "ignored": "not used: all servers are alike",
    "buckets": "in proportion, as far as the buckets that the file lists follow them",
}


@click.command(short_help="List the dialects of ketama, and the programs that speak them.")
@click.argument("profile", metavar="[PROFILE]", required=False, shell_complete=complete_profile)
@json_option
def profiles(profile: str | None, as_json: bool) -> None:
    r"""List the dialects of ketama: each profile, the programs that speak it, their setting.

    With PROFILE, show one of them: what to write in the program's configuration, which text is
    hashed for a server, whether weights count, the options with their defaults, and the line
    that states the profile in a server file.

    Programs that share servers need one profile in all of them: the profile of a program that
    cannot be changed.

    \b
    Examples:
      ketama profiles
      ketama profiles | grep -i php
      ketama profiles twemproxy
    """
    known = ketama.profiles()
    shown = known if profile is None else [find_profile(known, profile)]
    if as_json:
        print_json({"profiles": [_as_json(row) for row in shown]})
    elif profile is None:
        _print_list(known)
    else:
        _print_one(shown[0])


def find_profile(known: Sequence[ketama.Profile], name: str) -> ketama.Profile:
    """Return the profile of that name; of a wrong one, the usage error names similar ones."""
    found = next((row for row in known if row.name == name), None)
    if found is not None:
        return found
    names = [row.name for row in known]
    reason = f"invalid profile {name!r:.80}: "
    if closest := _closest(known, name):
        *others, last = closest
        either = f"{', '.join(others)} or {last}" if others else last
        raise click.BadParameter(reason + f"did you mean {either}?")
    raise click.BadParameter(reason + f"must be one of {', '.join(names)}")


def _closest(known: Sequence[ketama.Profile], name: str) -> list[str]:
    """Return the profiles of a program of that name, or those with a similar name."""
    from difflib import get_close_matches

    word = name.casefold()
    speak = [row.name for row in known if word and word in row.programs.casefold()]
    return speak or get_close_matches(word, [row.name for row in known])


def _traits(profile: ketama.Profile) -> Traits:
    from ketama.admin.profiles import traits

    return traits(profile.name)


def _line(profile: ketama.Profile) -> str:
    """Return the line that states a profile in a server file."""
    buckets = BUCKETS if profile.is_map else None
    return f"#ketama {settings_text({'profile': profile.name, 'buckets': buckets}).decode()}"


def _as_json(profile: ketama.Profile) -> dict[str, Any]:
    traits = _traits(profile)
    return {
        "name": profile.name,
        "programs": profile.programs,
        "setting": profile.setting,
        "note": profile.note,
        "line": _line(profile),
        "key_hash": _key_hash(profile),
        "hashed": traits.hashed,
        "hashed_other": traits.hashed_other,
        "names": traits.names,
        "weights": traits.weights,
        "weights_of_one": traits.weights_of_one,
        "options": [
            {"name": row.name, "default": row.default, "choices": list(row.choices)}
            for row in profile.options
        ],
    }


def _key_hash(profile: ketama.Profile) -> str | None:
    return next((row.default for row in profile.options if row.name == "hash"), None)


def _print_list(known: Sequence[ketama.Profile]) -> None:
    columns = ("profile", "programs", "setting")
    rows = [(row.name, row.programs, row.setting) for row in known]
    _print_wrapped(columns, rows, 2)
    print()
    print("Details, and the line for the server file: ketama profiles PROFILE")


def _print_wrapped(columns: Sequence[str], rows: Sequence[Sequence[str]], wrapped: int) -> None:
    """Print a table whose last columns are wrapped where the lines do not fit the terminal.

    wrapped: how many columns are, all to the same width.
    """
    if room := _columns():
        kept = [max(map(len, column)) for column in zip(columns, *rows, strict=True)][
            : len(columns) - wrapped
        ]
        room -= sum(kept) + len(GAP) * (len(columns) - 1)
        widths = [*kept, *[max(COLUMN_MIN, room // wrapped)] * wrapped]
        rows = [
            line for row in rows for line in zip_longest(*map(_wrap, row, widths), fillvalue="")
        ]
    print_table(columns, rows)


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _columns() -> int:
    """Return how many columns there are; 0: neither a terminal nor $COLUMNS."""
    from shutil import get_terminal_size

    return get_terminal_size((0, 0)).columns


def _print_one(profile: ketama.Profile) -> None:
    traits = _traits(profile)
    _print_field("profile", profile.name)
    _print_field("programs", profile.programs)
    _print_field("setting", profile.setting)
    _print_field("note", profile.note)
    _print_field("server", _server(traits))
    _print_field("name", _name(traits))
    _print_field("weights", _weights(traits))
    _print_field("key hash", str(_key_hash(profile)))
    print()
    rows = [(row.name, row.default or "off", " ".join(row.choices)) for row in profile.options]
    _print_wrapped(("option", "default", "choices"), rows, 1)
    print()
    print("The first line of the server file, for all programs that read it:")
    print(_line(profile))


def _print_field(name: str, text: str) -> None:
    room = _columns()
    lines = _wrap(text, max(COLUMN_MIN, room - LABEL)) if room else [text]
    for label, line in zip_longest((name,), lines, fillvalue=""):
        print_styled((f"{label:<{LABEL}}", ""), (printable(line), "bold" * bool(label)))


def _server(traits: Traits) -> str:
    if traits.weights == "buckets":
        return "nothing is hashed for a server: the file lists its buckets"
    if traits.hashed is None:
        return "host and port are hashed apart"
    return (
        f"{traits.hashed} is hashed for 10.0.0.1:11211, "
        f"{traits.hashed_other} for 10.0.0.1:11212"
    )


def _name(traits: Traits) -> str:
    if traits.weights == "buckets":
        return "if a server has one, it keeps its buckets at another address"
    return NAMES[traits.names]


def _weights(traits: Traits) -> str:
    text = WEIGHTS[traits.weights]
    return text + "; weights that are all 1 have a ring of their own" * traits.weights_of_one
