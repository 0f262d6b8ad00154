"""Threads, forks and signals."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from threads import forks_beside_threads
from waiting import PATIENCE

import ketama

TEXTS = ["a:1 1\nb:1 1\nc:1 1\n", "d:1 1\ne:1 3\n"]


NUMBERS = itertools.count()


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(f".{next(NUMBERS)}")
    new.write_text(text)
    new.replace(path)


@pytest.mark.parametrize("rollers", [1, 4])
def test_eight_threads_look_up_while_others_roll(rollers: int, tmp_path: Path) -> None:
    """Each result comes from one of the two files, and each call uses one version."""
    path = tmp_path / "ketama.servers"
    path.write_text(TEXTS[0])
    keys = [f"key-{i}" for i in range(100)]
    right, points = [], []
    for text in TEXTS:
        listed = ketama.Continuum(
            [(a, int(w)) for a, w in (line.split() for line in text.splitlines())]
        )
        right.append([listed.get_server(key) for key in keys])
        points.append(listed.get_points())

    continuum = ketama.Continuum(path)
    done = threading.Event()
    errors: list[object] = []
    asked = [0] * 8

    def look(me: int) -> None:
        while not done.is_set():
            for at, key in enumerate(keys):
                found = continuum.get_server(key)
                if found not in (right[0][at], right[1][at]):
                    errors.append((key, found))
                if continuum.lookup(key) not in (right[0][at][1], right[1][at][1]):
                    errors.append(key)
            if continuum.get_points() not in points:
                errors.append("points")
            if len(continuum.servers) not in (2, 3):
                errors.append("servers")
            asked[me] += 1

    def roll() -> None:
        while not done.is_set():
            continuum.roll()

    threads = [threading.Thread(target=look, args=(me,), daemon=True) for me in range(8)]
    threads += [threading.Thread(target=roll, daemon=True) for _ in range(rollers - 1)]
    for thread in threads:
        thread.start()
    generation = continuum.generation
    changes = 0
    try:
        while changes < 200 or min(asked) == 0:
            changes += 1
            replace(path, TEXTS[changes % 2])
            continuum.roll()
            assert continuum.get_points() == points[changes % 2]
            assert continuum.generation > generation
            generation = continuum.generation
    finally:
        done.set()
    for thread in threads:
        thread.join()
    assert errors == []


@forks_beside_threads
def test_a_fork(tmp_path: Path) -> None:
    """A Continuum made before a fork looks up and rolls in the child as in the parent."""
    path = tmp_path / "ketama.servers"
    path.write_text("a:1 1\n")
    continuum = ketama.Continuum(path)
    for _ in range(5):
        child = os.fork()
        if child == 0:
            good = continuum.lookup("key") == "a:1"
            replace(path, "b:1 1\n")
            good = good and continuum.roll() and continuum.lookup("key") == "b:1"
            os._exit(0 if good else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert continuum.lookup("key") == "a:1"
        replace(path, "a:1 1\n")
        assert continuum.roll()


def test_a_fork_during_a_roll(tmp_path: Path) -> None:
    """A child can roll even if it was forked while a thread of the parent was rolling."""
    program = f"""
import os, sys, threading, ketama
path, = sys.argv[1:]
texts = {TEXTS!r}
def replace(text):
    with open(path + ".new", "w") as file: file.write(text)
    os.replace(path + ".new", path)
replace(texts[0])
continuum = ketama.Continuum(path)
done = False
def roll():
    i = 0
    while not done:
        replace(texts[i % 2]); continuum.roll(); i += 1
thread = threading.Thread(target=roll); thread.start()
for _ in range(200):
    child = os.fork()
    if child == 0:
        continuum.roll(); continuum.lookup("key"); os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
done = True; thread.join(); print("good")
"""
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "ketama.servers")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert output.stdout == "good\n"


@forks_beside_threads
def test_the_lock_is_new_in_a_child(tmp_path: Path) -> None:
    """A child does not wait for the lock that a thread of its parent held at the fork."""
    path = tmp_path / "ketama.servers"
    path.write_text(TEXTS[0])
    continuum = ketama.Continuum(path)
    held, release = threading.Event(), threading.Event()
    module: Any = sys.modules["ketama.continuum"]

    def hold() -> None:
        with module._swap_lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    replace(path, TEXTS[1])
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        os._exit(0 if continuum.roll() else 1)
    status = os.waitpid(child, 0)[1]
    release.set()
    thread.join()
    assert status == 0


@pytest.mark.parametrize("times", [1, 2])
def test_a_roll_that_loses_the_race(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A roll that other threads overtake returns True, with a file at least as recent."""
    path = tmp_path / "ketama.servers"
    path.write_text(TEXTS[0])
    continuum = ketama.Continuum(path)
    module: Any = sys.modules["ketama.continuum"]
    take_over, left = module._version, times

    def overtaken(handle: object) -> object:
        nonlocal left
        version = take_over(handle)
        if left > 0:
            left -= 1
            replace(path, f"x{left}:1 1\n")
            assert continuum.roll()
        return version

    replace(path, TEXTS[1])
    monkeypatch.setattr(module, "_version", overtaken)
    assert continuum.roll()
    assert left == 0
    assert continuum.lookup("key") == "x0:1"
    assert not continuum.roll()


@forks_beside_threads
def test_a_roll_while_the_lock_is_held(tmp_path: Path) -> None:
    """A signal handler may roll even if the interrupted thread holds the lock."""
    path = tmp_path / "ketama.servers"
    path.write_text(TEXTS[0])
    continuum = ketama.Continuum(path)
    replace(path, TEXTS[1])
    module: Any = sys.modules["ketama.continuum"]
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        with module._swap_lock:
            os._exit(0 if continuum.roll() else 1)
    assert os.waitpid(child, 0)[1] == 0


@contextlib.contextmanager
def interrupted(handle: Callable[[], object], seconds: float) -> Iterator[None]:
    """Call `handle` in a signal handler, again and again, so long after the last time."""
    ended = False

    def handler(*_: object) -> None:
        handle()
        if not ended:  # else the alarm would go off in the next test
            signal.setitimer(signal.ITIMER_REAL, seconds)

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        ended = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_a_handler_does_not_replace_an_error(tmp_path: Path) -> None:
    """An error has its own file and reason, even if a signal handler causes another one."""
    wrong = tmp_path / "wrong"
    wrong.write_text("x:1 x\n")

    def fail() -> None:
        with contextlib.suppress(ketama.ServersError):
            ketama.Continuum(wrong, shared=False)

    errors = set()
    with interrupted(fail, 0.0001):
        for _ in range(20_000):
            try:
                ketama.Continuum("/nonexistent", shared=False)
            except ketama.KetamaError as error:
                errors.add(repr(error))
    assert errors == {"KetamaOSError(2, 'No such file or directory')"}


def test_a_signal_handler_that_rolls(tmp_path: Path) -> None:
    """A SIGHUP handler may roll the Continuum during a roll."""
    path = tmp_path / "ketama.servers"
    path.write_text(TEXTS[0])
    continuum = ketama.Continuum(path)
    handled = 0

    def roll() -> None:
        nonlocal handled
        handled += 1
        replace(path, TEXTS[handled % 2])
        continuum.roll()

    with interrupted(roll, 0.0005):
        deadline = time.monotonic() + PATIENCE
        while handled < 300 and time.monotonic() < deadline:
            continuum.roll()
    assert handled >= 300
    continuum.roll()
    assert len(continuum.servers) == (3 if handled % 2 == 0 else 2)
