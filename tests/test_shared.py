"""Shared images: attaching, publishing, and falling back to private copies."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import functools
import gc
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import images
import pytest
from library import LIBRARY, archive, compile_program
from needs import need, need_root, need_strace
from others import open_to_all
from threads import forks_beside_threads
from waiting import PATIENCE, wait_for

import ketama
from ketama.admin.images import images as all_images
from ketama.admin.images import remove

pytestmark = forks_beside_threads

A, B = "a:1 1\nb:1 1\nc:1 1\n", "d:1 1\ne:1 3\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ketama.servers"
    path.write_text(A)
    return path


def in_child(act: Callable[[], bool]) -> None:
    """Run in a forked child, which must return True."""
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        good = False
        try:
            good = act()
        finally:  # after any exception, too: the child must not return to pytest
            if not good:
                traceback.print_exc()
            os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def as_user(uid: int, act: Callable[[], bool]) -> None:
    """Run in a child process as another user."""
    need_root()

    def change_and_act() -> bool:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        return act()

    in_child(change_and_act)


def test_the_first_publishes_and_others_attach(path: Path) -> None:
    """The first process publishes one image per file, and all others attach to it."""
    first = ketama.Continuum(path)
    assert first.shared
    assert images.generation(path) == 1
    before = images.image(path).stat()
    second = ketama.Continuum(str(path))
    assert second.shared
    assert first.get_points() == second.get_points()
    in_child(lambda: ketama.Continuum(path).shared)
    after = images.image(path).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert images.names(path) == {"", ".lock"}


def test_the_image_is_private_to_its_user(path: Path) -> None:
    """Only this user can access the directory and the image, under any umask."""
    for umask in (0, 0o022, 0o777):
        old = os.umask(umask)
        try:
            assert ketama.Continuum(path).shared
        finally:
            os.umask(old)
        assert images.folder().stat().st_mode & 0o7777 == 0o700
        assert images.image(path).stat().st_mode & 0o7777 == 0o600
        subprocess.run(["rm", "-r", images.folder()], check=True)


def test_private(path: Path) -> None:
    """shared=False neither attaches nor publishes, on roll as well; nor do lists."""
    continuum = ketama.Continuum(path, shared=False)
    assert not continuum.shared
    assert not images.image(path).exists()
    path.write_text(B)
    assert continuum.roll()
    assert not continuum.shared
    assert not images.image(path).exists()
    assert not ketama.Continuum(["a:1"]).shared


def test_a_change_is_published_once(path: Path) -> None:
    """After a change, the first roll publishes, others attach, the old image is marked."""
    many = [ketama.Continuum(path) for _ in range(5)]
    old = images.image(path).open("rb")
    assert old.read()[images.SUPERSEDED_AT] == 0
    path.write_text(B)
    for continuum in many:
        assert continuum.roll()
        assert continuum.shared
    assert images.generation(path) == 2
    old.seek(0)
    assert old.read()[images.SUPERSEDED_AT] == 1
    assert images.image(path).read_bytes()[images.SUPERSEDED_AT] == 0
    assert (
        len({line.split()[4] for line in images.mapped() if images.image(path).name in line})
        == 1
    )
    old.close()


def test_links_are_not_resolved(path: Path) -> None:
    """A link and its target have an image each, because the link may be replaced."""
    link = path.with_suffix(".link")
    link.symlink_to(path)
    assert ketama.Continuum(link).shared
    assert ketama.Continuum(path).shared
    assert images.generation(link) == images.generation(path) == 1


def test_a_config_map(tmp_path: Path) -> None:
    """Replacing a link to a directory, as Kubernetes does, replaces the image."""
    for name, text in (("..1", A), ("..2", B), ("..3", A)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ketama.servers").write_text(text)
    (tmp_path / "..data").symlink_to("..1")
    path = tmp_path / "ketama.servers"
    path.symlink_to("..data/ketama.servers")
    continuum, other = ketama.Continuum(path), ketama.Continuum(path, auto_roll=1000)
    for generation, (name, first) in enumerate([("..2", "d:1"), ("..3", "a:1")], 2):
        (tmp_path / "..new").symlink_to(name)
        (tmp_path / "..new").replace(tmp_path / "..data")
        assert continuum.roll()
        assert continuum.servers[0].address == first
        assert other.servers[0].address == first
        assert images.generation(path) == generation
        assert images.names(path) == {"", ".lock"}


def test_a_file_that_is_removed_and_put_back(path: Path) -> None:
    """An image is unused while its file is missing, and used when the file is restored."""
    continuum, away = ketama.Continuum(path), path.with_suffix(".away")
    path.rename(away)
    for ask in (continuum.roll, lambda: ketama.Continuum(path)):
        with pytest.raises(ketama.KetamaOSError):
            ask()
    away.rename(path)
    continuum.roll()
    assert continuum.shared
    assert ketama.Continuum(path).get_points() == continuum.get_points()


# ---- Following the file


def answers_from(continuum: ketama.Continuum, addresses: set[str]) -> bool:
    return continuum.lookup("key") in addresses


WAYS: list[Callable[[ketama.Continuum], object]] = [
    lambda c: c.lookup("key"),
    lambda c: c["key"],
    lambda c: c.get_server("key"),
    lambda c: c.get_points(),
    lambda c: c.servers,
]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("ask", WAYS)
def test_auto_roll(ask: Callable[[ketama.Continuum], object], shared: bool, path: Path) -> None:
    """Every lookup function reloads a changed file."""
    continuum = ketama.Continuum(path, auto_roll=0.02, shared=shared)
    plain = ketama.Continuum(path)
    before = ask(continuum)
    path.write_text(B)
    wait_for(lambda: ask(continuum) != before)
    assert continuum.generation == 2
    assert ask(plain) == before
    assert ask(continuum) == ask(ketama.Continuum(path))


def test_auto_roll_follows_a_publisher_at_once(path: Path) -> None:
    """The next lookup switches to a newly published image, before the interval is over."""
    continuum = ketama.Continuum(path, auto_roll=10**6)
    path.write_text(B)
    assert continuum.lookup("key") in {"a:1", "b:1", "c:1"}
    in_child(lambda: ketama.Continuum(path).shared)
    assert continuum.lookup("key") in {"d:1", "e:1"}
    assert continuum.generation == 2
    path.write_text(A)
    in_child(lambda: ketama.Continuum(path).shared)
    assert continuum.get_server("key")[1] in {"a:1", "b:1", "c:1"}


def test_auto_roll_and_an_invalid_file(path: Path) -> None:
    """last_error reports an invalid file; lookups keep the valid version until it is fixed."""
    continuum = ketama.Continuum(path, auto_roll=0.01)
    path.write_text("a:1 none\n")
    wait_for(lambda: continuum.lookup("key") == "" or continuum.last_error is not None)
    assert isinstance(continuum.last_error, ketama.ServersError)
    assert continuum.lookup("key") in {"a:1", "b:1", "c:1"}
    path.unlink()
    wait_for(lambda: bool(continuum["x"]) and isinstance(continuum.last_error, OSError))
    path.write_text(B)
    wait_for(lambda: continuum.lookup("key") in {"d:1", "e:1"})
    assert continuum.last_error is None


def test_auto_roll_keys_with_nul(path: Path) -> None:
    """A key with a NUL byte raises TypeError when a roll is due, too."""
    continuum = ketama.Continuum(path, auto_roll=1e-9)
    for _ in range(100):
        with pytest.raises(TypeError, match="NUL"):
            continuum.get_server("a\0b")
        assert continuum.lookup("a\0b") in {"a:1", "b:1", "c:1"}


@pytest.mark.parametrize("seconds", [0, -1, 0.0, float("nan"), float("inf"), 10**10])
def test_invalid_auto_roll(seconds: float, path: Path) -> None:
    """An interval that is not above 0 and at most 10**9 raises ValueError."""
    with pytest.raises(
        ValueError, match=r"^invalid auto_roll .*: must be seconds, above 0, at most"
    ):
        ketama.Continuum(path, auto_roll=seconds)
    with pytest.raises(ValueError, match="pass a server file"):
        ketama.Continuum(["a:1"], auto_roll=1.0)


def test_options_are_pickled_and_copied(path: Path) -> None:
    """Pickles and copies keep `shared` and `auto_roll`."""
    original = ketama.Continuum(path, auto_roll=0.01, shared=False)
    path.write_text(A)
    for twin in (pickle.loads(pickle.dumps(original)), copy.copy(original)):
        assert not twin.shared
        assert twin._options == (False, 0.01, False)
        path.write_text(B)
        wait_for(functools.partial(answers_from, twin, {"d:1", "e:1"}))
        path.write_text(A)
        wait_for(functools.partial(answers_from, twin, {"a:1", "b:1", "c:1"}))


def test_auto_roll_in_threads(path: Path) -> None:
    """Eight threads look up with auto_roll; each result comes from one of the two files."""
    continuum = ketama.Continuum(path, auto_roll=0.001)
    right = {"a:1", "b:1", "c:1", "d:1", "e:1"}
    done = threading.Event()
    faults: list[int] = []

    def look() -> None:
        while not done.is_set():
            if continuum.lookup("k") not in right or len(continuum.servers) not in (2, 3):
                faults.append(1)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for change in range(100):
        path.with_suffix(".new").write_text((A, B)[change % 2])
        path.with_suffix(".new").replace(path)
        time.sleep(0.002)
    path.write_text(B)
    wait_for(lambda: len(continuum.servers) == 2)
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []


def test_copies_with_auto_roll(path: Path) -> None:
    """A copy and its original both reload, although they share their first version."""
    original = ketama.Continuum(path, auto_roll=10**6)
    twin = copy.copy(original)
    path.write_text(B)
    in_child(lambda: ketama.Continuum(path).shared)
    for continuum in (original, twin):
        wait_for(functools.partial(answers_from, continuum, {"d:1", "e:1"}))


# ---- Publishers, also killed ones


def test_threads_that_open_at_once(path: Path) -> None:
    """Threads of one process share an image, and all switch to the next one."""
    path.write_text("".join(f"a{i}:1 1\n" for i in range(3000)))
    barrier = threading.Barrier(8)
    opened: list[ketama.Continuum] = []

    def open_one() -> None:
        barrier.wait()
        opened.append(ketama.Continuum(path, auto_roll=10**6))

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [True] * 8 == [continuum.shared for continuum in opened]
    assert images.generation(path) == 1
    path.write_text(B)
    in_child(lambda: ketama.Continuum(path).shared)
    for continuum in opened:
        assert continuum.lookup("key") in {"d:1", "e:1"}


def test_a_lock_that_is_never_released(path: Path) -> None:
    """Processes wait for a builder for a bounded time, then build or attach."""
    first = ketama.Continuum(path, auto_roll=10**6)
    with images.image(path).with_name(images.image(path).name + ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path.write_text(B)
        many = [ketama.Continuum(path) for _ in range(3)]
        assert [True] * 3 == [continuum.shared for continuum in many]
        assert images.generation(path) == 2
        assert first.lookup("key") in {"d:1", "e:1"}


def test_who_waits_does_not_build(path: Path) -> None:
    """While somebody builds, others sleep and look, instead of building the same."""
    builder = ketama.Continuum(path)
    image = images.image(path)
    away = image.with_suffix(".away")
    image.rename(away)
    inode = away.stat().st_ino
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}; import ketama; "
        "print(ketama.Continuum(sys.argv[1]).shared)"
    )
    # It stops in its first sleep, and goes on when there is an image.
    stop = "inject=clock_nanosleep,nanosleep:signal=STOP:when=1"
    command = [need_strace(), "-f", "-qq", "-o", str(path.with_suffix(".trace")), "-e", stop]
    with image.with_name(image.name + ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [*command, sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True
        )
        (waiting,) = wait_for(lambda: stopped(process.pid))
        assert not image.exists()
        away.rename(image)
        os.kill(waiting, signal.SIGCONT)
        assert process.communicate()[0] == "True\n"
    assert (image.stat().st_ino, images.generation(path)) == (inode, 1)
    assert builder.shared


def stopped(parent: int) -> list[int]:
    """The stopped children of a process."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            state, ppid, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if (state, ppid) in (("T", str(parent)), ("t", str(parent))):
                found.append(int(pid))
    return found


@pytest.mark.parametrize(
    "at",
    ["flock", "flock:when=2", "write", "renameat2", "pwrite64", "unlinkat", "flock:when=3"],
)
def test_a_publisher_that_is_killed(at: str, path: Path) -> None:
    """Wherever a publisher is killed, the next one publishes, and readers are notified."""
    watcher = ketama.Continuum(path, auto_roll=10**6)
    path.write_text(B)
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}; import ketama; ketama.Continuum(sys.argv[1])"
    )
    name, _, when = at.partition(":")
    inject = f"inject={name}:signal=KILL:{when or 'when=1'}"
    command = [need_strace(), "-qq", "-o", "/dev/null", "-e", inject, sys.executable]
    killed = subprocess.run([*command, "-c", program, path], check=False)
    assert killed.returncode in (-9, 137)
    path.write_text(A + "f:1 1\n")
    assert ketama.Continuum(path).shared
    assert images.names(path) == {"", ".lock"}
    wait_for(lambda: len(watcher.servers) == 4)


def test_leftovers_are_removed(path: Path) -> None:
    """Abandoned unfinished images are removed; one that is being written is kept."""
    ketama.Continuum(path)
    image = images.image(path)
    dead, alive = (
        image.with_name(f"{image.name}-1-dead"),
        image.with_name(f"{image.name}-2-alive"),
    )
    dead.write_bytes(image.read_bytes())
    with alive.open("wb") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        path.write_text(B)
        assert ketama.Continuum(path).shared
        assert images.names(path) == {"", ".lock", "-2-alive"}
    path.write_text(A)
    assert ketama.Continuum(path).shared
    assert images.names(path) == {"", ".lock"}


# ---- Many processes at once, and a builder that stops


@pytest.fixture(scope="session")
def herd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that counts who builds; see tests/programs/herd.c."""
    program = tmp_path_factory.mktemp("herd") / "herd"
    compile_program("herd.c", program, "-Wl,--wrap=ketama_ring_make")
    return program


@pytest.mark.parametrize("at_once", ["open", "refresh", "stopped"])
def test_one_builds_for_all(at_once: str, herd: Path, path: Path) -> None:
    """Of many processes that need a new image one builds, even if its builder has stopped."""
    command = [str(herd), at_once, "1000", str(path), "40"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    builds, shared, generation, _ = map(int, ran.stdout.split())
    assert builds <= 3
    assert shared == 40
    assert generation == (2 if at_once == "refresh" else 1)
    assert images.names(path) == {"", ".lock"}


# ---- Damage while an image is mapped


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "echo >image": lambda image: image.write_bytes(b"\n"),
    "empty": lambda image: os.truncate(image, 0),
    "cut in half": lambda image: os.truncate(image, image.stat().st_size // 2),
    "zeros in place": lambda image: overwrite(image, 0, bytes(image.stat().st_size)),
    "a zeroed header": lambda image: overwrite(image, 0, bytes(images.HEADER)),
    "another checksum": lambda image: overwrite(image, 184, bytes(8)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_while_it_is_mapped(what: str, path: Path) -> None:
    """The next roll notices that its image was damaged, and replaces it, for all."""
    path.write_text("".join(f"a{i}:1 1\n" for i in range(100)))
    right = ketama.Continuum(path, shared=False).get_points()

    def notices() -> bool:
        first, second = ketama.Continuum(path), ketama.Continuum(path)
        DAMAGE[what](images.image(path))
        for continuum in (first, second):
            if not continuum.roll() or not continuum.shared or continuum.roll():
                return False
        return first.get_points() == second.get_points() == right

    in_child(notices)
    assert images.names(path) == {"", ".lock"}
    assert ketama.Continuum(path).get_points() == right


def test_an_image_that_is_not_utf8(path: Path) -> None:
    """An image with a correct checksum, but addresses that are not UTF-8, is replaced."""
    ketama.Continuum(path)
    image = images.image(path)
    data = image.read_bytes().replace(b"b:1\0", b"\xff:1\0")
    image.write_bytes(images.with_checksum(data))
    continuum = ketama.Continuum(path)
    assert continuum.shared
    assert [server.address for server in continuum.servers] == ["a:1", "b:1", "c:1"]


def test_a_small_stack(path: Path) -> None:
    """Opening, sharing and refreshing need 16 KiB of stack besides the system's own."""
    program = path.with_name("stack")
    compile_program("stack.c", program, f"-I{LIBRARY}", "-pthread")
    path.write_text("".join(f"a{i}.example.com:11211 {i + 1} name-{i}\n" for i in range(500)))
    subprocess.run([program, path, "16384"], check=True, stdout=subprocess.DEVNULL)


# ---- Untrusted files


def plant_link(image: Path) -> None:
    image.rename(image.with_suffix(".kept"))
    image.symlink_to(image.with_suffix(".kept"))


def plant_fifo(image: Path) -> None:
    image.unlink()
    os.mkfifo(image, 0o600)


def plant_folder(image: Path) -> None:
    image.unlink()
    image.mkdir()


def plant_other_owner(image: Path) -> None:
    os.chown(image, 65534, 65534)


PLANTED: dict[str, Callable[[Path], object]] = {
    "a link": plant_link,
    "a FIFO": plant_fifo,
    "a folder": plant_folder,
    "another's file": plant_other_owner,
    "writable by all": lambda image: image.chmod(0o666),
    "writable by the group": lambda image: image.chmod(0o620),
    "empty": lambda image: os.truncate(image, 0),
    "cut": lambda image: os.truncate(image, 300),
    "longer": lambda image: os.truncate(image, image.stat().st_size + 4096),
    "a sparse giant": lambda image: os.truncate(image, 2**40),
}


@pytest.mark.parametrize("what", PLANTED)
def test_planted_images(what: str, path: Path) -> None:
    """Anything but an intact image of this user is ignored, and replaced if possible."""
    if what == "another's file":
        need_root()  # to give it away
    right = ketama.Continuum(path).get_points()
    image = images.image(path)
    bytes_before = image.read_bytes()
    PLANTED[what](image)
    continuum = ketama.Continuum(path)
    assert continuum.get_points() == right
    assert continuum.shared == (what != "a folder")
    if continuum.shared:
        assert image.is_file()
        assert not image.is_symlink()
        assert image.stat().st_mode & 0o7777 == 0o600
        assert len(bytes_before) == image.stat().st_size
    path.write_text(B)
    assert continuum.roll()
    assert continuum.servers[0].address == "d:1"
    subprocess.run(["rm", "-rf", image], check=True)


VICTIM, ATTACKER = 61001, 61002
# What this user has in /dev/shm itself no other run of the tests has.
LONER = 100_000 + os.getpid()


@pytest.fixture
def open_base(shm_dir: Path) -> Path:
    """A folder in which everybody may make files, as /dev/shm is one."""
    shm_dir.chmod(0o1777)
    (shm_dir / "ketama.servers").write_text(A)
    return shm_dir


ATTACKS: dict[str, Callable[[Path, Path], object]] = {
    "a folder": lambda folder, mine: folder.mkdir(0o777),
    "a link to a folder": lambda folder, mine: folder.symlink_to(mine),
    "a file": lambda folder, mine: folder.write_text("x"),
    "a FIFO": lambda folder, mine: os.mkfifo(folder, 0o666),
    "a dangling link": lambda folder, mine: folder.symlink_to("/nowhere"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_names_taken_by_another_user(attack: str, open_base: Path) -> None:
    """A directory, link, file or FIFO of another user under our name is never used."""
    path = open_base / "ketama.servers"
    folder = open_base / f"libketama-{VICTIM}"

    def plant() -> bool:
        mine = open_base / "mine"
        mine.mkdir(0o777)
        mine.chmod(0o777)
        ATTACKS[attack](folder, mine)
        return True

    def use() -> bool:
        continuum = ketama.Continuum(path)
        return not continuum.shared and continuum.lookup("key") in {"a:1", "b:1", "c:1"}

    as_user(ATTACKER, plant)
    as_user(VICTIM, use)
    assert os.listdir(open_base / "mine") == []
    if not folder.is_symlink() and folder.is_dir():  # the system may forbid to follow a link
        assert os.listdir(folder) == []


def test_a_directory_with_lax_permissions(open_base: Path) -> None:
    """The directory is not used if others may list it or write to it."""
    path = open_base / "ketama.servers"

    def use() -> bool:
        shared = ketama.Continuum(path).shared
        (open_base / f"libketama-{VICTIM}").chmod(0o755)
        return shared and not ketama.Continuum(path).shared

    as_user(VICTIM, use)


def test_root_rejects_planted_directories(open_base: Path) -> None:
    """Root does not use a directory that another user has created for it."""
    need_root()
    folder = open_base / "libketama-0"

    def plant() -> bool:
        folder.mkdir(0o700)
        return True

    as_user(ATTACKER, plant)
    assert not ketama.Continuum(open_base / "ketama.servers").shared
    assert os.listdir(folder) == []


def test_a_link_to_our_own_directory(open_base: Path) -> None:
    """A link is not followed even if it points to a directory of the same user."""
    own = open_base / "own"

    def make() -> bool:
        own.mkdir(0o700)
        return True

    def plant() -> bool:
        (open_base / f"libketama-{VICTIM}").symlink_to(own)
        return True

    as_user(VICTIM, make)
    as_user(ATTACKER, plant)
    as_user(VICTIM, lambda: not ketama.Continuum(open_base / "ketama.servers").shared)
    assert os.listdir(own) == []


def test_a_umask_that_denies_the_owner(open_base: Path) -> None:
    """Under a umask that denies the owner access, no directory is left behind."""
    path = open_base / "ketama.servers"

    def use() -> bool:
        os.umask(0o777)
        shut = ketama.Continuum(path).shared
        os.umask(0o022)
        opened = ketama.Continuum(path).shared
        lock = images.image(path, open_base)
        lock = lock.with_name(lock.name + ".lock")
        lock.unlink()
        os.umask(0o777)
        path.with_suffix(".other").symlink_to(path.name)
        other = ketama.Continuum(path.with_suffix(".other")).shared
        modes = {file.stat().st_mode & 0o777 for file in images.folder(open_base).iterdir()}
        return not shut and opened and other and modes == {0o600}

    as_user(VICTIM, use)


SET_ID = r"""
#include <stdio.h>
#include "ketama.h"
int main(int argc, char **argv)
{
    ketama_continuum c;
    if (argc != 2 || ketama_open(&c, argv[1], NULL) != KETAMA_OK)
        return 1;
    printf("%d", ketama_is_shared(c));
    ketama_close(c);
    return 0;
}
"""


def test_a_set_id_program_does_not_share(open_base: Path) -> None:
    """A set-id program does not use images that its caller could have written."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "main.c").write_text(SET_ID)
        command = [need("cc"), "-std=c11", f"-I{LIBRARY}", f"-o{folder}/asks"]
        subprocess.run([*command, folder / "main.c", archive()], check=True)

        def answer() -> str:
            command = [folder / "asks", open_base / "ketama.servers"]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        as_user(VICTIM, lambda: answer() == "1")
        os.chown(folder / "asks", 0, ATTACKER)
        (folder / "asks").chmod(0o2755)
        as_user(VICTIM, lambda: answer() == "0")


def test_two_users_share_nothing(open_base: Path) -> None:
    """Each user has separate images."""
    path = open_base / "ketama.servers"
    for uid in (VICTIM, ATTACKER):
        as_user(uid, lambda: ketama.Continuum(path).shared)
    assert {f"libketama-{VICTIM}", f"libketama-{ATTACKER}"} <= set(os.listdir(open_base))


def test_the_default_directories(path: Path) -> None:
    """Images are in /dev/shm, or in the temporary directory if that is unusable."""
    temporary = path.parent / "tmp"
    temporary.mkdir()
    temporary.chmod(0o777)
    open_to_all(path.parent)

    def use(base: Path) -> bool:
        del os.environ["KETAMA_SHM_DIR"]
        os.environ["TMPDIR"] = str(temporary)
        return ketama.Continuum(path).shared and images.image(path, base).exists()

    in_shm = Path("/dev/shm")
    own = in_shm / f"libketama-{LONER}"
    try:
        as_user(LONER, lambda: use(in_shm))
        shutil.rmtree(own)
        own.write_text("taken")
        as_user(LONER, lambda: use(temporary))
    finally:
        subprocess.run(["rm", "-rf", own], check=True)


# ---- Failing resources


def test_an_unusable_directory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If KETAMA_SHM_DIR is missing, a file, or not absolute, the continuum is private."""
    for base in ("/nowhere", str(path), "/proc/self"):
        monkeypatch.setenv("KETAMA_SHM_DIR", base)
        continuum = ketama.Continuum(path)
        assert not continuum.shared
        assert continuum.lookup("key") in {"a:1", "b:1", "c:1"}
    monkeypatch.setenv("KETAMA_SHM_DIR", "/" + "x" * 5000)
    assert not ketama.Continuum(path).shared


def test_a_relative_folder_is_none(path: Path) -> None:
    """A KETAMA_SHM_DIR that is not absolute is passed over, for the usual places."""
    (path.parent / "relative").mkdir()
    open_to_all(path.parent / "relative")

    def use() -> bool:
        os.chdir(path.parent)
        for base in ("relative", ""):
            os.environ["KETAMA_SHM_DIR"] = base
            continuum = ketama.Continuum(path)
            if not continuum.shared or not images.image(path, Path("/dev/shm")).exists():
                return False
            images.image(path, Path("/dev/shm")).unlink()
        return True

    try:
        as_user(LONER, use)
    finally:
        subprocess.run(["rm", "-rf", f"/dev/shm/libketama-{LONER}"], check=True)
    assert os.listdir(path.parent / "relative") == []


def test_a_read_only_directory(path: Path, open_base: Path) -> None:
    """Without permission to write to the directory, nothing is published; lookups work."""
    (open_base / "closed").mkdir(0o755)
    file = open_base / "ketama.servers"

    def use() -> bool:
        os.environ["KETAMA_SHM_DIR"] = str(open_base / "closed")
        continuum = ketama.Continuum(file)
        return not continuum.shared and continuum.lookup("key") in {"a:1", "b:1", "c:1"}

    as_user(VICTIM, use)
    assert os.listdir(open_base / "closed") == []


def test_a_full_tmpfs(tmpfs: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an image does not fit, lookups work, and no file is left behind."""
    monkeypatch.setenv("KETAMA_SHM_DIR", str(tmpfs))
    small = ketama.Continuum(path)
    assert small.shared
    published = images.image(path).read_bytes()
    path.write_text("".join(f"s{i}:1 1\n" for i in range(200)))
    assert small.roll()
    assert not small.shared
    assert len(small.get_points()) > 30000
    assert images.names(path) == {"", ".lock"}
    assert published == images.image(path).read_bytes()
    with pytest.raises(OSError, match="space"):
        (tmpfs / "filler").write_bytes(b"x" * 2**20)
    other = path.with_suffix(".other")
    other.write_text(A)
    continuum = ketama.Continuum(other)
    assert not continuum.shared
    assert continuum.lookup("key") in {"a:1", "b:1", "c:1"}
    (tmpfs / "filler").unlink()
    path.write_text(A)
    assert small.roll()
    assert small.shared


@pytest.mark.parametrize("options", ["remount,ro", "remount,nr_inodes=3"])
def test_a_file_system_that_rejects_files(
    options: str, tmpfs: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that is read-only or out of inodes, continua are private."""
    monkeypatch.setenv("KETAMA_SHM_DIR", str(tmpfs))
    images.folder().mkdir(0o700)
    (tmpfs / "filler").touch()
    subprocess.run(["mount", "-o", options, tmpfs], check=True)
    continuum = ketama.Continuum(path)
    assert not continuum.shared
    path.write_text(B)
    assert continuum.roll()
    assert continuum.lookup("key") in {"d:1", "e:1"}
    assert images.names(path) == set()


def test_a_limit_on_file_sizes(path: Path) -> None:
    """If an image would exceed RLIMIT_FSIZE and raise SIGXFSZ, the continuum is private."""

    def use() -> bool:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        return not ketama.Continuum(path).shared

    in_child(use)
    assert images.names(path) <= {".lock"}


def test_no_descriptors(path: Path) -> None:
    """At the limit of open files, lookups work, and a roll raises EMFILE."""

    def use() -> bool:
        continuum = ketama.Continuum(path)
        path.write_text(B)
        kept = [os.open("/dev/null", os.O_RDONLY)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (images.descriptors() + 1,) * 2)
        with contextlib.suppress(OSError):
            while True:
                kept.append(os.dup(kept[0]))
        try:
            continuum.roll()
        except ketama.KetamaOSError as error:
            good = error.errno == 24 and continuum.lookup("key") in {"a:1", "b:1", "c:1"}
        os.close(kept.pop())  # one descriptor suffices to read the file
        return good and continuum.roll() and continuum.lookup("key") in {"d:1", "e:1"}

    in_child(use)


def test_no_address_space(path: Path) -> None:
    """If an image cannot be mapped, the continuum is private or opening raises."""

    def use() -> bool:
        continuum = ketama.Continuum(path)
        resource.setrlimit(resource.RLIMIT_AS, (1, 1))
        with contextlib.suppress(MemoryError):
            ketama.Continuum(path)
        return continuum.lookup("key") in {"a:1", "b:1", "c:1"}

    in_child(use)


# ---- Leaks and isolation


def test_ten_thousand(path: Path) -> None:
    """Opening, rolling and dropping 10,000 continua leaks no mapping, descriptor or file."""
    ketama.Continuum(path)
    gc.collect()
    before = len(images.mapped()), images.descriptors()
    for number in range(10_000):
        continuum = ketama.Continuum(path)
        if number % 100 == 0:
            path.write_text((A, B)[number // 100 % 2])
            assert continuum.roll() == (number > 0) or number == 0
    del continuum
    gc.collect()
    assert (len(images.mapped()), images.descriptors()) == before
    assert images.names(path) == {"", ".lock"}


def test_dropping_one_of_two(path: Path) -> None:
    """Dropping one of two continua on the same image leaves the other intact."""
    one, other = ketama.Continuum(path), ketama.Continuum(path)
    points = other.get_points()
    del one
    gc.collect()
    assert other.get_points() == points
    path.write_text(B)
    assert other.roll()


def test_a_fork_with_it_open(path: Path) -> None:
    """The exit of a child process or of a thread leaves the parent's image intact."""
    continuum = ketama.Continuum(path)
    points = continuum.get_points()
    program = (
        "import sys, ketama; ketama.roll(sys.argv[1]); kept = ketama.Continuum(sys.argv[1])"
    )
    for _ in range(3):
        in_child(lambda: continuum.get_points() == points)
        subprocess.run([sys.executable, "-c", program, path], check=True)
        thread = threading.Thread(target=lambda: ketama.Continuum(path).lookup("key"))
        thread.start()
        thread.join()
        assert continuum.get_points() == points
        assert ketama.Continuum(path).shared
    assert images.generation(path) == 1


def test_a_parent_that_exits(path: Path) -> None:
    """A child whose parent has exited still looks up and rolls, and exits cleanly."""
    program = f"""
import os, sys; sys.path[:0] = {sys.path!r}
import ketama
continuum = ketama.Continuum(sys.argv[1])
parent = os.getpid()
if os.fork():
    sys.exit()
while os.getppid() == parent: pass
with open(sys.argv[1], "w") as file: file.write({B!r})
assert continuum.lookup("key")[0] in "abc" and continuum.roll()
print(continuum.shared, continuum.servers[0].address)
"""
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, path],
        check=True,
        capture_output=True,
        text=True,
    )
    assert ("True d:1\n", "") == (output.stdout, output.stderr)


def test_a_clock_behind_the_files(path: Path) -> None:
    """A process whose clock is a day behind detects each change, and shares images."""
    need("faketime")
    program = f"""
import os, sys, time, ketama
path, texts = sys.argv[1], [{B!r}, {A!r}]
assert time.time() < os.stat(path).st_mtime - 80000
c = ketama.Continuum(path)
assert c.shared
for i in range(20):
    with open(path, "w") as file: file.write(texts[i % 2])
    assert c.roll() and not c.roll()
    assert c.servers[0].address == texts[i % 2][:3]
print("good")
"""
    output = subprocess.run(
        ["faketime", "-f", "-1d", sys.executable, "-c", program, path],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert output == "good\n"
    assert ketama.Continuum(path).shared


def test_images_of_another_version(path: Path) -> None:
    """What another version publishes for the same file is neither used, changed nor removed."""
    base = images.image(path).name.removesuffix(".3")
    ketama.Continuum(path)
    theirs = [
        images.folder() / f"{base}{rest}"
        for rest in (".1", ".1.lock", ".1-12-ab", ".2", ".2.lock", ".2-12-ab", ".33")
    ]
    for file in theirs:
        file.write_bytes(images.image(path).read_bytes())
    continuum = ketama.Continuum(path)
    for weight in range(2, 5):
        new = path.with_suffix(".new")
        new.write_text(f"a:1 {weight}\n")
        new.replace(path)
        assert continuum.roll()
        assert continuum.shared
    for image in all_images()[1]:
        assert not remove(image)
    written = {file.read_bytes() for file in theirs}
    assert len(written) == 1
    states = {Path(image.image).name: image.state for image in all_images()[1]}
    assert states[images.image(path).name] == "current"
    assert {states.get(file.name) for file in theirs[::3]} == {"foreign"}
