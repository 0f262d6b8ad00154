"""Server files that change, and ones that become invalid."""

from __future__ import annotations

import copy
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import need_strace
from threads import forks_beside_threads
from waiting import wait_until_reliable

import ketama

A, B = "a:1 100\n", "b:1 100\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ketama.servers"
    path.write_text(A)
    return path


def by_rename(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def in_place_without_cutting(path: Path, text: str) -> None:
    with path.open("r+") as file:
        file.write(text)


def by_removing_first(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def by_symbolic_link(path: Path, text: str) -> None:
    target = path.with_name(f"target-{time.monotonic_ns()}")
    target.write_text(text)
    path.with_suffix(".link").symlink_to(target)
    path.with_suffix(".link").replace(path)


def with_the_old_mtime(path: Path, text: str) -> None:
    status = path.stat()
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


WAYS = [
    by_rename,
    in_place,
    in_place_without_cutting,
    by_removing_first,
    by_symbolic_link,
    with_the_old_mtime,
]


@pytest.mark.parametrize("change", WAYS)
def test_changes(change: Callable[[Path, str], None], path: Path) -> None:
    """Any way to change a file is detected, even several changes per second of one size."""
    continuum = ketama.Continuum(path)
    assert not continuum.roll()
    for generation, text in enumerate([B, A, B, A, B], 2):
        before = continuum.lookup("key")
        change(path, text)
        assert before == continuum.lookup("key")
        assert continuum.roll()
        assert text.startswith(continuum.lookup("key"))
        assert generation == continuum.generation
        assert not continuum.roll()
    assert continuum.generation == 6


def test_a_change_after_the_stamp_is_reliable(path: Path) -> None:
    """A change is detected after the time stamp has become reliable, too."""
    continuum = ketama.Continuum(path)
    wait_until_reliable(path)
    assert not continuum.roll()  # reads the file once more; the stamp is reliable from now on
    for text in (B, A):
        assert not continuum.roll()
        in_place_without_cutting(path, text)
        assert continuum.roll()
        assert text.startswith(continuum.lookup("key"))


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


WRONG: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "removed": (Path.unlink, ketama.KetamaOSError, "No such file or directory"),
    "empty": (lambda path: path.write_text(""), ketama.ServersError, "no servers"),
    "half written": (lambda path: path.write_text("a:1 1\nb:1"), ketama.ServersError, ":2: "),
    "wrong": (
        lambda path: path.write_text("a:1 -1\n"),
        ketama.ServersError,
        ":1: invalid weight",
    ),
    "a folder": (put_a_folder, ketama.KetamaOSError, "Is a directory"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_becomes_invalid(name: str, path: Path) -> None:
    """Each roll raises, lookups keep the last valid version, and a fixed file is loaded."""
    spoil, kind, message = WRONG[name]
    continuum = ketama.Continuum(path)
    points = continuum.get_points()
    spoil(path)
    for _ in range(3):
        with pytest.raises(kind, match=message) as caught:
            continuum.roll()
        assert str(caught.value) == str(continuum.last_error)
        assert isinstance(continuum.last_error, kind)
        assert os.fspath(path) == caught.value.filename  # type: ignore[attr-defined]
        assert continuum.lookup("key") == "a:1"
        assert points == continuum.get_points()
        assert continuum.generation == 1
    if path.is_dir():
        path.rmdir()
    path.write_text(B)
    assert continuum.roll()
    assert continuum.last_error is None
    assert (continuum.lookup("key"), continuum.generation) == ("b:1", 2)


def test_recovery_without_a_change(path: Path) -> None:
    """A file that is restored unchanged clears the error and counts as unchanged."""
    away = path.with_suffix(".away")
    continuum = ketama.Continuum(path)
    shutil.copy2(path, away)
    os.link(path, path.with_suffix(".kept"))
    path.unlink()
    with pytest.raises(ketama.KetamaOSError):
        continuum.roll()
    os.link(path.with_suffix(".kept"), path)
    continuum.roll()
    assert continuum.last_error is None
    assert continuum.lookup("key") == "a:1"


def test_a_missing_directory(path: Path) -> None:
    """When a file's directory is restored, the error is cleared and nothing has changed."""
    folder = path.parent / "folder"
    folder.mkdir()
    file = folder / "ketama.servers"
    file.write_text(A)
    continuum = ketama.Continuum(file)
    folder.rename(path.parent / "away")
    with pytest.raises(ketama.KetamaOSError):
        continuum.roll()
    twin = copy.copy(continuum)
    assert str(twin.last_error) == str(continuum.last_error)
    (path.parent / "away").rename(folder)
    assert not continuum.roll()
    assert continuum.last_error is None


def test_symbolic_links_in_the_path(path: Path) -> None:
    """Links and ".." in a path are resolved again on every check."""
    for name, text in (("one", A), ("two", B)):
        (path.parent / name / "sub").mkdir(parents=True)
        (path.parent / name / "ketama.servers").write_text(text)
    link = path.parent / "link"
    link.symlink_to("one/sub")
    continuum = ketama.Continuum(f"{link}/../ketama.servers")
    assert continuum.lookup("key") == "a:1"
    link.with_suffix(".new").symlink_to("two/sub")
    link.with_suffix(".new").replace(link)
    assert continuum.roll()
    assert continuum.lookup("key") == "b:1"


@forks_beside_threads
def test_a_removed_working_directory(path: Path) -> None:
    """A relative path in a removed working directory raises KetamaOSError with the path."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            (path.parent / "gone").mkdir()
            os.chdir(path.parent / "gone")
            (path.parent / "gone").rmdir()
            for ask in (ketama.Continuum, ketama.roll):
                try:
                    ask("ketama.servers")
                except ketama.KetamaOSError as error:
                    good = error.errno == errno.ENOENT and error.filename == "ketama.servers"
                    status = 0 if good else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_last_error_keeps_nothing_alive(path: Path) -> None:
    """`last_error` has no traceback, so it keeps no frames or variables alive."""
    continuum = ketama.Continuum(path)
    path.unlink()
    with pytest.raises(ketama.KetamaOSError):
        continuum.roll()
    assert continuum.last_error is not None
    assert continuum.last_error.__traceback__ is None


def test_servers_in_memory_never_change() -> None:
    """A continuum made from a list never changes on roll."""
    continuum = ketama.Continuum(["a:1"])
    assert not continuum.roll()
    assert (continuum.filename, continuum.generation) == (None, 1)


def test_a_relative_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is resolved in the working directory at the time of opening."""
    monkeypatch.chdir(path.parent)
    continuum = ketama.Continuum(path.name)
    rolled = ketama.roll(path.name)
    monkeypatch.chdir("/")
    in_place(path, B)
    assert continuum.roll()
    assert continuum.filename == path.name
    assert ketama.roll(path) is rolled
    assert rolled.lookup("key") == "b:1"
    with pytest.raises(ketama.KetamaOSError):
        ketama.roll(path.name)


def test_module_roll_returns_one_continuum(path: Path) -> None:
    """ketama.roll returns the same Continuum for a path each time, reloaded."""
    first = ketama.roll(path)
    assert first is ketama.roll(str(path)) is ketama.roll(os.fsencode(path))
    by_rename(path, B)
    assert ketama.roll(path).lookup("key") == "b:1"
    assert first.generation == 2
    in_place(path, "")
    with pytest.raises(ketama.ServersError, match="no servers: write one per line"):
        ketama.roll(path)
    assert first.lookup("key") == "b:1"
    with pytest.raises(TypeError):
        ketama.roll(["a:1"])  # type: ignore[arg-type]


def test_a_first_roll_that_fails(tmp_path: Path) -> None:
    """The next roll tries a path again that could not be opened."""
    path = tmp_path / "late"
    with pytest.raises(ketama.KetamaOSError):
        ketama.roll(path)
    path.write_text(A)
    assert ketama.roll(path).lookup("key") == "a:1"


def system_calls(program: str, *args: object) -> list[str]:
    """Return the system calls that a Python program makes between its two marks."""
    source = f"import os, sys, ketama\nmark = lambda: os.access('/mark', os.F_OK)\n{program}"
    trace = subprocess.run(
        [
            need_strace(),
            "-qq",
            "-o",
            "/dev/stdout",
            sys.executable,
            "-c",
            source,
            *map(str, args),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    marks = [at for at, line in enumerate(trace) if '"/mark"' in line]
    assert len(marks) == 2
    return trace[marks[0] + 1 : marks[1]]


def test_a_roll_is_one_stat(path: Path) -> None:
    """If nothing changed, a roll is exactly one stat(2)."""
    wait_until_reliable(path)
    program = "c = ketama.Continuum(sys.argv[1])\nmark(); c.roll(); c.lookup('x'); mark()\n"
    (call,) = system_calls(program, path)
    assert "stat" in call
    assert str(path) in call


def test_errno_of_a_failed_roll(path: Path) -> None:
    """The OSError of a failed roll has the errno of the system call."""
    continuum = ketama.Continuum(path)
    path.unlink()
    with pytest.raises(ketama.KetamaOSError) as caught:
        continuum.roll()
    assert caught.value.errno == errno.ENOENT
