"""Processes that choose a profile, and others, while what the file states changes."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import pytest

import ketama

SECONDS = 10
SERVERS = ("a:1 1\nb:1 2\n", "a:1 3\nc:1 1\n")
TEXTS = (
    f"#ketama profile=dalli\n{SERVERS[0]}",
    SERVERS[1],
    f"#ketama profile=libketama\n{SERVERS[0]}",
    f"#ketama profile=dalli\n{SERVERS[1]}",
)
Answer = tuple[int, tuple[tuple[int, str], ...]] | str


def answer(path: Path, profile: str | None, *, shared: bool) -> Answer:
    """Return a key's hash and all points; or why the file cannot be opened."""
    try:
        continuum = ketama.Continuum(path, profile=profile, shared=shared)
    except ketama.ServersError as error:
        return error.reason
    return continuum.explain("user:42").hash, tuple(continuum.get_points())


def write(path: Path, end: float) -> None:
    """Replace the file again and again, until then."""
    while time.time() < end:
        new = path.with_name("new")
        new.write_text(random.choice(TEXTS))
        new.rename(path)
        time.sleep(random.random() / 100)


def read(path: Path, profile: str | None, allowed: set[Answer], end: float) -> None:
    """Open the file again and again; each answer must be that of one of the texts."""
    found = set()
    while time.time() < end:
        found.add(answer(path, profile, shared=True))
    assert found <= allowed, profile


@pytest.mark.stress
def test_statements_that_change(tmp_path: Path) -> None:
    """Nobody ever gets the ring of one dialect with the hash of another, or a mixed one."""
    path = tmp_path / "ketama.servers"
    path.write_text(TEXTS[0])
    fork = multiprocessing.get_context("fork")
    end = time.time() + SECONDS
    processes = [fork.Process(target=write, args=(path, end))]
    for profile in (None, None, "dalli", "dalli", "libketama"):
        allowed = set()
        for number, text in enumerate(TEXTS):
            private = tmp_path / f"{number}.servers"
            private.write_text(text)
            allowed.add(answer(private, profile, shared=False))
        processes.append(fork.Process(target=read, args=(path, profile, allowed, end)))
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)
