"""`ketama agree`: on which keys the programs of a fleet agree, why not, and what to change."""

from __future__ import annotations

from itertools import chain
from textwrap import wrap
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli import source
from ketama.cli.app import (
    PROBLEMS_FOUND,
    SUCCESS,
    complete_profile,
    file_argument,
    json_option,
    share_value,
)
from ketama.cli.output import counted, percent, print_json, print_styled, print_table, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ketama import Agreement, Agreements, Cause, Remedy, RemedyStep

HEADING = 9  # columns of a line's heading
WIDTH = 96  # of explanations
NAMES_MAX = 8  # lines


@click.command(short_help="Show on which keys programs agree, and why not on all.")
@file_argument()
@click.option(
    "--profile",
    "profiles",
    metavar="PROFILE",
    multiple=True,
    shell_complete=complete_profile,
    help="A program's dialect, with its options: 'twemproxy hash=md5'. Give one for each "
    "program.",
)
@click.option(
    "--keys",
    "keys_file",
    metavar="FILE",
    type=click.Path(allow_dash=True, readable=False),
    help="Look up the keys in FILE, one per line, instead of random ones; - for standard "
    "input.",
)
@click.option(
    "--at-least",
    metavar="PERCENT",
    default="100%",
    show_default=True,
    callback=share_value,
    help="Exit with 1 if two programs agree on a smaller share of the keys.",
)
@json_option
def agree(
    file: str,
    profiles: tuple[str, ...],
    keys_file: str | None,
    at_least: float,
    as_json: bool,
) -> int:
    r"""Show on which keys programs that speak different dialects of ketama agree.

    A PROFILE is written as in the first line of a server file, without "profile=": the name,
    and options after blanks. With one, it is compared with the dialect that FILE states, or
    with libketama; with several, each two of them, and what FILE states. Without any, the
    dialect of FILE is compared with all other profiles. The exit code is 1 if programs that
    were named do not agree on all keys.

    Where two programs hash keys alike, their rings are compared, which covers all keys (except
    the empty one, which memcached does not have). Otherwise 100,000 random keys are looked up,
    or those of --keys.

    For two that differ, "why" has each difference that matters, with the share of the keys on
    which they would agree if it were the only one. A "remedy" was found by trying options,
    names and weights, and then all keys were compared again. To apply it moves keys, once.

    \b
    Examples:
      ketama agree ketama.servers
      ketama agree ketama.servers --profile libmemcached --profile 'twemproxy hash=md5'
      ketama agree ketama.servers --profile nginx --keys keys.txt --at-least 99.9%
    """
    from ketama.admin.agree import agree_on

    source.only_one_stdin(file, keys_file)
    keys = None if keys_file is None else source.each_key(keys_file)
    found = agree_on(source.read_text(file), source.label(file), profiles, keys)
    enough = not profiles or all(pair.share >= at_least for pair in found.pairs)
    if as_json:
        print_json({"file": source.label(file), "ok": enough, **_as_json(found)})
    elif profiles:
        _print_pairs(found, source.label(file))
    else:
        _print_profiles(found, source.label(file))
    return SUCCESS if enough else PROBLEMS_FOUND


def _as_json(found: Agreements) -> dict[str, Any]:
    return {
        "profiles": list(found.profiles),
        "pairs": [
            {**pair._asdict(), "causes": [cause._asdict() for cause in pair.causes]}
            for pair in found.pairs
        ],
        "refused": [refused._asdict() for refused in found.refused],
        "unnamed": list(found.unnamed),
        "remedies": [
            {
                "profiles": list(remedy.profiles),
                "steps": [step._asdict() for step in remedy.steps],
                "share": remedy.share,
            }
            for remedy in found.remedies
        ],
    }


def _part(share: float) -> str:
    """Format a share as a percentage; one below 1 is never printed as 100 %."""
    text = percent(share)
    return ">99.99 %" if share < 1 and text == percent(1) else text


def _asked(pair: Agreement) -> str:
    """Return which keys the share is of."""
    if pair.margin:
        return f"{counted(pair.keys, 'random key')}, ±{percent(pair.margin)}"
    counts = f"{pair.agreed:,} of {counted(pair.keys, 'key')}" if pair.keys else ""
    return "; ".join([*(["all keys"] if pair.exact else []), *([counts] if counts else [])])


def _print_profiles(found: Agreements, file: str) -> None:
    """Print how the file's own dialect agrees with all others, the best first."""
    pairs = sorted(found.pairs, key=lambda pair: -pair.share)
    print_table(
        (f"~{found.profiles[0]} and", ">agree on", "of", "~why not on all"),
        [
            (
                pair.second,
                _part(pair.share),
                _asked(pair),
                "; ".join(cause.summary for cause in pair.causes),
            )
            for pair in pairs
        ],
        ["green" if pair.share == 1 else "" for pair in pairs],
    )
    for refused in found.refused:
        print_styled((f"{refused.profile}: ", "bold"), (refused.reason, ""))
    _print_unnamed(found, file)
    print(f"\n{printable(file)}: with --profile, see how to make your programs agree")


def _print_pairs(found: Agreements, file: str) -> None:
    if found.pairs:
        print_table(
            ("~program", "~and program", ">agree on", "of"),
            [
                (pair.first, pair.second, _part(pair.share), _asked(pair))
                for pair in found.pairs
            ],
            ["green" if pair.share == 1 else "bold" for pair in found.pairs],
        )
    else:
        print(f"{printable(file)}: there is only one dialect, so all programs agree")
    for first, second, pair in _differing(found):
        print()
        print_styled((f"{', '.join(first)} and {', '.join(second)}", "bold"))
        for cause in pair.causes:
            _print_cause(cause)
    explained: set[str] = set()
    for number, remedy in enumerate(found.remedies):
        _print_remedy(remedy, found, file, "or" if number else "remedy", explained)
    if not found.agreed and not found.remedies:
        print("\nremedy: none found; no options, names or weights make two of them agree")
    _print_unnamed(found, file)


def _differing(found: Agreements) -> Iterator[tuple[list[str], list[str], Agreement]]:
    """Yield programs that differ, as two groups that agree among themselves, and a pair."""
    groups = {name: [name] for name in found.profiles}
    for pair in found.pairs:
        if pair.exact and pair.share == 1 and groups[pair.first] is not groups[pair.second]:
            groups[pair.first] += groups[pair.second]
            for name in groups[pair.first]:
                groups[name] = groups[pair.first]
    seen = set()
    for pair in found.pairs:
        first, second = groups[pair.first], groups[pair.second]
        if pair.causes and (id(first), id(second)) not in seen:
            seen.update({(id(first), id(second)), (id(second), id(first))})
            yield first, second, pair


def _print_cause(cause: Cause) -> None:
    by_itself = f" (by itself: {_part(cause.share)} agree)"
    print_styled((f"{'  why':<{HEADING}}", ""), (cause.summary, "bold"), (by_itself, ""))
    print_styled((HEADING * " " + cause.detail, ""))


def _print_remedy(
    remedy: Remedy, found: Agreements, file: str, heading: str, explained: set[str]
) -> None:
    """Print what to change, and what comes of it; explain each thing once."""
    who = "all" if remedy.profiles == found.profiles else " and ".join(remedy.profiles)
    print()
    print_styled((f"{heading}: ", "bold"), (f"{who} agree on {_part(remedy.share)} after", ""))
    for step in remedy.steps:
        where = file if step.profile is None else step.profile
        to_do, *explanation = _to_do(step)
        print_styled((f"  {where}: ", ""), (to_do, "bold"))
        new = (text for text in explanation if text not in explained)
        for line in chain.from_iterable(
            wrap(text, WIDTH - HEADING, break_long_words=False) for text in new
        ):
            print_styled((HEADING * " " + line, "dim"))
        explained.update(explanation)


def _to_do(step: RemedyStep) -> list[str]:
    """Return a step of a remedy, and what to know about it."""
    if step.kind == "dialect":
        readers = "for the programs that read it through libketama"
        return [f"begin with the line {step.write}", readers]
    if step.kind == "weights":
        return [f"give all servers the weight {step.write}", "in the programs as well"]
    if step.kind == "names":
        lines = step.write.splitlines()
        more = f"{counted(len(lines) - NAMES_MAX, 'more server')} (list them with --json)"
        return ["name the servers", *lines[:NAMES_MAX], *([more] if lines[NAMES_MAX:] else [])]
    name = (step.write if step.kind == "profile" else str(step.profile)).partition(" ")[0]
    (profile,) = (profile for profile in ketama.profiles() if profile.name == name)
    verb = "change to" if step.kind == "profile" else "set"
    return [f"{verb} {step.write}", profile.setting, profile.note]


def _print_unnamed(found: Agreements, file: str) -> None:
    """Print for which programs the names in the file do not count."""
    if found.unnamed:
        print(
            f"\nnote: {printable(file)} names servers, but {', '.join(found.unnamed)} "
            "has no names for servers: they count only where it is read by libketama"
        )
