"""What the command changes: add, remove, weight, apply; and what shows it: images, watch."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import pwd
import re
import shutil
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
    complaint_of,
    fits_schema,
    line_of,
    measured,
    refusal,
    run,
    text,
    watching,
)
from needs import need_root
from waiting import PATIENCE, wait_for

import ketama
from ketama.admin.images import image_of
from ketama.admin.images import images as all_images

# What an edit ends with.
PUBLISHED = (
    f"written and published for user {pwd.getpwuid(os.geteuid()).pw_name}; "
    "processes of other users build their own\n"
)


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
    assert shown == f"{path}: add d:1 (weight 150)\n{expected}\n{PUBLISHED}"
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
    change = {
        "server": "d:1", "server_before": None, "weight_before": None, "weight": 7,
        "name_before": None, "name": None,
    }  # fmt: skip
    assert found | {"diff": None} == {
        "file": str(path), "action": "add", **change, "changes": [change],
        "dry_run": False, "written": True, "published": True, "version": None, "diff": None,
            "warnings": [],
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
    assert run("remove", "-n", "--max-moved", "1%", path, "a:1").returncode == 1


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
    present = "b:1 is already present (weight 100): use 'ketama weight' to change it"
    assert said == f"ketama: {path}:3: {present}"
    said = refusal(1, "weight", path, "x\x1b[2J:1", "5")
    assert said == f"ketama: {path}: server 'x\\x1b[2J:1' not found"
    one = path.with_name("one")
    one.write_text("a:1 1\n")
    said = refusal(1, "remove", one, "a:1")
    assert said == f"ketama: {one}: no server would be left"
    assert text_before == path.read_bytes()


def test_what_is_so_already(path: Path) -> None:
    """An edit that was made before changes nothing, and is no error."""
    before = written(path)
    for arguments, outcome in (
        (["add", "a:1", "100"], "already present (weight 100)"),
        (["add", "a:1"], "already present (weight 100)"),
        (["weight", "a:1", "100"], "weight is already 100"),
        (["remove", "x:1"], "not present"),
    ):
        action, *rest = arguments
        shown = text(action, path, *rest)
        assert shown.endswith(f"\nunchanged: {outcome}\n")
        found = fits_schema("edit", as_json(action, path, *rest))
        assert (found["written"], found["published"]) == (False, False)
        assert found["weight_before"] == found["weight"]
    assert before == written(path)
    assert os.listdir(path.parent) == [path.name]


def test_several_servers(path: Path) -> None:
    """Several servers are one edit, of which all is done or nothing."""
    shown = text("add", path, "d:1", "150", "a:1", "100", "[::1]:1", "7", "/run/a=b", "8")
    assert path.read_text().endswith("c:1   100\nd:1   150\n[::1]:1 7\n/run/a=b 8\n")
    assert f"{path}: add d:1 (weight 150)\n{path}: add [::1]:1 (weight 7)\n" in shown
    assert "\nadded       d:1, [::1]:1, /run/a=b\n" in shown
    unchanged = "unchanged: a:1: already present (weight 100)\n"
    assert shown.endswith(f"\n\n{unchanged}{PUBLISHED}")
    found = fits_schema("edit", as_json("weight", path, "a:1", "5", "b:1", "6"))
    assert (found["server"], found["weight_before"], found["weight"]) == (None, None, None)
    assert [tuple(change.values()) for change in found["changes"]] == [
        ("a:1", "a:1", 100, 5, None, None), ("b:1", "b:1", 100, 6, None, None)
    ]  # fmt: skip
    text("remove", path, "d:1", "x:1", "[::1]:1", "/run/a=b")
    assert path.read_text() == "# the pool\na:1   5\nb:1   6\nc:1   100\n"
    refusal(1, "add", path, "e:1", "5", "a:1", "100")
    refusal(1, "weight", path, "b:1", "5", "x:1", "100")
    assert path.read_text() == "# the pool\na:1   5\nb:1   6\nc:1   100\n"
    said = refusal(2, "add", path, "d:1", "e:1", "5")
    assert said.startswith("ketama add: missing argument WEIGHT after '5'; ")
    said = refusal(2, "weight", path, "a:1", "b:1")
    assert said.startswith("ketama weight: invalid weight 'b:1': must be")


def test_a_limit_of_what_moves(path: Path) -> None:
    """An edit that would move more of the keys is refused with 1."""
    before = written(path)
    said = refusal(1, "add", "--max-moved", "20%", path, "d:1", "1000000")
    assert re.fullmatch(
        rf"ketama: {path}: would move \d+\.\d\d % of the keys, more than the limit of 20 %; "
        "nothing was written",
        said,
    )
    new = path.with_name("new")
    new.write_text("x:1 1\n")
    refusal(1, "apply", "--max-moved", "99.5 %", new, path)
    refusal(1, "remove", "--max-moved", "0%", path, "a:1")
    refusal(1, "weight", "--max-moved", "1%", path, "a:1", "200")
    assert before == written(path)
    for wrong in ("20", "0.2", "101%", "-1%", "%", "nan%"):
        said = refusal(2, "add", f"--max-moved={wrong}", path, "d:1", "5")
        assert said.startswith("ketama add: invalid percentage")
    text("add", "--max-moved", "50%", path, "d:1", "100")


@contextlib.contextmanager
def at_a_terminal(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command with a terminal for standard input and standard error."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=measured(),
    ) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


@pytest.mark.parametrize(
    ("answer", "code"), [("y", 0), ("YES", 0), ("n", 1), ("", 1), ("what?", 1)]
)
def test_a_question(answer: str, code: int, path: Path) -> None:
    """At a terminal, what would move more than half of the keys has to be confirmed."""
    new = path.with_name("new")
    new.write_text("x:1 1\n")
    before = path.read_text()
    with at_a_terminal("apply", new, path) as (process, terminal):
        question = b""
        while not question.endswith(b"[y/N] "):
            question += os.read(terminal, 1000)
        asked = f"{path}: 100.00 % of the keys would move. Write it? [y/N] "
        assert question.decode() == asked
        with ketama.edit(path, timeout=0):  # which the question does not hold up
            pass
        os.write(terminal, answer.encode() + b"\n")
        shown, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == code
    assert path.read_text() == (before if code else "x:1 1\n")
    assert shown.decode().endswith(PUBLISHED) == (code == 0)


@pytest.mark.parametrize("option", ["--yes", "--max-moved=100%", "--dry-run", "less"])
def test_no_question(option: str, path: Path) -> None:
    """Nobody is asked who has said so, who writes nothing, or moves less than half."""
    new = path.with_name("new")
    new.write_text("x:1 1\n" if option != "less" else path.read_text() + "d:1 10\n")
    options = [] if option == "less" else [option]
    with at_a_terminal("apply", *options, new, path) as (process, terminal):
        os.write(terminal, b"n\n")  # if it did ask
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0


def test_a_change_after_the_question(path: Path) -> None:
    """No more may move than was agreed to, whatever has been edited meanwhile."""
    path.write_text("a:1 100\n")
    with at_a_terminal("add", path, "big:1", "300") as (process, terminal):
        question = b""
        while not question.endswith(b"[y/N] "):
            question += os.read(terminal, 1000)
        path.write_text("a:1 1\n")
        os.write(terminal, b"y\n")
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
    assert path.read_text() == "a:1 1\n"


def test_apply(path: Path) -> None:
    """A whole file replaces another: it is checked, compared, written and published."""
    path.chmod(0o640)
    old, new = path.with_name("old"), path.with_name("new")
    shutil.copy(path, old)
    new.write_text("# other\nb:1 100\na:1 200 # more\nd:99999 50\n")
    before = written(path)
    dry = text("apply", "--dry-run", new, path)
    assert before == written(path)
    shown = text("apply", new, path)
    port = f"{new}:4: warning: invalid port '99999': must be 1-65535 [port]\n"
    expected = f"{path}: replace with {new}\n{port}{text('diff', old, new)}\n"
    assert shown == expected + PUBLISHED
    assert dry == f"{expected}dry run: nothing was written\n"
    assert path.read_bytes() == new.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o640
    image = image_of(str(path))
    assert image is not None
    assert (image.state, image.servers) == ("current", 3)
    assert text("apply", new, path).endswith("\nunchanged: the text is the same\n")
    found = fits_schema("edit", as_json("apply", "-", path, stdin=old.read_bytes()))
    weights = [
        (change["server"], change["weight_before"], change["weight"])
        for change in found["changes"]
    ]
    assert weights == [("a:1", 200, 100), ("d:99999", 50, None), ("c:1", None, 100)]
    assert (found["server"], found["written"], found["warnings"]) == (None, True, [])
    assert path.read_bytes() == old.read_bytes()


def test_apply_what_is_invalid(path: Path) -> None:
    """The lines in errors are those of the new file, whose name they have."""
    before = written(path)
    said = refusal(1, "apply", "-", path, stdin=b"a:1 5\nb:1\n")
    assert said == "ketama: <stdin>:2: no weight after address \"b:1\": write 'address weight'"
    said = refusal(1, "apply", "-", path)
    assert said == "ketama: <stdin>: no servers: write one per line, 'address weight'"
    new = path.with_name("new")
    new.write_text("a:1 5 x\nb:1 5 x\n")
    assert refusal(1, "apply", new, path).startswith(f"ketama: {new}:2: ")
    assert before == written(path)


def test_apply_for_the_first_time(path: Path) -> None:
    """A missing file is created, and an invalid one replaced."""
    first = path.with_name("first.servers")
    assert text("apply", "-n", path, first).endswith("\ndry run: nothing was written\n")
    assert not first.exists()
    found = fits_schema("edit", as_json("apply", "--max-moved=0%", path, first))
    assert (found["written"], found["published"], found["diff"]) == (True, True, None)
    assert first.read_bytes() == path.read_bytes()
    mask = os.umask(0)
    os.umask(mask)
    assert first.stat().st_mode & 0o777 == 0o644 & ~mask
    first.write_text("what\n")
    text("apply", path, first)
    assert first.read_bytes() == path.read_bytes()
    said = refusal(3, "apply", path, path.parent / "nowhere" / "file")
    assert said == f"ketama: {path.parent}/nowhere/file: No such file or directory"


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
        text("weight", path, "a:1", "150")
        assert line_of(process).endswith("   ~a:1")
        text("rename", path, "b:1", "x:1")
        assert line_of(process).endswith("   moved 0.00 %, collateral 0.00 %   b:1->x:1")
        text("rename", path, "x:1", "b:1")
        assert line_of(process).endswith("   x:1->b:1")
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
        assert line_of(process).endswith("   moved 0.00 %, collateral 0.00 %")
        text("rename", path, "b:1", "x:1")  # moves a server, if no key
        assert complaint_of(process) == f"ketama: command exited with status 7: sh {script}"
        assert line_of(process).endswith("   b:1->x:1")
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
    rows = {row[0]: row[1:] for row in map(str.split, shown.splitlines()) if len(row) > 4}
    assert rows[str(path)][:2] == ["current", "1"]
    assert rows[str(stale)][0] == "stale"
    assert rows[str(gone)][0] == "orphan"
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
    strange = images.folder() / (32 * "0" + "-1.3")
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
    (strange / (32 * "0" + "-1.3")).write_bytes(b"x")
    assert text("images", "--purge") == "no images: this user has published none\n"
    assert len(os.listdir(strange)) == 1


OTHER = 54321  # the id of a user who does not exist


def test_images_of_all_users(folder: Path, path: Path) -> None:
    """Root sees what others have published, and that it was not checked."""
    need_root()
    ketama.Continuum(path)
    own = images.image(path)
    theirs = folder / f"libketama-{OTHER}"
    theirs.mkdir(mode=0o700)
    for name, content in ((own.name, own.read_bytes()), (32 * "0" + "-1.3", b"x")):
        (theirs / name).write_bytes(content)
        (theirs / name).chmod(0o600)
        os.chown(theirs / name, OTHER, OTHER)
    os.chown(theirs, OTHER, OTHER)

    assert text("images").endswith(
        f"{own.parent}: 1 image, {len(own.read_bytes()) / 1024:.0f} KiB\n"
    )
    shown = text("images", "--all-users")
    rows = [line.split()[:5] for line in shown.splitlines()]
    assert rows[0] == ["user", "server", "file", "state", "generation"]
    assert rows[1][:4] == ["root", str(path), "current", "1"]
    assert rows[2][:4] == [str(OTHER), 32 * "0" + "-1.3", "unchecked", "?"]
    assert rows[3][:4] == [str(OTHER), str(path), "unchecked", "1"]
    assert shown.splitlines()[-1].startswith("2 users: 3 images, ")
    found = fits_schema("images", as_json("images", "--all-users"))
    assert [row["user"] for row in found["images"]] == [0, OTHER, OTHER]
    assert found["folder"] is None
    path.unlink()
    assert text("images", "--all-users").count("unchecked") == 2  # and no orphan
    assert len(os.listdir(theirs)) == 2


def test_purging_for_others(folder: Path) -> None:
    """Root does not remove what is in the folders of others, and only root may look."""
    said = refusal(2, "images", "--purge", "--all-users")
    assert said.startswith(
        "ketama images: --purge is not for all users: run it as each of them"
    )
    need_root()
    code = (
        "import os, sys; from ketama.cli.app import run\n"
        # Import all there is to import while its files can be read.
        "run(['images', '--json']); run(['images', '--purge', '--all-users'])\n"
        "sys.stdout.flush()\n"
        f"os.setgroups([]); os.setgid({OTHER}); os.setuid({OTHER})\n"
        "sys.exit(run(['images', '--all-users']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == "ketama: --all-users: only root can read other users' folders"
