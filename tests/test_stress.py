"""Real processes at their worst; minutes long, so run by `make stress`, not by `make test`."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import images
import pytest
from library import build_in_place, compile_program
from needs import need, need_python
from waiting import PATIENCE, wait_for

import ketama

pytestmark = pytest.mark.stress

ROOT = Path(__file__).resolve().parents[1]


def servers(letter: str, count: int) -> str:
    return "".join(f"{letter}{i}:11211 {100 + i % 7}\n" for i in range(count))


def by_rename(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def python(program: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, args)],
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


# ---- 1: look up and roll as fast as can be, while the file changes

ROLLER = """
import json, os, sys, time, ketama
path, seconds, tolerant = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "in_place"
keys = [f"key-{i}" for i in range(100)]
c = None
rolls = changes = raised = mixed = unshared = 0
longest = 0.0
end = time.monotonic() + seconds
seen = set()
while time.monotonic() < end:
    begin = time.perf_counter()
    try:
        if c is None:
            c = ketama.Continuum(path)
        changes += c.roll()
    except ketama.ServersError as error:
        raised += 1
        if not tolerant or not error.reason.startswith("no servers"):
            raise
    longest = max(longest, time.perf_counter() - begin)
    rolls += 1
    if c is None:
        continue
    unshared += not c.shared
    batch = [c.lookup(key) for key in keys]
    if len({address[0] for address in batch}) != 1:
        mixed += 1
    seen.add(tuple(batch))
print(json.dumps(dict(rolls=rolls, changes=changes, raised=raised, mixed=mixed,
                      unshared=unshared, longest=longest, seen=sorted(seen))))
"""


@pytest.mark.parametrize("change", [by_rename, in_place])
def test_six_processes_roll(change: Any, tmp_path: Path) -> None:
    """Every batch of lookups is wholly of one file, and only an empty file is an error."""
    path = tmp_path / "ketama.servers"
    texts = [servers("a", 50), servers("b", 30)]
    right = set()
    for text in texts:
        path.write_text(text)
        continuum = ketama.Continuum(path, shared=False)
        right.add(tuple(continuum.lookup(f"key-{i}") for i in range(100)))
    processes = [python(ROLLER, path, 10, change.__name__) for _ in range(6)]
    changes = 0
    while any(process.poll() is None for process in processes):
        changes += 1
        change(path, texts[changes % 2])
        time.sleep(0.05)
    reports = [json.loads(process.communicate()[0]) for process in processes]
    total = {k: sum(r[k] for r in reports) for k in ("rolls", "changes", "raised", "unshared")}
    longest = max(report["longest"] for report in reports)
    print(
        f"\n{change.__name__}: {changes} changes, {total}, longest roll {longest * 1e3:.1f} ms"
    )
    assert [0] * 6 == [process.returncode for process in processes]
    assert [0] * 6 == [report["mixed"] for report in reports]
    assert {tuple(batch) for report in reports for batch in report["seen"]} <= right
    assert min(report["changes"] for report in reports) > 0
    assert total["unshared"] <= total["changes"] / 10  # overtaken while it published
    if change is by_rename:
        assert total["raised"] == 0
    assert images.names(path) <= {"", ".lock"}


# ---- 2: publishers that die, and that stop

PUBLISHER = """
import sys, ketama
path = sys.argv[1]
texts = [open(path + end).read() for end in (".one", ".two")]
print("ready", flush=True)
i = 0
while True:
    with open(path, "w") as file: file.write(texts[i % 2])
    ketama.Continuum(path)
    i += 1
"""


def test_publishers_that_are_killed(tmp_path: Path) -> None:
    """Two hundred publishers are killed at a random moment; nobody else notices."""
    path = tmp_path / "ketama.servers"
    texts = {".one": servers("a", 40), ".two": servers("b", 40)}
    for end, text in texts.items():
        Path(f"{path}{end}").write_text(text)
    path.write_text(texts[".one"])
    chance = random.Random(7)  # the moments are random; their row can be repeated
    left = 0
    for _ in range(200):
        process = python(PUBLISHER, path)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        process.communicate()
        left = max(left, len(images.names(path) - {"", ".lock"}))
        # The killed one was perhaps in the middle of writing the file itself.
        path.write_text(texts[".two"])
        continuum = ketama.Continuum(path)
        assert continuum.shared
        assert len(continuum.servers) == 40
        assert continuum.lookup("key")[0] == "b"
        assert images.names(path) == {"", ".lock"}
    print(f"\n200 killed; at most {left} unfinished file at a time, removed by the next")


def is_locked(path: Path) -> bool:
    """Whether some process builds the image of that file just now."""
    with (
        suppress(FileNotFoundError),
        images.image(path).with_name(images.image(path).name + ".lock").open("r+b") as lock,
    ):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_publisher_that_is_stopped(tmp_path: Path) -> None:
    """A builder that is stopped while it builds does not keep others from sharing."""
    path = tmp_path / "ketama.servers"
    path.write_text(servers("a", 40_000))
    process = python("import sys, ketama; print(ketama.Continuum(sys.argv[1]).shared)", path)
    while not is_locked(path):
        assert process.poll() is None
    process.send_signal(signal.SIGSTOP)
    assert is_locked(path)
    begin = time.monotonic()
    path.write_text(servers("b", 10))  # a small one, so that the time is that of the wait
    waited = []
    for text in (servers("b", 10), servers("c", 10)):
        path.write_text(text)
        for _ in range(2):
            begin = time.monotonic()
            continuum = ketama.Continuum(path)
            waited.append(time.monotonic() - begin)
            assert continuum.shared
            assert continuum.lookup("key")[0] == text[0]
    process.send_signal(signal.SIGCONT)
    assert process.communicate()[0] in ("True\n", "False\n")
    assert ketama.Continuum(path).lookup("key")[0] == "c"
    print("\nwaited for a stopped builder: " + ", ".join(f"{w * 1e3:.1f} ms" for w in waited))


# ---- 3: ten thousand damaged images


def damaged(image: bytes, chance: random.Random) -> bytes:
    """An image with one kind of damage."""
    data = bytearray(image)
    kind = chance.randrange(6)
    if kind == 0:  # a header's field: extremes and neighbours
        at = chance.randrange(0, images.HEADER, 4)
        old = int.from_bytes(data[at : at + 4], sys.byteorder)
        new = chance.choice([0, 1, old + 1, old - 1, 2**31, 2**32 - 1, chance.getrandbits(32)])
        data[at : at + 4] = (new % 2**32).to_bytes(4, sys.byteorder)
    elif kind == 1:
        del data[chance.randrange(len(data)) :]
    elif kind == 2:
        data += chance.randbytes(chance.randrange(1, 5000))
    elif kind == 3:
        for _ in range(chance.randrange(1, 50)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    elif kind == 4:  # an index, point or server out of range
        at = chance.randrange(images.HEADER, len(data) - 4, 4)
        data[at : at + 4] = b"\xff\xff\xff\xff"
    else:
        data[:] = chance.randbytes(chance.randrange(len(data)))
    return bytes(data)


def test_damaged_images(tmp_path: Path) -> None:
    """No damaged image crashes a process or is answered from; it is replaced."""
    path = tmp_path / "ketama.servers"
    path.write_text(servers("a", 10))
    continuum = ketama.Continuum(path)
    right = continuum.get_points()
    place = images.image(path)
    chance = random.Random(11)
    different = 0
    for _ in range(10_000):
        bad = damaged(place.read_bytes(), chance)
        different += bad != place.read_bytes()
        fresh = place.with_name("fresh")
        fresh.write_bytes(bad)
        fresh.chmod(0o600)
        fresh.replace(place)
        opened = ketama.Continuum(path)
        assert opened.get_points() == right
        assert opened.shared
        assert len(opened.servers) == 10
    assert continuum.get_points() == right
    print(f"\n10000 images, {different} of them damaged")
    assert different > 9000


# ---- 7: a web server

APP = """
import os, ketama
continuum = ketama.Continuum(os.environ["SERVERS"], auto_roll=0.2)
def app(environ, start_response):
    address = continuum.lookup(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {address[0]}".encode()]
"""


@contextmanager
def gunicorn(folder: Path, path: Path, *options: str) -> Iterator[str]:
    """Run gunicorn with four workers; gives the URL."""
    (folder / "shop.py").write_text(APP)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--workers", "4", "--bind", f"127.0.0.1:{port}",
         "--log-level", "warning", *options, "shop:app"],
        cwd=folder,
        env={**os.environ, "SERVERS": str(path)},
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}/?"
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def ask(url: str) -> tuple[str, str]:
    """The worker's process and the first letter of the server."""
    with urllib.request.urlopen(url + "user:42", timeout=PATIENCE) as response:
        worker, letter = response.read().decode().split()
    return worker, letter


def answers_at_all(url: str) -> bool:
    with suppress(OSError):
        ask(url)
        return True
    return False


@pytest.mark.parametrize("options", [(), ("--preload",)])
def test_a_web_server(options: tuple[str, ...], tmp_path: Path) -> None:
    """While the file changes no request fails; a second later all workers have the new one."""
    path = tmp_path / "ketama.servers"
    path.write_text(servers("a", 50))
    failed: list[Exception] = []
    answers = 0
    done = threading.Event()

    with gunicorn(tmp_path, path, *options) as url:
        wait_for(lambda: answers_at_all(url))

        def load() -> None:
            nonlocal answers
            while not done.is_set():
                try:
                    ask(url)
                    answers += 1
                except (OSError, ValueError) as error:
                    failed.append(error)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        for change in range(10):
            letter = "ba"[change % 2]
            by_rename(path, servers(letter, 50))
            latest: dict[str, str] = {}
            until = time.monotonic() + PATIENCE
            while list(latest.values()) != [letter] * 4 and time.monotonic() < until:
                worker, answered = ask(url)
                latest[worker] = answered
            assert [letter] * 4 == list(latest.values())
        done.set()
        for thread in threads:
            thread.join()
    print(
        f"\ngunicorn {' '.join(options)}: {answers} requests, {len(failed)} failed, 10 changes"
    )
    assert failed == []
    assert images.generation(path) == 11


# ---- 8: sixty-four at once

STARTER = """
import gc, sys, ketama
def uss():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
print("ready", flush=True)
sys.stdin.readline()
gc.collect(); before = uss()
c = ketama.Continuum(sys.argv[1]); c.lookup("key")
print(c.shared, c.lookup("key"), uss() - before, flush=True)
sys.stdin.readline()
"""


def test_sixty_four_start_at_once(tmp_path: Path) -> None:
    """One builds, sixty-three attach, and none keeps the image in memory of its own."""
    path = tmp_path / "ketama.servers"
    path.write_text(servers("a", 10_000))
    processes = [python(STARTER, path, stdin=subprocess.PIPE) for _ in range(64)]
    for process in processes:  # all are waiting for their word
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    rows = [process.stdout.readline().split() for process in processes if process.stdout]
    inodes = {
        line.split()[4]
        for process in processes
        for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines()
        if images.image(path).name in line
    }
    for process in processes:
        process.communicate("end\n")
    growth = sorted(int(row[2]) for row in rows)
    print(
        f"\nbuilds: {images.generation(path)}; private memory, KiB: {growth[0]} to {growth[-1]}"
    )
    assert {("True", rows[0][1])} == {(row[0], row[1]) for row in rows}
    assert images.generation(path) == len(inodes) == 1
    assert growth[-1] < 3 * 1024


# ---- five hundred at once


@pytest.mark.parametrize("at_once", ["open", "refresh", "stopped"])
def test_a_herd_of_five_hundred(at_once: str, tmp_path: Path) -> None:
    """Of 500 processes at most three build, whoever publishes, on however few processors."""
    path, program = tmp_path / "ketama.servers", tmp_path / "herd"
    compile_program("herd.c", program, "-Wl,--wrap=ketama_ring_make")
    command = [str(program), at_once, "3000", str(path), "500"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    builds, shared, generation, longest = map(int, ran.stdout.split())
    print(f"\n{at_once}: {builds} builds, generation {generation}, longest {longest} ms")
    assert builds <= 3
    assert shared == 500


FORKED = """
import os, sys, ketama
path, count = sys.argv[1], int(sys.argv[2])
go, word = os.pipe()
ready, done = os.pipe()
refreshes = len(sys.argv) > 3
c = ketama.Continuum(path) if refreshes else None
for _ in range(count):
    if os.fork() == 0:
        os.close(word)
        os.read(go, 1)
        good = c.roll() if refreshes else (c := ketama.Continuum(path))
        os.write(done, b"+" if good and c.shared else b"-")
        os._exit(0)
os.close(go)
print("ready", flush=True)
sys.stdin.readline()
os.close(word)
print("".join(os.read(ready, 1).decode() for _ in range(count)))
for _ in range(count):
    os.wait()
"""


@pytest.mark.parametrize("options", [(), ("refresh",)])
def test_five_hundred_workers(options: tuple[str, ...], tmp_path: Path) -> None:
    """Forked Python workers that start or roll at once publish one image, and share it."""
    path = tmp_path / "ketama.servers"
    path.write_text(servers("a", 3000))
    process = python(FORKED, path, 500, *options, stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if options:
        by_rename(path, servers("b", 3000))
    output = process.communicate("go\n")[0]
    assert output == 500 * "+" + "\n"
    assert images.generation(path) == 1 + len(options)


# ---- 9: others on the same file

C_PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include "ketama.h"
int main(int argc, char **argv)
{
    char line[256];
    ketama_continuum c, newer;
    ketama_server server;
    if (argc != 2 || ketama_open(&c, argv[1], NULL) != KETAMA_OK)
        return 1;
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (ketama_refresh(c, &newer) == KETAMA_CHANGED) {
            ketama_close(c);
            c = newer;
        }
        ketama_server_at(c, ketama_find(c, line, strlen(line), NULL), &server);
        printf("%d %s\n", ketama_is_shared(c), server.address);
        fflush(stdout);
    }
    ketama_close(c);
    return 0;
}
"""

PYTHON_PROGRAM = """
import sys, ketama
c = ketama.Continuum(sys.argv[1])
for line in sys.stdin:
    c.roll()
    print(int(c.shared), c.lookup(line.rstrip("\\n")), flush=True)
"""


def test_two_pythons_and_a_c_program(tmp_path: Path) -> None:
    """Programs in C and on two versions of Python use one image, and agree, as it changes."""
    path = tmp_path / "ketama.servers"
    path.write_text(servers("a", 20))
    (tmp_path / "other.c").write_text(C_PROGRAM)
    build = build_in_place()
    subprocess.run(
        [need("cc"), "-I", ROOT / "libketama", "-o", tmp_path / "other", tmp_path / "other.c",
         build / "libketama.a"],
        check=True,
    )  # fmt: skip
    venv = tmp_path / "venv"
    subprocess.run([need_python("3.13", "3.12", "3.10"), "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin" / "pip", "install", "--quiet", ROOT], check=True)
    (tmp_path / "program.py").write_text(PYTHON_PROGRAM)
    commands: list[list[object]] = [
        [tmp_path / "other", path],
        [sys.executable, tmp_path / "program.py", path],
        [venv / "bin" / "python", tmp_path / "program.py", path],
    ]
    processes = [
        subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for command in commands
    ]
    for change in range(20):
        for key in ("user:42", "naïve café", ""):
            answers = set()
            for process in processes:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{key}\n")
                process.stdin.flush()
                answers.add(process.stdout.readline())
            assert len(answers) == 1
            assert answers.pop().startswith("1 " + "ab"[change % 2])
        (by_rename, in_place)[change // 2 % 2](path, servers("ba"[change % 2], 20))
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert images.generation(path) == 20
