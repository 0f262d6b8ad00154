"""The command, run as a process of its own."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import forks
from waiting import PATIENCE

COMMAND = [sys.executable, "-m", "ketama"]
ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "ketama.servers"


# What lets coverage reach into a process that is started: it is for the command alone, as it
# imports a lot, and takes its time. (Put aside in the environment, for pytest imports this
# file more than once.)
ASIDE = "ASIDE_"
for name in [*os.environ]:
    if name.startswith("COV"):
        os.environ[ASIDE + name] = os.environ.pop(name)


def measured() -> dict[str, str]:
    """The environment in which the command's coverage is measured."""
    return {name.removeprefix(ASIDE): value for name, value in os.environ.items()}


def interruptible() -> None:
    """Run in a child before the program: one in the background is born deaf to interrupts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def run(
    *arguments: str | bytes | Path, stdin: bytes = b"", **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end."""
    environment = options.pop("env", None) or measured()
    if not options and forks.ready(environment):
        return forks.run(arguments, stdin, environment)
    options = {"env": environment, "capture_output": True, **options}
    return subprocess.run([*COMMAND, *arguments], input=stdin, **options)


def text(*arguments: str | bytes | Path, stdin: bytes = b"", **options: Any) -> str:
    """Run it, expect it to be good and to say nothing on stderr, and give what it prints."""
    done = run(*arguments, stdin=stdin, **options)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout.decode()


def as_json(*arguments: str | bytes | Path, code: int = 0, stdin: bytes = b"") -> Any:
    """Run it with --json, and give the document, or the documents where it is one a line."""
    done = run(*arguments, "--json", stdin=stdin)
    assert (done.returncode, done.stderr.decode()) == (code, "")
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        return [json.loads(line) for line in done.stdout.splitlines()]


def refusal(code: int, *arguments: str | bytes | Path, stdin: bytes = b"") -> str:
    """Run it, expect that exit code, nothing printed, and one line on stderr; give that."""
    done = run(*arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (code, b"")
    message = done.stderr.decode()
    assert message.count("\n") == 1
    assert message.endswith("\n")
    return message[:-1]


def on_a_terminal(*arguments: str | Path, env: dict[str, str] | None = None) -> str:
    """Run it with a terminal for its output, and give what it writes there."""
    main, terminal = pty.openpty()
    environment = {**measured(), "TERM": "xterm-256color", "COLUMNS": "80", **(env or {})}
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=terminal, env=environment
    ) as process:
        os.close(terminal)
        written = b""
        while True:
            try:
                some = os.read(main, 65536)
            except OSError:  # as Linux says that the other end is closed
                break
            if not some:
                break
            written += some
    os.close(main)
    assert process.returncode == 0
    return written.decode()


@contextmanager
def watching(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A watch that has begun, and is interrupted at the end."""
    with subprocess.Popen(
        [*COMMAND, "watch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=measured(),
        preexec_fn=interruptible,
    ) as process:
        assert process.stderr is not None
        begin = process.stderr.readline()
        assert begin.endswith("; waiting for changes\n"), begin
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
        assert process.stderr.read() == ""  # nothing that the test has not read


def line_of(process: subprocess.Popen[str]) -> str:
    """Wait for the next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def complaint_of(process: subprocess.Popen[str]) -> str:
    """Wait for the next line that it prints on stderr."""
    assert process.stderr is not None
    return process.stderr.readline().rstrip("\n")


@cache
def _validator(kind: str) -> Any:
    """Return what checks one kind of document: slow to make, and fast to use."""
    from needs import need_module

    schema = json.loads((ROOT / "docs" / "cli.schema.json").read_text())
    validator = need_module("jsonschema").Draft202012Validator
    validator.check_schema(schema)
    return validator({**schema, "$ref": f"#/$defs/{kind}"})


def fits_schema(kind: str, value: Any) -> Any:
    """Check a document against docs/cli.schema.json, and give it back."""
    _validator(kind).validate(value)
    return value
