"""Programs of tests/programs that ask another language's library for the servers of keys.

Such a program reads from its input, and answers each key with its server's number, from 0,
in a line. The input has two paragraphs for each list, each of which ends in an empty line:
the servers, in lines of host, port, weight, name (tabs between), and the keys, a line each.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.questions import (
    TEXT,
    Form,
    Listed,
    compare,
    host_and_port,
    some_keys,
    some_lists,
)

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"


def question(servers: Sequence[Listed], keys: Sequence[str]) -> str:
    """Return a list and its keys as a program reads them."""
    lines = []
    for address, weight, name in servers:
        host, port = host_and_port(address)
        lines.append(f"{host}\t{port}\t{weight}\t{name or ''}")
    return "\n".join([*lines, "", *keys, "", ""])


def ask(
    command: Sequence[str | Path], questions: Sequence[tuple[Sequence[Listed], Sequence[str]]]
) -> list[list[str]]:
    """Run a program, and return the addresses of each list's keys."""
    text = "".join(question(servers, keys) for servers, keys in questions)
    done = subprocess.run([*command], input=text.encode(), capture_output=True, check=False)
    said = done.stderr.decode()
    assert (done.returncode, said) == (0, ""), f"exit status {done.returncode}: {said}"
    numbers = [int(line) for line in done.stdout.split()]
    answers = []
    for servers, keys in questions:
        answers.append([servers[number][0] for number in numbers[: len(keys)]])
        del numbers[: len(keys)]
    assert numbers == []
    return answers


def check(
    command: Sequence[str | Path],
    form: Form,
    profile: str,
    *,
    text: str = TEXT,
    by_chance: bool = False,
    **options: Any,
) -> int:
    """Ask a program about random lists, and compare; return how many keys differ by chance.

    text: the characters that keys are made of.
    """
    lists = some_lists(form)
    keys = [some_keys(number, servers, text=text) for number, servers in enumerate(lists)]
    questions = list(zip(lists, keys, strict=True))
    differing = 0
    for (servers, asked), found in zip(questions, ask(command, questions), strict=True):
        differing += compare(servers, asked, found, profile, by_chance=by_chance, **options)
    return differing
