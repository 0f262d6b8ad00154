"""Liveness: what processes of one user know of servers that are down."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command import as_json, fits_schema, refusal, text
from needs import need_root
from others import open_to_all
from threads import forks_beside_threads
from waiting import wait_for

import ketama
from ketama import health
from ketama.health import Liveness, Probe, ServerState

ADDRESSES = tuple(f"10.0.0.{i}:11211" for i in range(1, 5))
FIRST, SECOND, THIRD, FOURTH = ADDRESSES
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
TIMED_OUT = TimeoutError("timed out")
SHORT: dict[str, Any] = {"interval": 0.001, "interval_max": 0.001}
LONG: dict[str, Any] = {"interval": 3600, "interval_max": 3600, "window": 3600}
NOBODY = 65534


def table(folder: Path) -> Path:
    """The file of this user's table."""
    return folder / f"libketama-{os.geteuid()}" / "liveness.1"


def child(program: str, **options: Any) -> subprocess.Popen[str]:
    """Start a process that has a Liveness with these options, and runs the program."""
    code = (
        "import signal, sys\nfrom ketama.health import Liveness\n"
        f"live, addresses = Liveness(**{options!r}), {ADDRESSES!r}\n{program}"
    )
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)


def due(live: Liveness) -> Probe:
    """Wait for a probe."""
    probe = wait_for(lambda: live.claim(ADDRESSES))
    assert probe
    return probe


def test_reports_take_a_server_down(caplog: pytest.LogCaptureFixture) -> None:
    """Two within the window, or one that nobody listens; all objects see it."""
    live, other = Liveness(**LONG), Liveness(**LONG)
    assert live.shared
    assert live.down(ADDRESSES) == frozenset()
    assert not live.failed(FIRST, TIMED_OUT)
    assert live.servers() == [ServerState(FIRST, "suspect", 1, 0, 0.0, 0.0, 0.0)]
    assert not caplog.records
    assert other.failed(FIRST, TIMED_OUT)
    assert not live.failed(FIRST, REFUSED)
    assert live.down(ADDRESSES) == other.down(ADDRESSES) == {FIRST}
    assert live.failed(SECOND, REFUSED)
    assert other.down(ADDRESSES) == {FIRST, SECOND}
    assert [(record.name, record.levelname, record.message) for record in caplog.records] == [
        ("ketama", "WARNING", f"server {FIRST} is down: timed out"),
        ("ketama", "WARNING", f"server {SECOND} is down: [Errno 111] Connection refused"),
    ]


def test_more_than_half() -> None:
    live = Liveness(**LONG)
    for address in (FIRST, SECOND):
        live.failed(address, REFUSED)
    assert live.down(ADDRESSES) == {FIRST, SECOND}
    live.failed(THIRD, REFUSED)
    assert live.down(ADDRESSES) == frozenset()
    assert live.down((FIRST,)) == frozenset()
    assert live.down((FIRST, FOURTH)) == {FIRST}


@pytest.mark.parametrize(
    ("error", "hard", "is_down"),
    [
        (REFUSED, False, True),
        (FileNotFoundError(errno.ENOENT, "no socket"), False, True),
        (TIMED_OUT, False, False),
        (TIMED_OUT, True, True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), False, False),
        (EOFError("closed"), True, True),
        (OSError(errno.EMFILE, "too many open files"), True, False),
        (OSError(errno.ENFILE, "too many open files"), True, False),
        (OSError(errno.EADDRNOTAVAIL, "no ports"), True, False),
        (OSError(errno.ENOBUFS, "no buffers"), True, False),
        (OSError(errno.ENOMEM, "no memory"), True, False),
        (PermissionError(errno.EACCES, "not ours"), True, False),
        (MemoryError(), True, False),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), True, False),
        (asyncio.CancelledError(), True, False),
        (KeyboardInterrupt(), True, False),
        (SystemExit(), True, False),
        (GeneratorExit(), True, False),
    ],
)
def test_what_says_something_about_a_server(
    error: BaseException, hard: bool, is_down: bool
) -> None:
    live = Liveness(failures=2, **LONG)
    assert live.failed(FIRST, error, hard=hard) == is_down
    own = not is_down and (hard or live.servers() == [])
    assert health.is_own(error) == own


def test_a_real_shortage_of_descriptors_is_no_report() -> None:
    """A process that can open no socket, nor the table, harms nobody, and has its own."""
    code = (
        "import resource, socket\nfrom ketama.health import Liveness\n"
        "shared, files = Liveness(), []\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "try:\n    while True: files.append(socket.socket())\nexcept OSError as e: error = e\n"
        f"print(error.errno, shared.failed({FIRST!r}, error, hard=True), shared.shared)\n"
        "live = Liveness(interval=60)\n"
        f"print(live.shared, live.failed({FIRST!r}, ConnectionRefusedError(111, '')))\n"
        f"print(*live.down(({FIRST!r}, {SECOND!r})))\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed == f"{errno.EMFILE} False True\nFalse True\n{FIRST}\n"
    assert Liveness().down(ADDRESSES) == frozenset()


def test_the_answer_is_the_same_object_while_nothing_changes() -> None:
    """Then it is read without a call of C; an equal tuple of addresses has the same answer."""
    live, other = Liveness(**LONG), Liveness(**LONG)
    live.failed(FIRST, REFUSED)
    down = live.down(ADDRESSES)
    assert live.down(ADDRESSES) is down
    assert live.down((*ADDRESSES,)) is down
    other.failed(SECOND, TIMED_OUT)
    other.failed("10.9.9.9:11211", REFUSED)
    assert live.down(ADDRESSES) is down
    other.failed(SECOND, TIMED_OUT)
    assert live.down(ADDRESSES) == {FIRST, SECOND}
    assert live.down((THIRD,)) is live.down((FOURTH,))


def test_probes_bring_a_server_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    live, other = Liveness(**SHORT), Liveness(**SHORT)
    live.failed(FIRST, REFUSED)
    probe = due(live)
    assert (probe.address, probe.last) == (FIRST, False)
    assert probe.down_for > 0
    other.probed(probe, None)
    probe = due(other)
    assert probe.last
    live.probed(probe, OSError(errno.EMFILE, "says nothing"))
    assert live.down(ADDRESSES) == {FIRST}
    live.probed(due(live), TIMED_OUT)
    probe = due(live)
    assert not probe.last
    live.probed(probe, None)
    live.probed(due(live), None)
    assert live.down(ADDRESSES) == other.down(ADDRESSES) == frozenset()
    assert live.claim(ADDRESSES) is None
    last = caplog.records[-1]
    assert (last.name, last.levelname) == ("ketama", "INFO")
    assert last.message.startswith(f"server {FIRST} is up again, after ")


def test_sixteen_processes_claim_each_probe_once(shm_dir: Path) -> None:
    """All report the same outage at once, and all ask for its one probe."""
    program = (
        "sys.stdin.readline()\n"
        f"down = live.failed({FIRST!r}, ConnectionRefusedError(111, ''))\n"
        "print(int(down), flush=True); sys.stdin.readline()\n"
        "print(int(live.claim(addresses) is not None), flush=True); sys.stdin.readline()\n"
    )
    live = Liveness(**LONG)
    children = [child(program, **LONG) for _ in range(16)]

    def answers() -> int:
        for each in children:
            assert each.stdin
            each.stdin.write("\n")
            each.stdin.flush()
        return sum(int(each.stdout.readline()) for each in children if each.stdout)

    assert answers() == 1
    assert live.down(ADDRESSES) == {FIRST}
    make_due(table(shm_dir))
    assert answers() == 1
    for each in children:
        each.communicate()
    (state,) = live.servers()
    assert state.due > 0


def make_due(path: Path) -> None:
    """Have all probes due now, as after a reboot: their times are too far ahead."""
    data = bytearray(path.read_bytes())
    for at in range(128, len(data), 128):
        word = int.from_bytes(data[at + 8 : at + 16], sys.byteorder)
        word |= 1 << 48  # of the time, a year or so
        if data[at : at + 8] != bytes(8):
            data[at + 8 : at + 16] = word.to_bytes(8, sys.byteorder)
    with path.open("r+b") as file:
        file.write(data)


def test_a_killed_prober_loses_nothing() -> None:
    """The next probe was postponed when it was chosen, and then somebody else makes it."""
    options: dict[str, Any] = {"interval": 0.001, "interval_max": 0.5, "probe_timeout": 0.1}
    live = Liveness(**options)
    live.failed(FIRST, REFUSED)
    program = (
        "while live.claim(addresses) is None: pass\nprint(flush=True)\nsys.stdin.readline()"
    )
    prober = child(program, **options)
    assert prober.stdout
    prober.stdout.readline()
    prober.kill()
    prober.communicate()
    assert prober.returncode == -signal.SIGKILL
    (state,) = live.servers()
    assert (state.state, state.interval) == ("down", 0.002)
    live.probed(due(live), None)
    live.probed(due(live), None)
    assert live.down(ADDRESSES) == frozenset()


def test_a_killed_reporter_loses_nothing() -> None:
    """Processes that are killed while they report leave a table that works."""
    program = (
        "while True:\n"
        "    for address in addresses[:2]:\n"
        "        live.failed(address, ConnectionRefusedError(111, ''))\n"
        "    while (probe := live.claim(addresses)): live.probed(probe, None)\n"
        "    print(flush=True)\n"
    )
    live = Liveness(**SHORT)
    for _ in range(20):
        reporter = child(program, **SHORT)
        assert reporter.stdout
        for _ in range(10):
            reporter.stdout.readline()
        reporter.kill()
        reporter.communicate()
    live.failed(FIRST, REFUSED)
    assert FIRST in live.down(ADDRESSES)
    while probe := wait_for(lambda: live.claim(ADDRESSES) or not live.down(ADDRESSES)):
        if isinstance(probe, Probe):
            live.probed(probe, None)
        else:
            break
    assert live.down(ADDRESSES) == frozenset()


@forks_beside_threads
@pytest.mark.parametrize("shared", [True, False])
def test_a_forked_child_shares_it(shared: bool) -> None:
    live = Liveness(shared=shared, **LONG)
    assert live.shared == shared
    assert live.down(ADDRESSES) == frozenset()
    pid = os.fork()
    if pid == 0:
        logging.disable()
        os._exit(live.failed(FIRST, REFUSED) and live.down(ADDRESSES) == {FIRST})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    assert live.down(ADDRESSES) == {FIRST}
    assert Liveness().down(ADDRESSES) == ({FIRST} if shared else frozenset())


def expect_private() -> None:
    live = Liveness(**LONG)
    assert not live.shared
    assert live.failed(FIRST, REFUSED)
    assert live.down(ADDRESSES) == {FIRST}
    assert Liveness().down(ADDRESSES) == frozenset()


def test_a_full_file_system(tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that does not fit is private; the room is given back."""
    monkeypatch.setenv("KETAMA_SHM_DIR", str(tmpfs))
    expect_private()
    assert table(tmpfs).stat().st_blocks == 0


def test_without_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KETAMA_SHM_DIR", str(tmp_path / "missing"))
    expect_private()


def test_another_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither another user's table nor another user's folder is used."""
    need_root()
    monkeypatch.setenv("KETAMA_SHM_DIR", str(tmp_path))
    Liveness()
    path = table(tmp_path)
    os.chown(path, NOBODY, NOBODY)
    before = path.read_bytes()
    expect_private()
    os.chown(path, 0, 0)
    assert Liveness().shared
    os.chown(path.parent, NOBODY, NOBODY)
    expect_private()
    assert path.read_bytes() == before


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_users_have_tables_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    open_to_all(tmp_path)
    tmp_path.chmod(0o1777)
    monkeypatch.setenv("KETAMA_SHM_DIR", str(tmp_path))
    live = Liveness(**LONG)
    with as_nobody():
        theirs = Liveness(**LONG)
        assert theirs.shared
        assert theirs.failed(FIRST, REFUSED)
    assert live.down(ADDRESSES) == frozenset()
    assert theirs.down(ADDRESSES) == {FIRST}


def test_a_limit_of_files_is_no_signal() -> None:
    """RLIMIT_FSIZE would raise SIGXFSZ."""
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "from ketama.health import Liveness\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); print(Liveness().shared)"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"failures": 0}, ValueError, "invalid failures 0: must be from 1 to 63"),
        ({"probes": 64}, ValueError, "invalid probes 64: must be from 1 to 63"),
        ({"failures": 2.0}, TypeError, "failures must be an integer, not float"),
        ({"window": "1"}, TypeError, "window must be seconds, a number, not str"),
        ({"interval": 0}, ValueError, "invalid interval 0: must be seconds, from 0.001 to"),
        ({"interval_max": float("nan")}, ValueError, "invalid interval_max nan"),
        ({"calm": 86401}, ValueError, "invalid calm 86401"),
    ],
)
def test_invalid_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        Liveness(**options)
    assert str(caught.value).startswith(message)


def test_annotations_resolve() -> None:
    for function in (Liveness.__init__, Liveness.down, Liveness.claim, Liveness.probed):
        assert typing.get_type_hints(function)
    assert list(typing.get_type_hints(Probe))[:3] == ["address", "down_for", "last"]


# ---- the command


def test_live(two: Path, shm_dir: Path) -> None:
    """It shows what was reported, of a file or of all servers, and creates nothing."""
    assert text("live") == (
        "0 servers reported recently, 0 down\n"
        "no process of this user has reported any server yet\n"
    )
    none = fits_schema("live", as_json("live"))
    assert none == {"file": None, "shared": False, "servers": []}
    assert not table(shm_dir).exists()

    live = Liveness(**LONG)
    live.failed("127.0.0.1:11212", REFUSED)
    live.failed("elsewhere:1", TIMED_OUT)
    shown = text("live", two).splitlines()
    assert [line.split()[:2] for line in shown[:3]] == [
        ["server", "state"], ["127.0.0.1:11211", "up"], ["127.0.0.1:11212", "down"]
    ]  # fmt: skip
    assert shown[3:] == ["", f"{two}: 2 servers, 1 down"]
    found = fits_schema("live", as_json("live", two))
    assert found["file"] == str(two)
    assert [row["state"] for row in found["servers"]] == ["up", "down"]
    rows = fits_schema("live", as_json("live"))["servers"]
    assert [(row["address"], row["state"], row["failures"]) for row in rows] == [
        ("127.0.0.1:11212", "down", 0), ("elsewhere:1", "suspect", 1)
    ]  # fmt: skip
    assert text("live").endswith("\n\n2 servers reported recently, 1 down\n")
    assert "--profile and --option need a FILE" in refusal(2, "live", "--profile", "twemproxy")


def test_images_leaves_the_table_alone(two: Path, shm_dir: Path) -> None:
    """It is neither an image nor an orphan."""
    ketama.Continuum(two)
    Liveness().failed(FIRST, REFUSED)
    two.unlink()
    done = json.loads(text("images", "--purge", "--json"))
    assert [row["path"] for row in done["removed"]] == [str(two)]
    assert done["images"] == []
    assert table(shm_dir).exists()
    assert text("images", "--purge").endswith(": 0 images, 0 KiB\n")
    assert Liveness().servers()[0].address == FIRST
