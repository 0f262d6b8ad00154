"""Editing among other users, failing system calls, and exceptions that come at any time."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from images import descriptors
from needs import need_root, need_strace
from pool import TEXT, edited, left_over, lock_of, remove_first

import ketama

NOBODY = 65534
# Modules come first: another user may not be able to read them.
AS_NOBODY = f"""
import fcntl, os, random, signal, sys, time, ketama
ketama.edit
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can enter, which pytest takes away from its own at any time."""
    folder = Path(tempfile.mkdtemp(prefix="ketama-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def path(folder: Path) -> Path:
    path = folder / "ketama.servers"
    path.write_bytes(TEXT.encode())
    return path


@contextmanager
def nobody(code: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A process of another user, which has printed a line, and is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", AS_NOBODY + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


SWAP = """
folder, aside, target = sys.argv[1:]

def to_link():
    os.rename(folder, aside)
    os.symlink(target, folder)

def back():
    os.unlink(folder)
    os.rename(aside, folder)

print("ready", flush=True)
for line in sys.stdin:
    to_link()
    print("go on", flush=True)
    until = time.monotonic() + 0.02
    while not any(name.startswith(".ketama-edit-") for name in os.listdir(target)):
        if time.monotonic() > until:
            break
    back()
    time.sleep(random.uniform(0, 0.03))
    to_link()
    time.sleep(0.01)
    back()
    print("done", flush=True)
"""


def test_a_folder_that_is_swapped_for_a_link(folder: Path) -> None:
    """The owner of a folder can't lead root's edit to put a file into another folder.

    During the edit he swaps the folder for a link to the other one: before the new text is
    written, back before the path is checked, and once more before the rename.
    """
    need_root()
    theirs, ours = folder / "theirs", folder / "ours"
    pool = theirs / "pool"
    path = pool / "ketama.servers"
    for each in (theirs, ours, pool):
        each.mkdir()
    path.write_text("planted:1 1\n" + 20_000 * f"# {70 * 'x'}\n")  # takes a while to compare
    for each in (theirs, pool, path):
        os.chown(each, NOBODY, NOBODY)
    with nobody(SWAP, pool, theirs / "aside", ours) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        for number in range(100):
            with suppress(ketama.KetamaOSError), ketama.edit(path) as servers:
                servers.add(f"root:{number + 1}", 1)
                other.stdin.write("now\n")
                other.stdin.flush()
                assert other.stdout.readline() == "go on\n"
            assert other.stdout.readline() == "done\n"
            assert os.listdir(ours) == []
            assert os.listdir(pool) == [path.name]
            assert path.stat().st_uid == NOBODY


SWITCH = """
folder, aside, target = sys.argv[1:]
print("ready", flush=True)
while True:
    os.rename(folder, aside); os.symlink(target, folder)
    os.unlink(folder); os.rename(aside, folder)
"""


def test_a_file_that_is_created_in_a_folder_of_others(folder: Path) -> None:
    """A file is created with the text of the edit, wherever its folder leads."""
    need_root()
    theirs, ours = folder / "theirs", folder / "ours"
    pool = theirs / "pool"
    for each in (theirs, ours, pool):
        each.mkdir()
        os.chown(each, NOBODY, NOBODY)
    os.chown(ours, 0, 0)
    (ours / "present").write_text("stays:1 1\n")
    with nobody(SWITCH, pool, theirs / "aside", ours):
        for number in range(100):
            name = f"{number}.servers"
            with (
                suppress(ketama.KetamaOSError),
                ketama.edit(pool / name, create=True) as servers,
            ):
                servers.add("root:1", 1)
            assert left_over(ours / name) == []
    for file in ours.iterdir():
        assert file.read_text() == ("stays" if file.name == "present" else "root") + ":1 1\n"


def test_a_reader_holds_up_no_edit(path: Path) -> None:
    """A user who may only read the file can lock it, but not the lock of an edit."""
    need_root()
    path.chmod(0o644)
    hold = """
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_EX)
print("ready", flush=True)
signal.pause()
"""
    with nobody(hold, path):
        remove_first(path, timeout=0)
    assert "10.0.1.1:" not in edited(path)
    opened = "open(sys.argv[1])"
    with ketama.edit(path):
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY + opened, str(lock_of(path))], capture_output=True
        )
        assert b"PermissionError" in done.stderr


def test_whose_the_lock_is(path: Path) -> None:
    """Root's lock belongs to the file's owner, who can remove it if it is left over."""
    need_root()
    os.chown(path, NOBODY, NOBODY)
    path.parent.chmod(0o777)
    with ketama.edit(path):
        status = lock_of(path).stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (
        NOBODY,
        NOBODY,
        0o600,
    )
    lock_of(path).touch(mode=0o600)
    os.chown(lock_of(path), NOBODY, NOBODY)
    code = "with ketama.edit(sys.argv[1], timeout=0) as s: s.add('x:1', 1)"
    command = [sys.executable, "-c", AS_NOBODY + code, str(path)]
    subprocess.run(command, check=True)
    assert "x:1" in edited(path)


EDIT = "import ketama\nwith ketama.edit({!r}) as servers: servers.remove('10.0.1.1:11211')"


def traced(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run Python code under strace."""
    command = [need_strace(), *options, sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True)


STAT = "newfstatat,fstat"  # which of them is called depends on the C library


@pytest.mark.parametrize("call", ["flock", "close", "fsync", "openat", STAT])
def test_what_fails_after_the_rename(
    call: str, path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What fails after the edit has taken effect is not reported as a failed edit."""
    log = tmp_path_factory.mktemp("strace") / "log"
    code = EDIT.format(str(path))
    subprocess.run([sys.executable, "-c", code], check=True)  # which may compile modules
    path.write_bytes(TEXT.encode())
    traced(code, "-o", str(log), "-e", f"trace={call},rename,renameat,renameat2")
    calls = log.read_text().splitlines()
    path.write_bytes(TEXT.encode())
    # Calls are the same in each run, so it is known which are those after the rename. strace
    # counts each system call by itself.
    options = ["-e", f"trace={call},rename,renameat,renameat2"]
    for name in call.split(","):
        before = sum(line.startswith(f"{name}(") for line in calls[: renamed_at(calls)])
        options += ["-e", f"inject={name}:error=EIO:when={before + 1}+"]
    done = traced(code, "-o", str(log), *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "10.0.1.1:" not in edited(path)
    calls = log.read_text().splitlines()
    injected = [i for i, line in enumerate(calls) if "(INJECTED)" in line]
    assert injected
    assert injected[0] > renamed_at(calls)


def renamed_at(calls: list[str]) -> int:
    """Return the index of the call that replaces the server file."""
    return next(i for i, line in enumerate(calls) if re.search("rename.*[.]ketama-edit-", line))


FORK = """
import os, signal, sys, ketama
with ketama.edit({path!r}):
    child = os.fork()
    if child == 0:
        signal.pause()
try:
    with ketama.edit({path!r}, timeout=0) as servers:
        servers.remove("10.0.1.1:11211")
finally:
    os.kill(child, signal.SIGKILL)
"""


def test_a_lock_that_cannot_be_removed(path: Path) -> None:
    """The next edit removes it, even while a child that was forked in the edit lives on."""
    code = FORK.format(path=str(path))
    done = traced(code, "-o", "/dev/null", "-e", "inject=unlinkat:error=EIO:when=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "10.0.1.1:" not in edited(path)


def test_a_link_that_cannot_be_read(path: Path) -> None:
    """Where a system call on a symbolic link fails, the edit does; the link stays one."""
    link = path.with_name("link")
    link.symlink_to(path.name)
    for calls in ("lstat,newfstatat,statx", "readlink,readlinkat"):
        inject = f"inject={calls}:error=EIO:when=1"
        done = traced(EDIT.format(str(link)), "-o", "/dev/null", f"-P{link}", "-e", inject)
        assert f"KetamaOSError: [Errno {errno.EIO}]" in done.stderr
        assert link.is_symlink()
        assert edited(path) == TEXT


class Interrupted(BaseException):
    """What a signal handler raises."""


class Interrupter:
    """Raises an exception before a certain opcode that runs in an edit."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Trace a frame."""
        name = frame.f_globals.get("__name__", "")
        if not name.startswith("ketama.admin") and name != "contextlib":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.count += 1
            if self.count == self.at:
                raise Interrupted
        return self

    def run(self, path: Path) -> bool:
        """Edit the file; return whether that was interrupted."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            with ketama.edit(path, timeout=0) as servers:
                servers.set_weight("10.0.1.1:11211", 1000 + self.at)
        except Interrupted:
            return True
        finally:
            sys.settrace(before)
        return False


def test_an_exception_before_each_opcode(path: Path) -> None:
    """An exception at any moment leaves no descriptor, lock or file, and no half of an edit."""
    assert not Interrupter(0).run(path)
    open_before, at, interrupted = descriptors(), 0, True
    while interrupted:
        at += 1
        before = path.read_text()
        interrupted = Interrupter(at).run(path)
        after = before.replace(f" {1000 + at - 1}\t", f" {1000 + at}\t")
        assert path.read_text() in ((before, after) if interrupted else (after,))
        assert left_over(path) == []
        assert descriptors() == open_before
        path.write_text(after)
    assert at > 500


def test_an_exception_that_is_kept(two: Path) -> None:
    """An exception that somebody holds does not hold the lock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fchown", refuse)
        os.chown(two, 65534, 65534)
        with pytest.raises(ketama.KetamaOSError) as kept, ketama.edit(two):
            pass
    assert "cannot keep its owner" in str(kept.value)
    assert os.listdir(two.parent) == [two.name]
    with ketama.edit(two, timeout=0) as editing:
        editing.add("c:1", 1)


def refuse(*_: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
