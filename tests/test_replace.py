"""Replacing the server file that was edited: all of it or nothing, and no edit lost."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from needs import need, need_root, need_strace
from others import open_to_all
from pool import TEXT, edited, left_over, lock_of, remove_first
from threads import forks_beside_threads

import ketama
from ketama.admin.replace import Target


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ketama.servers"
    path.write_bytes(TEXT.encode())
    return path


def test_mode_owner_and_attributes(path: Path) -> None:
    """The new file has the old one's mode, owner, group and extended attributes."""
    need_root()
    os.chown(path, 12345, 54321)
    path.chmod(0o2640)
    os.setxattr(path, "user.note", b"of the shop")
    inode = path.stat().st_ino
    with ketama.edit(path) as servers:
        servers.set_weight("10.0.1.1:11211", 5)
    status = path.stat()
    assert status.st_ino != inode
    assert (status.st_uid, status.st_gid) == (12345, 54321)
    assert stat.S_IMODE(status.st_mode) == 0o2640
    assert os.getxattr(path, "user.note") == b"of the shop"


def as_nobody(path: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import os, sys, ketama; ketama.edit\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"with ketama.edit({str(path)!r}) as servers: servers.set_weight('10.0.1.1:11211', 5)\n"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True)


def test_without_permission(path: Path) -> None:
    """Who may not write the file, or its folder, or keep its owner, changes nothing."""
    need_root()
    open_to_all(path.parent)
    path.chmod(0o644)
    assert f"Permission denied: '{path}'" in as_nobody(path).stderr
    path.parent.chmod(0o777)  # where another file of that name could be made
    assert f"Permission denied: '{path}'" in as_nobody(path).stderr
    path.parent.chmod(0o755)
    path.chmod(0o666)
    reason = (
        f"cannot create a temporary file in the same directory: Permission denied: '{path}'"
    )
    assert reason in as_nobody(path).stderr
    path.parent.chmod(0o777)
    assert (
        f"cannot keep its owner 0:0: Operation not permitted: '{path}'"
        in as_nobody(path).stderr
    )
    assert edited(path) == TEXT
    os.chown(path, 65534, 65534)
    path.parent.chmod(0o733)  # which can't be opened to be synced
    done = as_nobody(path)
    path.parent.chmod(0o755)
    assert (done.returncode, done.stderr) == (0, "")
    assert "10.0.1.1:11211     5\t \n" in edited(path)


def test_a_symbolic_link(path: Path) -> None:
    """A symbolic link stays one; the file that it leads to is replaced."""
    folder = path.parent / "links"
    folder.mkdir()
    link = folder / "link"
    link.symlink_to("../hop")
    (path.parent / "hop").symlink_to(path)
    with ketama.edit(link) as servers:
        servers.remove("10.0.1.1:11211")
    assert link.is_symlink()
    assert (path.parent / "hop").is_symlink()
    assert not path.is_symlink()
    assert os.listdir(folder) == ["link"]
    assert "10.0.1.1:" not in edited(path)


def test_a_link_that_is_pointed_elsewhere(path: Path) -> None:
    """Where a link leads to another file meanwhile, that is a change by somebody else."""
    other = path.with_name("other")
    other.write_text("a:1 1\n")
    link = path.with_name("link")
    link.symlink_to(path)

    def switch() -> None:
        link.unlink()
        link.symlink_to(other)

    error = pytest.raises(ketama.KetamaOSError, match="another program has changed the file")
    with error, ketama.edit(link) as servers:
        servers.remove("10.0.1.1:11211")
        switch()
    assert edited(path) == TEXT
    assert other.read_text() == "a:1 1\n"


def test_a_file_that_is_moved_away(path: Path) -> None:
    """What has come to the place of the file is kept, even where a link follows the file."""
    link, aside = path.with_name("link"), path.with_name("aside")
    link.symlink_to(path)

    def move() -> None:
        path.rename(aside)
        path.write_text("theirs:1 1\n")
        link.unlink()
        link.symlink_to(aside)

    error = pytest.raises(ketama.KetamaOSError, match="another program has changed the file")
    with error, ketama.edit(link) as servers:
        servers.remove("10.0.1.1:11211")
        move()
    assert path.read_text() == "theirs:1 1\n"
    assert edited(aside) == TEXT


def test_a_folder_that_is_pointed_elsewhere(tmp_path: Path) -> None:
    """A file is not created where its path does not lead any more."""
    folder = tmp_path / "folder"
    folder.mkdir()

    def move() -> None:
        folder.rename(tmp_path / "aside")
        folder.mkdir()

    error = pytest.raises(ketama.KetamaOSError, match="another program has changed the file")
    with error, ketama.edit(folder / "ketama.servers", create=True) as servers:
        servers.add("a:1", 1)
        move()
    assert os.listdir(folder) == os.listdir(tmp_path / "aside") == []


def test_a_working_folder_that_changes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is the one that it was when the edit began."""
    monkeypatch.chdir(path.parent)
    with ketama.edit(path.name) as servers:
        servers.remove("10.0.1.1:11211")
        monkeypatch.chdir("/")
    assert servers.published
    assert "10.0.1.1:" not in edited(path)


def test_access_lists(path: Path) -> None:
    """The new file has the access list of the old one, and not that of its folder."""
    setfacl, getfacl = need("setfacl"), need("getfacl")
    path.chmod(0o640)
    subprocess.run([setfacl, "-d", "-m", "u:12345:rwx", path.parent], check=True)
    remove_first(path)
    assert "12345" not in subprocess.run([getfacl, path], capture_output=True, text=True).stdout
    subprocess.run([setfacl, "-m", "u:54321:r", path], check=True)
    with ketama.edit(path) as servers:
        servers.set_weight("10.0.1.4:11211", 5)
    shown = subprocess.run([getfacl, path], capture_output=True, text=True).stdout
    assert "user:54321:r--" in shown
    assert "12345" not in shown


def test_it_is_synced(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The new file is on the disk before it has the name, and then the name is."""
    log = tmp_path_factory.mktemp("strace") / "log"
    code = f"import ketama\nwith ketama.edit({str(path)!r}) as s: s.remove('10.0.1.1:11211')"
    calls = "trace=fsync,rename,renameat,renameat2"
    command = [need_strace(), "-y", "-o", str(log), "-e", calls, sys.executable, "-c", code]
    subprocess.run(command, check=True, env={**os.environ, "KETAMA_SHM_DIR": "/proc"})
    first, second, third = [
        line for line in log.read_text().splitlines() if str(path.parent) in line
    ]
    assert re.match(rf"fsync\(\d+<{path.parent}/\.ketama-edit-ketama\.servers>", first)
    assert second.startswith("rename")
    assert re.match(rf"fsync\(\d+<{path.parent}>", third)


def test_what_is_in_the_place_of_the_lock(path: Path) -> None:
    """What nobody has locked there is removed; what can't be removed is named in the error."""
    lock, other = lock_of(path), path.with_name("other")
    other.write_text("stays")
    lock.touch()
    remove_first(path)
    assert left_over(path) == []
    lock.hardlink_to(other)
    with ketama.edit(path) as servers:
        servers.remove("10.0.1.22:11211")
    assert left_over(path) == []
    assert other.read_text() == "stays"
    lock.mkdir()
    with pytest.raises(ketama.KetamaOSError, match=f"cannot remove {lock}: Is a directory"):
        remove_first(path)
    lock.rmdir()
    lock.symlink_to(other)
    with pytest.raises(ketama.KetamaOSError, match=f"cannot remove {lock}: "):
        remove_first(path)
    assert other.read_text() == "stays"


def test_an_interrupt(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt while the new file is written leaves nothing behind."""

    def interrupted(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ketama.admin.replace.os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt), ketama.edit(path) as servers:
        servers.remove("10.0.1.1:11211")
    assert edited(path) == TEXT


def test_a_file_that_was_replaced_before_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit whose file is replaced before it has the lock edits the new file."""
    real = Target.lock

    def replaced_first(target: Target) -> bool:
        if "10.0.1.1:" in path.read_text():
            path.with_name("new").write_text("a:1 1\nb:1 1\n")
            path.with_name("new").rename(path)
        return real(target)

    monkeypatch.setattr(Target, "lock", replaced_first)
    with ketama.edit(path) as servers:
        servers.remove("a:1")
    assert path.read_text() == "b:1 1\n"


def test_waiting_for_many(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to wait is for one other edit: while they go on, one waits on."""
    now, pauses = 0.0, 0
    other = ExitStack()

    def begin() -> None:
        servers = other.enter_context(ketama.edit(path))
        servers.set_weight("10.0.1.4:11211", pauses + 1)

    def another_edits(_seconds: float) -> None:
        """Pass 0.3 seconds, in which the lock goes from one editor to the next."""
        nonlocal now, pauses
        now, pauses = now + 0.3, pauses + 1
        other.close()
        if pauses < 8:
            begin()

    begin()
    monkeypatch.setattr("ketama.admin.replace.time.monotonic", lambda: now)
    monkeypatch.setattr("ketama.admin.replace.time.sleep", another_edits)
    remove_first(path, timeout=0.5)
    assert pauses == 8
    assert "10.0.1.1:" not in edited(path)


@forks_beside_threads
def test_a_child_that_is_forked_meanwhile(path: Path) -> None:
    """A child that outlives the edit does not keep the lock."""
    with ketama.edit(path):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
    try:
        remove_first(path, timeout=1)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert "10.0.1.1:" not in edited(path)


FORK = """
import os, sys, ketama
path, how = sys.argv[1:]
with ketama.edit(path) as servers:
    servers.remove("10.0.1.1:11211")
    child = os.fork()
    if child == 0 and how == "raises":
        sys.exit(1)
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        try:
            with ketama.edit(path, timeout=0):
                sys.exit("the child has unlocked it")
        except ketama.KetamaOSError:
            pass
"""


@pytest.mark.parametrize("how", ["raises", "goes on"])
def test_a_child_that_leaves_the_block(how: str, path: Path) -> None:
    """Lock and edit are the parent's: a forked child neither ends nor carries them out."""
    command = [sys.executable, "-c", FORK, str(path), how]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    belongs = "RuntimeError: the edit belongs to the parent process"
    assert (belongs in done.stderr) == (how == "goes on")
    assert "10.0.1.1:" not in edited(path)


def test_missing_and_no_files(path: Path) -> None:
    """There is nothing to edit in what is missing, a folder, a FIFO, or a dangling link."""
    (path.parent / "dangling").symlink_to("nowhere")
    os.mkfifo(path.parent / "fifo")
    for name, number in (
        ("missing", errno.ENOENT),
        ("dangling", errno.ENOENT),
        ("", errno.EISDIR),
        ("fifo", errno.EINVAL),
        ("/dev/null", errno.EINVAL),
    ):
        with pytest.raises(ketama.KetamaOSError) as caught, ketama.edit(path.parent / name):
            pytest.fail("the block must not run")
        assert caught.value.errno == number
        assert caught.value.filename == str(path.parent / name)


def test_a_relative_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may be bytes, and relative, also a single name."""
    monkeypatch.chdir(path.parent)
    with ketama.edit(b"ketama.servers") as servers:
        servers.remove("10.0.1.1:11211")
    assert servers.published
    assert "10.0.1.1:" not in edited(path)


def test_a_full_disk(tmpfs: Path) -> None:
    """On a full disk the file stays whole, and nothing is left behind."""
    path = tmpfs / "ketama.servers"
    path.write_text("".join(f"10.0.{i // 250}.{i % 250}:11211 600\n" for i in range(1000)))
    text = path.read_bytes()
    with pytest.raises(OSError, match="space"):
        (tmpfs / "filler").write_bytes(bytes(2**20))
    with pytest.raises(ketama.KetamaOSError) as caught, ketama.edit(path) as servers:
        servers.add("10.1.0.0:11211", 600)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert text == path.read_bytes()
    assert {"ketama.servers", "filler"} == set(os.listdir(tmpfs))
    (tmpfs / "filler").unlink()
    with ketama.edit(path) as servers:
        servers.add("10.1.0.0:11211", 600)
    assert text + b"10.1.0.0:11211 600\n" == path.read_bytes()


@pytest.mark.parametrize("how", ["in place", "by rename", "same size and time"])
def test_an_editor_without_the_lock(how: str, path: Path) -> None:
    """What somebody else writes in the meantime is not overwritten."""
    theirs = TEXT.replace("10.0.1.4:11211     600", "10.0.1.4:11211     700")

    def change() -> None:
        status = path.stat()
        if how == "by rename":
            other = path.parent / "other"
            other.write_bytes(theirs.encode())
            other.rename(path)
        else:
            path.write_bytes(theirs.encode())
        if how == "same size and time":
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    error = pytest.raises(ketama.KetamaOSError, match="another program has changed the file")
    with error, ketama.edit(path) as servers:
        servers.remove("10.0.1.1:11211")
        change()
    assert theirs == edited(path)


def test_a_lock_that_is_held(path: Path) -> None:
    """An edit that can't have the lock in time says so, and leaves the file unchanged."""
    with ketama.edit(path):
        reason = f"another edit has held {lock_of(path)} for 0.05 seconds"
        with (
            pytest.raises(ketama.KetamaOSError, match=re.escape(reason)),
            ketama.edit(path, timeout=0.05),
        ):
            pytest.fail("the block must not run")
        with ketama.edit(path, dry_run=True) as servers:  # waits for nobody
            servers.remove("10.0.1.1:11211")
        waiting = threading.Thread(target=remove_first, args=(path,))
        waiting.start()
        time.sleep(0.05)
        assert path.read_bytes() == TEXT.encode()
    waiting.join()
    assert "10.0.1.1:" not in edited(path)


def test_threads_lose_nothing(tmp_path: Path) -> None:
    """Threads of one process exclude each other as processes do."""
    path = tmp_path / "ketama.servers"
    path.write_text("first:1 1\n")

    def add(name: str) -> None:
        for i in range(10):
            with ketama.edit(path) as servers:
                servers.add(f"{name}{i}:1", 1)

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ketama.Continuum(path).servers) == 41
    assert left_over(path) == []


def test_a_killed_editor(path: Path) -> None:
    """Who is killed in an edit leaves the file as it was, and no lock."""
    code = (
        "import os, signal, ketama\n"
        f"with ketama.edit({str(path)!r}) as servers:\n"
        "    servers.remove('10.0.1.1:11211'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert path.read_bytes() == TEXT.encode()
    assert left_over(path) == [lock_of(path).name]
    remove_first(path, timeout=0)
    assert "10.0.1.1:" not in edited(path)
