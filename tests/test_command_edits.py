"""What the command changes: add, remove, weight; and what shows it: images, watch."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from command import (
    COMMAND,
    EXAMPLE,
    as_json,
    fits_schema,
    interruptible,
    measured,
    refusal,
    run,
    text,
)
from needs import need_root
from waiting import PATIENCE, wait_for

import ketama
from ketama.admin.images import image_of
from ketama.admin.images import images as all_images


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "pool.servers"
    path.write_text("# the pool\na:1   100\nb:1   100\nc:1   100\n")
    return path


def written(path: Path) -> tuple[bytes, int, int]:
    """What changes when somebody writes the file, or another in its place."""
    status = path.stat()
    return path.read_bytes(), status.st_ino, status.st_ctime_ns


def test_add(path: Path) -> None:
    """A server is added, and what moves is printed as diff prints it."""
    old = path.parent / "old"
    shutil.copy(path, old)
    shown = text("add", path, "d:1", "150")
    assert path.read_text().endswith("c:1   100\nd:1   150\n")
    expected = text("diff", old, path)
    assert shown == f"{path}: add d:1 (weight 150)\n{expected}\nwritten and published\n"
    assert shown.startswith(f"{path}: add d:1 (weight 150)\nadded       d:1\nmoved ")
    image = image_of(str(path))
    assert image is not None
    assert (image.state, image.servers) == ("current", 4)


def test_add_with_the_weight_of_all(path: Path) -> None:
    """Without a weight it is that of all others."""
    assert f"{path}: add d:1 (weight 100)\n" in text("add", path, "d:1")
    text("weight", path, "d:1", "5")
    said = refusal(2, "add", path, "e:1")
    assert said.startswith("ketama add: missing argument WEIGHT: the servers have diff")


def test_remove_and_weight(path: Path) -> None:
    """A server is removed, or gets another weight, and what was is printed."""
    assert f"{path}: change the weight of a:1 from 100 to 250\n" in text(
        "weight", path, "a:1", "250"
    )
    assert path.read_text() == "# the pool\na:1   250\nb:1   100\nc:1   100\n"
    assert f"{path}: remove a:1 (weight 250)\nremoved     a:1\n" in text("remove", path, "a:1")
    assert path.read_text() == "# the pool\nb:1   100\nc:1   100\n"


def test_a_weight_that_it_has_already(path: Path) -> None:
    """What changes nothing writes nothing."""
    before = written(path)
    shown = text("weight", path, "a:1", "100")
    assert shown.endswith("\nunchanged: weight is already 100\n")
    assert before == written(path)


def test_edits_as_json(path: Path) -> None:
    """The same for programs."""
    before = ketama.Continuum(path, shared=False)
    found = fits_schema("edit", as_json("add", path, "d:1", "7"))
    diff = before.diff(ketama.Continuum(path, shared=False))
    assert found["diff"]["moved"] == diff.moved
    assert found | {"diff": None} == {
        "file": str(path), "action": "add", "server": "d:1", "weight_before": None, "weight": 7,
        "dry_run": False, "published": True, "diff": None, "warnings": [],
    }  # fmt: skip
    found = fits_schema("edit", as_json("weight", path, "d:1", "9"))
    assert (found["weight_before"], found["weight"]) == (7, 9)
    found = fits_schema("edit", as_json("remove", path, "d:1"))
    assert (found["weight_before"], found["weight"]) == (9, None)
    assert found["diff"]["removed"] == ["d:1"]
    empty = path.with_name("empty")
    empty.touch()
    assert fits_schema("edit", as_json("add", empty, "a:1", "1"))["diff"] is None


def test_dry_runs(path: Path) -> None:
    """A dry run prints what would move, and writes and publishes nothing."""
    before = written(path)
    shown = text("remove", "--dry-run", path, "a:1")
    assert re.search(r"^moved +\d\d\.\d\d %   of all keys$", shown, re.MULTILINE)
    assert shown.endswith("\ndry run: nothing was written\n")
    assert as_json("add", "-n", path, "d:1", "5")["dry_run"]
    assert before == written(path)
    assert image_of(str(path)) is None
    assert run("add", "-n", path, "a:1", "5").returncode == 1


def test_warnings_of_a_newcomer(path: Path) -> None:
    """What is doubtful about a server that is added is said at once."""
    shown = text("add", path, "d:99999", "100")
    assert "\nwarning: invalid port '99999': must be 1-65535 [port]\n" in shown
    (doubt,) = fits_schema("edit", as_json("add", path, "e\x07:1", "100"))["warnings"]
    assert doubt["code"] == "control"
    assert fits_schema("edit", as_json("remove", path, "e\x07:1"))["warnings"] == []


def test_add_where_there_is_none(tmp_path: Path) -> None:
    """Of the first server the weight must be known, and of a path the file."""
    path = tmp_path / "empty"
    path.write_text("# nobody\n")
    said = refusal(2, "add", path, "a:1")
    assert said.startswith("ketama add: missing argument WEIGHT: the file has no servers")
    assert refusal(3, "add", "", "a:1", "5") == "ketama: '': No such file or directory"


def test_both_lines_of_a_server(path: Path) -> None:
    """A server that stands in the file twice is removed with both weights."""
    path.write_text("a:1 5\nb:1 7\na:1 6\n")
    assert "remove a:1 (weight 5 and 6)\n" in text("remove", path, "a:1")


def test_addresses_in_another_locale(path: Path) -> None:
    """An address is UTF-8, whatever the locale."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    text("add", path, "кэш:1".encode(), "100", env=environment)
    assert path.read_text("utf-8").endswith("кэш:1 100\n")
    text("remove", path, "кэш:1".encode(), env=environment)
    assert "кэш" not in path.read_text("utf-8")


def test_what_is_mounted_by_itself(path: Path) -> None:
    """A file that is mounted by itself can't be replaced, and it is said why."""
    need_root()
    mounted = path.with_name("mounted")
    mounted.touch()
    subprocess.run(["mount", "--bind", path, mounted], check=True)
    try:
        said = refusal(3, "add", mounted, "d:1", "5")
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert said.startswith(f"ketama: {mounted}: cannot replace a mount point")
    assert sorted(os.listdir(path.parent)) == ["mounted", "pool.servers"]


def test_refused_edits(path: Path) -> None:
    """What check would call an error, or can't be meant, is refused with 1."""
    text_before = path.read_bytes()
    said = refusal(1, "add", path, "b:1", "5")
    assert said == f"ketama: {path}:3: b:1 is already present (weight 100)"
    said = refusal(1, "remove", path, "x\x1b[2J:1")
    assert said == f"ketama: {path}: server 'x\\x1b[2J:1' not found"
    one = path.with_name("one")
    one.write_text("a:1 1\n")
    said = refusal(1, "remove", one, "a:1")
    assert said == f"ketama: {one}: no server would be left"
    assert text_before == path.read_bytes()


def test_a_full_disk(tmpfs: Path) -> None:
    """On a full disk an edit is 3, and the file stays whole."""
    path = tmpfs / "ketama.servers"
    path.write_text("".join(f"s{i:04}:1 1\n" for i in range(2000)))
    there = path.read_bytes()
    with contextlib.suppress(OSError):
        (tmpfs / "filler").write_bytes(bytes(2**20))
    said = refusal(3, "add", path, "new:1", "1")
    assert said == f"ketama: {path}: {os.strerror(errno.ENOSPC)}"
    assert there == path.read_bytes()
    assert set(os.listdir(tmpfs)) == {"filler", "ketama.servers"}


def test_nowhere_to_publish(path: Path) -> None:
    """Where nothing can be published, the edit is good, and says so."""
    environment = {**os.environ, "KETAMA_SHM_DIR": "/proc"}
    shown = text("add", path, "d:1", "5", env=environment)
    assert shown.endswith("\nwritten, but not published: each process builds its own copy\n")
    assert "d:1" in path.read_text()


@pytest.mark.parametrize("many", [3, pytest.param(50, marks=pytest.mark.stress)])
def test_many_edits_at_once(many: int, path: Path) -> None:
    """Of many edits at once none is lost, and the file is whole at any time."""
    path.write_text("first:1 1\n" + "".join(f"old{i}:1 1\n" for i in range(many)))
    acts = [["add", path, f"new{i}:1", "2"] for i in range(2 * many)]
    acts += [["remove", path, f"old{i}:1"] for i in range(many)]
    acts += [["weight", path, "first:1", str(1000 + i)] for i in range(many)]
    processes = [
        subprocess.Popen([*COMMAND, *map(str, act)], stdout=subprocess.DEVNULL) for act in acts
    ]
    while any(process.poll() is None for process in processes):
        ketama.Continuum(path, shared=False)  # which would raise
        time.sleep(0.02)
    assert [process.returncode for process in processes] == [0] * 4 * many
    servers = {server.address: server.weight for server in ketama.Continuum(path).servers}
    assert servers.pop("first:1") in range(1000, 1000 + many)
    assert servers == {f"new{i}:1": 2 for i in range(2 * many)}
    assert os.listdir(path.parent) == [path.name]


WORKER = """
import sys, time, ketama
continuum = ketama.Continuum(sys.argv[1], auto_roll=float(sys.argv[2]))
print(len(continuum.servers), flush=True)
while len(continuum.servers) < 4:
    time.sleep(0.001)
print(continuum.shared, flush=True)
"""


@pytest.mark.parametrize("seconds", ["0.5", "3600"])
def test_running_workers_see_an_edit(seconds: str, path: Path) -> None:
    """Workers that follow the file have the new continuum, shared.

    Also those that look at it once an hour: the image that they have says so itself.
    """
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, path, seconds], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "3\n"
    text("add", path, "d:1", "100")
    for worker in workers:
        out, _ = worker.communicate(timeout=PATIENCE)
        assert (out, worker.returncode) == ("True\n", 0)


@contextlib.contextmanager
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
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def complaint_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline().rstrip("\n")


def test_watch(path: Path) -> None:
    """Each change has a line, at once; a wrong file is reported once, and followed on."""
    with watching(path) as process:
        moved = as_json("add", path, "d:1", "100")["diff"]["moved"]
        line = line_of(process)
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d   generation 2   4 servers   "
            rf"moved {100 * moved:.2f} %, collateral \d\.\d\d %   \+d:1",
            line,
        )
        good = path.read_text()
        wrong = path.with_name("wrong")
        wrong.write_text("a:1\n")
        wrong.rename(path)
        reason = "no weight after address \"a:1\": write 'address weight'"
        reason += "; keeping the last valid version"
        assert complaint_of(process) == f"ketama: {path}:1: {reason}"
        path.with_name("good").write_text(good.replace("a:1", "e:1"))
        path.with_name("good").rename(path)
        assert line_of(process).endswith("   +e:1   -a:1")
        path.unlink()
        missing = f"ketama: {path}: No such file or directory; keeping the last valid version"
        assert complaint_of(process) == missing
        time.sleep(0.5)  # in which it could be said once more
        path.with_name("good").write_text(good)
        path.with_name("good").rename(path)
        assert line_of(process).endswith("   +a:1   -e:1")


def test_watch_as_json(path: Path) -> None:
    """A line of JSON for each change."""
    with watching(path, "--json") as process:
        text("remove", path, "a:1")
        found = fits_schema("watch", json.loads(line_of(process)))
        assert (found["file"], found["servers"], found["generation"]) == (str(path), 2, 2)
        assert found["diff"]["removed"] == ["a:1"]


def test_watch_executes(path: Path, tmp_path: Path) -> None:
    """The command is run for each change, knows of it, and may fail, or not read its input."""
    told = tmp_path / "told"
    script = tmp_path / "script"
    script.write_text(
        f'echo "$KETAMA_FILE $KETAMA_GENERATION $KETAMA_MOVED" >>{told}\ncat >>{told}\n'
        '[ "$KETAMA_GENERATION" = 2 ]\n'
    )
    with watching(path, "--exec", f"sh {script}") as process:
        moved = as_json("remove", path, "a:1")["diff"]["moved"]
        wait_for(lambda: told.exists() and told.read_text().count("\n") == 2)
        first, second = told.read_text().splitlines()
        assert first == f"{path} 2 {moved:.6f}"
        fits_schema("watch", json.loads(second))
        assert line_of(process).endswith("-a:1")
        script.write_text("exit 7\n")
        text("add", path, "e:1", "100")
        assert complaint_of(process) == f"ketama: command exited with status 7: sh {script}"
        assert line_of(process).endswith("+e:1")
        path.chmod(0o600)  # is a change, and moves nothing
        assert line_of(process).endswith("   moved 0.00 %")
        script.write_text("exit 0\n")
        text("add", path, "f:1", "100")
        assert line_of(process).endswith("+f:1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for images with nothing in it yet."""
    base = tmp_path / "shm"
    base.mkdir()
    monkeypatch.setenv("KETAMA_SHM_DIR", str(base))
    return base


def test_images(folder: Path, path: Path) -> None:
    """Images are listed with file and state; orphans are removed, and nothing else."""
    assert text("images") == "no images: this user has published none\n"
    none: dict[str, Any] = {"folder": None, "images": [], "removed": []}
    assert fits_schema("images", as_json("images")) == none

    gone, stale = path.with_name("gone"), path.with_name("stale")
    for file in (path, gone, stale):
        file.write_text("a:1 5\n")
        ketama.Continuum(file)
    ketama.Continuum(EXAMPLE)
    gone.unlink()
    stale.write_text("a:1 6\n")
    shown = text("images")
    rows = {row[0]: row[1:] for row in map(str.split, shown.splitlines()) if len(row) > 6}
    assert rows[str(path)][:3] == ["current", "1", "1"]
    assert rows[str(stale)][0] == "stale"
    assert rows[str(gone)][0] == "orphan"
    assert rows[str(path)][-1] == images.image(path).name
    size = sum(image.size for image in all_images()[1])
    assert shown.endswith(f"\n\n{images.folder()}: 4 images, {size / 1024:,.0f} KiB\n")

    found = fits_schema("images", as_json("images"))
    assert found["folder"] == str(images.folder())
    assert [row["path"] for row in found["images"]] == sorted(
        map(str, (path, gone, stale, EXAMPLE))
    )
    removed = fits_schema("images", as_json("images", "--purge"))
    assert [row["path"] for row in removed["removed"]] == [str(gone)]
    assert len(removed["images"]) == 3
    assert not images.image(gone).exists()
    assert text("images", "--purge").count("\n") == 6


def test_purging_tells_what(folder: Path, path: Path) -> None:
    """What is removed is said, with the server file that it was of."""
    ketama.Continuum(path)
    left = images.image(path).with_name(images.image(path).name + "-12-ab")
    left.write_bytes(b"begun")
    os.utime(left, (1e9, 1e9))
    path.unlink()
    shown = text("images", "--purge")
    assert shown == (
        f"removed {left}\n"
        f"removed {images.image(path)} ({path})\n"
        f"{images.folder()}: 0 images, 0 KiB\n"
    )
    assert os.listdir(images.folder()) == []


def test_an_orphan_that_cannot_be_removed(folder: Path, path: Path) -> None:
    """What can't be removed is said, and the others go."""
    ketama.Continuum(path)
    strange = images.folder() / (32 * "0" + "-1.2")
    strange.mkdir()
    path.unlink()
    done = run("images", "--purge")
    assert done.returncode == 3
    assert done.stderr.decode() == f"ketama: {strange}: Is a directory\n"
    assert f"removed {images.image(path)} ({path})\n" in done.stdout.decode()
    assert set(os.listdir(images.folder())) <= {strange.name, f"{strange.name}.lock"}


def test_an_unreadable_folder(folder: Path) -> None:
    """A folder that is not this user's alone is nobody's: there is nothing to list."""
    strange = images.folder()
    strange.mkdir(mode=0o755)
    (strange / (32 * "0" + "-1.2")).write_bytes(b"x")
    assert text("images", "--purge") == "no images: this user has published none\n"
    assert len(os.listdir(strange)) == 1
