"""Editing a server file: all of it or nothing, and none lost."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import images
import pytest
from command import ALONE
from needs import need, need_root

import ketama

TEXT = (
    "# the pool of the shop\n"
    "10.0.1.1:11211     600\t \n"
    "\n"
    "  10.0.1.22:11211 \t 300\r\n"
    "# 10.0.1.3:11211   600    is away\n"
    "10.0.1.4:11211     600\n"
    "# the end"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ketama.servers"
    path.write_bytes(TEXT.encode())
    return path


def left_over(path: Path) -> list[str]:
    return [name for name in os.listdir(path.parent) if name.startswith(".")]


def edited(path: Path) -> str:
    assert left_over(path) == []
    return path.read_bytes().decode()


def test_everything_else_stays(path: Path) -> None:
    """Comments, order, spacing and line ends stay; the new server is spaced like the last."""
    with ketama.edit(path) as servers:
        servers.add("10.0.1.55:11211", 50)
        servers.set_weight("10.0.1.1:11211", 1000)
        servers.set_weight("10.0.1.22:11211", 3)
    assert edited(path) == (
        "# the pool of the shop\n"
        "10.0.1.1:11211     1000\t \n"
        "\n"
        "  10.0.1.22:11211 \t 3\r\n"
        "# 10.0.1.3:11211   600    is away\n"
        "10.0.1.4:11211     600\n"
        "10.0.1.55:11211     50\n"
        "# the end"
    )
    with ketama.edit(path) as servers:
        servers.remove("10.0.1.55:11211")
        servers.remove("10.0.1.1:11211")
    assert edited(path) == TEXT.replace("10.0.1.1:11211     600\t \n", "").replace("300", "3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:1 5", "a:1 5\nnew:1 7\n"),
        ("a:1 5\r\nb:1 5", "a:1 5\r\nb:1 5\r\nnew:1 7\r\n"),
        ("a:1\t\t5\r\n", "a:1\t\t5\r\nnew:1\t\t7\r\n"),
        ("  a:1    5\n\n\n", "  a:1    5\n  new:1  7\n\n\n"),
        ("längere:1 5\n", "längere:1 5\nnew:1     7\n"),
        ("a:1       5\nlonger:1  5\n", "a:1       5\nlonger:1  5\nnew:1     7\n"),
        ("a:1 5\nlonger:1 5\n", "a:1 5\nlonger:1 5\nnew:1 7\n"),
        ("a:1  5\nsix:1  5\n", "a:1  5\nsix:1  5\nnew:1  7\n"),
        ("", "new:1 7\n"),
        ("# nobody yet", "# nobody yet\nnew:1 7\n"),
        ("\r\n", "\r\nnew:1 7\r\n"),
    ],
)
def test_where_a_server_is_added(text: str, expected: str, tmp_path: Path) -> None:
    """It comes behind the last server, in its columns, with its kind of line end."""
    path = tmp_path / "ketama.servers"
    path.write_bytes(text.encode())
    with ketama.edit(path) as servers:
        servers.add("new:1", 7)
        assert servers.servers[-1] == ("new:1", 7)
    assert expected == edited(path)


def test_what_it_tells(path: Path) -> None:
    """Within the block it tells what was, what is to be, and what moves."""
    with ketama.edit(path) as servers:
        before = servers.before
        assert before is not None
        assert servers.servers[0] == ("10.0.1.1:11211", 600)
        servers.add("10.0.1.5:11211", 600)
        diff = servers.diff()
        assert diff is not None
        assert diff.added == ("10.0.1.5:11211",)
        assert diff == before.diff(servers.after)
        assert edited(path) == TEXT
    assert servers.published
    assert ketama.Continuum(path).get_points() == servers.after.get_points()
    assert images.image(path).exists()


def test_the_first_server(tmp_path: Path) -> None:
    """Where there was no server, there is no difference to tell."""
    path = tmp_path / "ketama.servers"
    path.touch()
    with ketama.edit(path) as servers:
        assert servers.before is None
        servers.add("a:1", 1)
        assert servers.diff() is None
    assert edited(path) == "a:1 1\n"


@pytest.mark.parametrize("how", ["raises", "dry run", "no change", "back and forth"])
def test_nothing_is_written(how: str, path: Path) -> None:
    """An exception, a dry run and an edit that changes nothing leave the file untouched."""
    before = path.stat()
    if how == "raises":
        with pytest.raises(ZeroDivisionError), ketama.edit(path) as servers:
            servers.set_weight("10.0.1.1:11211", 1 // 0)
    elif how == "dry run":
        with ketama.edit(path, dry_run=True) as servers:
            servers.remove("10.0.1.1:11211")
    else:
        with ketama.edit(path) as servers:
            if how == "back and forth":
                servers.set_weight("10.0.1.1:11211", 5)
            servers.set_weight("10.0.1.1:11211", 600)
    assert not servers.published
    assert edited(path) == TEXT
    assert before == path.stat()
    assert not images.image(path).exists()


def refused(path: Path, act: str, *arguments: object) -> str:
    """The reason for which an edit is refused, which leaves the file as it was."""
    text = path.read_bytes()
    with pytest.raises(ketama.ServersError) as caught, ketama.edit(path) as servers:
        getattr(servers, act)(*arguments)
    assert text == path.read_bytes()
    assert left_over(path) == []
    return str(caught.value)


def test_refusals(path: Path) -> None:
    """What can't be done is refused, with the line where there is one."""
    there = f"{path}:6: 10.0.1.4:11211 is there, with weight 600"
    assert refused(path, "add", "10.0.1.4:11211", 5) == there
    missing = f"{path}: there is no server '10.0.1.3:11211'"
    assert refused(path, "remove", "10.0.1.3:11211") == missing
    assert refused(path, "set_weight", "10.0.1.3:11211", 1) == missing
    assert refused(path, "add", "a b", 1) == 'address "a b" has a blank or a line break in it'
    assert "begins with #" in refused(path, "add", "#a", 1)
    assert "is empty" in refused(path, "add", "", 1)
    assert "is empty" in refused(path, "remove", "")
    assert "is empty" in refused(path, "set_weight", "", 1)
    assert "line break" in refused(path, "add", "a\nb:1", 1)
    assert "NUL" in refused(path, "add", "a\0b", 1)
    assert refused(path, "add", "a:1", 0).startswith("weight is 0, not")
    assert refused(path, "set_weight", "10.0.1.1:11211", -1).startswith("weight is -1, not")
    with pytest.raises(TypeError, match="weight must be int"), ketama.edit(path) as servers:
        servers.add("a:1", "600")  # type: ignore[arg-type]


def test_the_last_server_stays(path: Path) -> None:
    """A file without servers would be wrong, so the last one is not removed."""
    path.write_text("# x\na:1 5\n")
    assert refused(path, "remove", "a:1") == f"{path}: there would be no server left in it"


def test_too_much_weight(path: Path) -> None:
    """What is wrong only as a whole is refused at the end."""
    path.write_text(f"a:1 {2**63 - 1}\nb:1 {2**63 - 1}\n")
    assert refused(path, "add", "c:1", 5).startswith(f"{path}:3: the weights add up to more")


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """An address that would make the file's beginning a byte order mark is refused."""
    path = tmp_path / "ketama.servers"
    path.touch()
    assert "can't stand in a server file" in refused(path, "add", "\ufeffa:1", 5)


def test_a_wrong_file(path: Path) -> None:
    """A file with an error in it is not edited: it could be any line that was meant."""
    path.write_text("a:1 5\nb:1\n")
    with pytest.raises(ketama.ServersError, match=":2: "), ketama.edit(path):
        pytest.fail("nothing can be done in here")


def test_a_server_that_is_there_twice(path: Path) -> None:
    """Removing it removes both; which weight is meant can't be known."""
    path.write_text("a:1 5\nb:1 7\na:1 6\n")
    assert refused(path, "set_weight", "a:1", 9) == f"{path}:1: a:1 stands in line 3 as well"
    with ketama.edit(path) as servers:
        servers.remove("a:1")
    assert edited(path) == "b:1 7\n"


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
    return subprocess.run(command, capture_output=True, text=True, env=ALONE)


def test_without_permission(path: Path) -> None:
    """Who may not write the file, or its folder, or keep its owner, changes nothing."""
    need_root()
    for folder in (path.parent, *path.parent.parents[:2]):
        folder.chmod(0o755)
    path.chmod(0o644)
    assert f"Permission denied: '{path}'" in as_nobody(path).stderr
    path.parent.chmod(0o777)  # where another file of that name could be made
    assert f"Permission denied: '{path}'" in as_nobody(path).stderr
    path.parent.chmod(0o755)
    path.chmod(0o666)
    reason = f"no new file can be made beside it: Permission denied: '{path}'"
    assert reason in as_nobody(path).stderr
    path.parent.chmod(0o777)
    assert (
        f"its owner 0:0 can't be kept: Operation not permitted: '{path}'"
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

    error = pytest.raises(ketama.KetamaOSError, match="somebody else has changed it")
    with error, ketama.edit(link) as servers:
        servers.remove("10.0.1.1:11211")
        switch()
    assert edited(path) == TEXT
    assert other.read_text() == "a:1 1\n"


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
    command = [need("strace"), "-y", "-o", str(log), "-e", calls, sys.executable, "-c", code]
    subprocess.run(command, check=True, env={**ALONE, "KETAMA_SHM_DIR": "/proc"})
    first, second, third = [
        line for line in log.read_text().splitlines() if str(path.parent) in line
    ]
    assert re.match(rf"fsync\(\d+<{path.parent}/\.ketama-edit-\w+>", first)
    assert second.startswith("rename")
    assert re.match(rf"fsync\(\d+<{path.parent}>", third)


def test_what_a_killed_edit_left(path: Path) -> None:
    """What an edit that was killed long ago has left is removed by the next one."""
    old, young = path.with_name(".ketama-edit-old"), path.with_name(".ketama-edit-young")
    old.touch()
    young.touch()
    os.utime(old, (1e9, 1e9))
    with ketama.edit(path) as servers:
        servers.remove("10.0.1.1:11211")
    assert left_over(path) == [young.name]


def test_an_interrupt(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt while the new file is written leaves nothing behind."""

    def interrupted(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ketama.replacing.os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt), ketama.edit(path) as servers:
        servers.remove("10.0.1.1:11211")
    assert edited(path) == TEXT


def test_a_file_that_was_replaced_before_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gets the lock of a file that has been replaced takes the new one."""
    real = fcntl.flock

    def replaced_first(fd: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX and not other.exists():
            other.touch()
            path.with_name("new").write_text("a:1 1\nb:1 1\n")
            path.with_name("new").rename(path)
        real(fd, operation)

    other = path.with_name("other")
    monkeypatch.setattr("ketama.replacing.fcntl.flock", replaced_first)
    with ketama.edit(path) as servers:
        servers.remove("a:1")
    assert path.read_text() == "b:1 1\n"


def test_waiting_for_many(path: Path) -> None:
    """The time to wait is for one other edit: while they go on, one waits on."""
    waiting = threading.Thread(target=remove_first, args=(path,), kwargs={"timeout": 0.5})
    held = path.open()
    fcntl.flock(held, fcntl.LOCK_EX)
    waiting.start()
    for _ in range(8):
        time.sleep(0.15)
        path.with_name("next").write_text(TEXT)
        following = path.with_name("next").open()
        fcntl.flock(following, fcntl.LOCK_EX)
        path.with_name("next").rename(path)
        held.close()
        held = following
    assert waiting.is_alive()
    held.close()
    waiting.join()
    assert "10.0.1.1:" not in edited(path)


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


def test_after_the_edit(path: Path) -> None:
    """What comes too late is an error, and not lost in silence."""
    with ketama.edit(path) as servers:
        pass
    with pytest.raises(ValueError, match="the edit is over"):
        servers.add("x:1", 5)
    with pytest.raises(ValueError, match="the edit is over"):
        servers.remove("10.0.1.1:11211")


def test_a_last_line_that_ends_in_cr(path: Path) -> None:
    """A CR without an LF at the file's end belongs to the end."""
    path.write_bytes(b"a:1 5\r")
    with ketama.edit(path) as servers:
        servers.add("b:1", 6)
    assert path.read_bytes() == b"a:1 5\nb:1 6\n"


def test_a_byte_order_mark_that_is_none(path: Path) -> None:
    """What is an address in the second line can be edited there."""
    path.write_text("a:1 5\n\ufeffb:1 5\n")
    with ketama.edit(path) as servers:
        servers.set_weight("\ufeffb:1", 6)
    assert path.read_text() == "a:1 5\n\ufeffb:1 6\n"


def test_the_same_server_added_twice(path: Path) -> None:
    """A server that was just added has no line yet."""

    def add_twice(servers: ketama.Edit) -> None:
        servers.add("x:1", 5)
        servers.add("x:1", 5)

    with pytest.raises(ketama.ServersError) as caught, ketama.edit(path) as servers:
        add_twice(servers)
    assert caught.value.lineno is None
    assert edited(path) == TEXT


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
            pytest.fail("nothing can be done in here")
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

    error = pytest.raises(ketama.KetamaOSError, match="somebody else has changed it")
    with error, ketama.edit(path) as servers:
        servers.remove("10.0.1.1:11211")
        change()
    assert theirs == edited(path)


def test_a_lock_that_is_held(path: Path) -> None:
    """Who can't have the lock in time says so, and the file that was meant is untouched."""
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with (
            pytest.raises(ketama.KetamaOSError, match=r"has been editing it for 0\.05 seconds"),
            ketama.edit(path, timeout=0.05),
        ):
            pytest.fail("nothing can be done in here")
        waiting = threading.Thread(target=remove_first, args=(path,))
        waiting.start()
        time.sleep(0.05)
        assert edited(path) == TEXT
    waiting.join()
    assert "10.0.1.1:" not in edited(path)


def remove_first(path: Path, timeout: float = 30) -> None:
    with ketama.edit(path, timeout=timeout) as servers:
        servers.remove("10.0.1.1:11211")


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
    assert edited(path) == TEXT
    with ketama.edit(path, timeout=1) as servers:
        servers.remove("10.0.1.1:11211")


def test_other_paths_to_the_file(path: Path) -> None:
    """A process that knows the file by a link is told as well: that image is replaced too."""
    link = path.parent / "link"
    link.symlink_to(path)
    by_link = ketama.Continuum(link, auto_roll=3600)
    by_name = ketama.Continuum(path, auto_roll=3600)
    assert by_link.lookup("key") == by_name.lookup("key")
    remove_first(path)
    addresses = ["10.0.1.22:11211", "10.0.1.4:11211"]
    assert addresses == [server.address for server in by_name.servers]
    assert addresses == [server.address for server in by_link.servers]


def test_what_an_edit_offers() -> None:
    """What programs call is frozen."""
    assert {name for name in dir(ketama.Edit) if not name.startswith("_")} == {
        "add", "after", "before", "diff", "published", "remove", "servers", "set_weight", "text"
    }  # fmt: skip
