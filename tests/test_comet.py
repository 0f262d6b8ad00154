"""examples/comet: no message is lost or out of order, whatever happens to nodes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import leftovers
import pytest
from clients.pages import DOCS, examples_of
from fleet.etcd import free_ports
from needs import need
from waiting import PATIENCE, wait_for

import ketama

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-u", "-m", "comet"]
SMALL = ("--users=20000", "--messages=12000", "--rate=5000")
# Publisher and gateways learn of a change from NOT_OWNER alone.
LATE = "--late=3600"
LISTS = [*range(1, 9)], [*range(1, 10)], [1, 2, *range(4, 10)], [1, 2, 4, *range(6, 10)]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    need("etcd")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "examples"))
    for name in [*os.environ]:
        if name.startswith("KETAMA_ETCD_"):
            monkeypatch.delenv(name)


def run(*options: str | Path) -> str:
    """Run it to its end; a process that waits for ever is killed with all that it started."""
    process = subprocess.Popen(
        [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = process.communicate(timeout=2 * PATIENCE)
    finally:
        process.terminate()
        process.wait()
    print(out)
    assert (process.returncode, err) == (0, "")
    return out


def total(what: str, out: str) -> int:
    """Return a number of the last lines."""
    found = re.search(rf"^{what}: ([\d,]+)$", out, re.MULTILINE)
    assert found is not None
    return int(found[1].replace(",", ""))


def moves(users: int) -> list[tuple[int, str]]:
    """Return how many users each change moves, and which share of all hashes."""
    # Names are hashed in place of addresses.
    rings = [
        ketama.Continuum([(f"10.0.0.{i}:1", 100, f"node{i}") for i in nodes]) for nodes in LISTS
    ]
    keys = [f"user:{user}" for user in range(users)]
    found = []
    for before, after in pairwise(rings):
        old, new = before.lookup_many(keys), after.lookup_many(keys)
        pairs = {pair for pair in zip(old, new, strict=True) if pair[0] != pair[1]}
        diff = before.diff(after)
        assert pairs == set(diff.pairs)
        moved = sum(was != now for was, now in zip(old, new, strict=True))
        found.append((moved, f"{diff.moved:.2%}"))
    return found


def check(out: str, users: int) -> None:
    """Check that those users have reconnected who must, and that nothing is lost."""
    lines = re.findall(
        r"([\d,]+) users reconnected.*\n  expected: ([\d,]+), as ([\d.]+%) of all hashes", out
    )
    moved = [(int(number.replace(",", "")), share) for number, _, share in lines]
    assert moved == moves(users)
    assert all(number == expected for number, expected, _ in lines)
    assert total("lost", out) == 0
    assert total("out of order, or without the one before", out) == 0
    assert total("messages", out) == total("acknowledged", out) > 0
    # What the killed node had, if nothing else.
    assert total("sent again", out) > 0


def test_no_message_is_lost(tmp_path: Path) -> None:
    """Nodes are those of a file, which stays as it is."""
    servers = tmp_path / "servers"
    lines = [f"127.0.0.1:{port} 100 node{i}\n" for i, port in enumerate(free_ports(8), 1)]
    servers.write_text("".join(lines))
    check(run(*SMALL, LATE, "--servers", servers), 20000)
    assert servers.read_text() == "".join(lines)


def test_messages_are_lost_if_not_owner_is_ignored() -> None:
    out = run(*SMALL, LATE, "--ignore-not-owner")
    assert total("lost", out) > 0
    assert total("acknowledged", out) < total("messages", out)


def commands(spared: set[int]) -> list[str]:
    """Return the commands of what was started since, empty for those that have ended."""
    pids = leftovers.children() - spared
    return [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_goes_on_after_the_end(number: int) -> None:
    """All ends that was started, but etcd if there was no time to end it."""
    before = leftovers.children()
    process = subprocess.Popen([*COMMAND, *SMALL], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as out:
        wait_for(lambda: "joins" in out.readline())
        process.send_signal(number)
        assert process.wait() == (143 if number == signal.SIGTERM else -number)
    wait_for(lambda: not any("comet." in command for command in commands(before)))
    left = leftovers.end_children(before)
    assert ["etcd" in command for command in left] == [True] * (number == signal.SIGKILL)


def test_the_page_shows_the_code() -> None:
    """Its excerpts are lines of the example, comments aside."""
    folder = Path(__file__).resolve().parents[1] / "examples" / "comet"
    code = "\n".join(without_comments(path.read_text()) for path in folder.glob("*.py"))
    excerpts = examples_of(DOCS / "comet.md")
    assert len(excerpts) >= 3
    for excerpt in excerpts:
        assert without_comments(excerpt.code) in code, excerpt


def without_comments(code: str) -> str:
    """Return its lines without comments, blank lines and indentation."""
    lines = (line.partition("  #")[0].strip() for line in code.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


@pytest.mark.stress
def test_many_users() -> None:
    check(run("--users=100000"), 100_000)
