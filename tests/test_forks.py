"""The command that tests fork is the command that users start."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import command
import forks
import pytest


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        (["show", "ketama.servers"], b"", 0),
        (["where", "ketama.servers"], b"a\n\xff\n" * 100_000, 0),
        (["check", "ketama.servers"], b"x" * 100_000, 0),
        (["check", "-"], b"a:1 x\n", 1),
        (["frobnicate"], b"", 2),
        (["show", b"\xff"], b"", 3),
    ],
    ids=["show", "much read", "much unread", "errors", "usage", "missing"],
)
def test_as_started(
    arguments: list[str | bytes],
    stdin: bytes,
    code: int,
    two: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has the same arguments, directory, pipes and environment, and ends in the same way."""
    monkeypatch.chdir(two.parent)
    os.utime(two, (1_700_000_000, 1_700_000_000))
    environment = command.measured()
    started = subprocess.run(
        [*command.COMMAND, *arguments], input=stdin, capture_output=True, env=environment
    )
    assert forks.ready(environment)
    forked = forks.run(arguments, stdin, environment)
    assert started.returncode == code
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        started.returncode,
        started.stdout,
        started.stderr,
    )


def test_several_at_once(two: Path) -> None:
    """One that waits for its input does not keep the next one waiting."""
    pipe = two.parent / "pipe"
    os.mkfifo(pipe)
    answers: list[str] = []
    waiting = threading.Thread(target=lambda: answers.append(command.text("where", pipe, "x")))
    waiting.start()
    found = command.text("where", two, "x")
    assert answers == []
    pipe.write_bytes(two.read_bytes())
    waiting.join()
    assert answers == [found]


@pytest.mark.parametrize("name", ["PYTHONUTF8", "LC_ALL", "TZ", "KETAMA_SPEEDUPS"])
def test_what_is_read_early(name: str) -> None:
    """A variable that has its effect as Python starts is for a command that is started."""
    assert not forks.ready({**command.measured(), name: "0"})
