"""The port driver on its own: requests, answers and exit statuses."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from library import LIBRARY, sanitized_archive
from needs import need, need_strace
from test_golden import rows
from waiting import PATIENCE, wait_until_reliable

import ketama

VECTORS = Path(__file__).with_name("vectors")
END = b"\xff"

# One process of the tests builds the driver, and uses it.
pytestmark = pytest.mark.xdist_group("port")

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the driver with sanitizers, so that it fails on bad accesses and leaks."""
    program = tmp_path_factory.mktemp("driver") / "ketama_port"
    command = [need("cc"), "-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{LIBRARY}"]
    source = LIBRARY / "erlang" / "ketama_port.c"
    subprocess.run([*command, "-o", program, source, sanitized_archive()], check=True)
    return program


@pytest.fixture
def start(driver: Path) -> Iterator[Start]:
    """Return a function that starts a driver, which is stopped after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str | Path, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [driver, *arguments], stdin=pipe, stdout=stdout, stderr=pipe, bufsize=0
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def request(key: bytes) -> bytes:
    return bytes([len(key)]) + key


def answers(output: bytes) -> list[bytes]:
    """Return the answers; each has a length of at least 1, and none is truncated."""
    found = []
    while output:
        found.append(output[1 : 1 + output[0]])
        assert len(found[-1]) == output[0] > 0
        output = output[1 + output[0] :]
    return found


def read(stream: IO[bytes] | None, size: int) -> bytes:
    assert stream is not None
    data = b""
    while len(data) < size:
        assert select.select([stream], [], [], PATIENCE)[0], f"no more than {data!r}"
        more = stream.read(size - len(data))
        assert more, f"the end after {data!r}"
        data += more
    return data


def ask(process: subprocess.Popen[bytes], key: bytes) -> bytes:
    assert process.stdin
    process.stdin.write(request(key))
    return read(process.stdout, read(process.stdout, 1)[0])


def ended(process: subprocess.Popen[bytes], given: bytes = b"") -> tuple[bytes, bytes, int]:
    """Send the last input, and return the remaining output."""
    out, err = process.communicate(given, timeout=PATIENCE)
    return out, err, process.returncode


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Interrupt the system call that the driver waits in, by stopping and continuing it."""
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    process.send_signal(signal.SIGCONT)


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@pytest.mark.parametrize("name", ["classic8", "starved", "tie100"])
def test_golden_answers_of_many_requests_in_one_write(name: str, start: Start) -> None:
    """Requests in one write get the 2007 libketama's answers, in order."""
    keys = [
        (key.encode(), address.encode())
        for key, _, _, address in rows(name, "lookups.tsv")
        if len(key.encode()) < 255
    ]
    assert len(keys) >= 200
    requests = b"".join(request(key) for key, _ in keys)
    out, err, status = ended(start(VECTORS / name / "ketama.servers"), requests)
    assert ([address for _, address in keys], b"", 0) == (answers(out), err, status)


@pytest.mark.parametrize(
    "stated", ["", "#ketama profile=libmemcached\n", "#ketama profile=twemproxy hash=crc16\n"]
)
def test_names_and_dialects(stated: str, tmp_path: Path, start: Start) -> None:
    """The driver hashes names, in the dialect that the file states, as Python does."""
    path = tmp_path / "ketama.servers"
    path.write_text(f"{stated}10.0.0.1:11211 5 a\n10.0.0.2:11211 6\n10.0.0.3:11211 7 b # x\n")
    keys = [b"%d" % number for number in range(1000)]
    out, err, status = ended(start(path), b"".join(map(request, keys)))
    found = [address.decode() for address in answers(out)]
    assert (b"", 0) == (err, status)
    assert ketama.Continuum(path).lookup_many(keys) == found
    path.write_text("10.0.0.1:11211 5\n10.0.0.2:11211 6\n10.0.0.3:11211 7\n")
    assert ketama.Continuum(path).lookup_many(keys) != found


def test_input_of_any_size_at_once(two: Path, start: Start) -> None:
    """100,000 requests at once are answered while they are being sent."""
    keys = [b"%d" % number * (1 + number % 40) for number in range(100_000)]
    continuum = ketama.Continuum(two)
    out, err, status = ended(start(two), b"".join(map(request, keys)))
    assert [continuum.lookup(key).encode() for key in keys] == answers(out)
    assert (b"", 0) == (err, status)


def test_input_byte_by_byte(two: Path, start: Start) -> None:
    """A request that arrives byte by byte is answered after its last byte."""
    process = start(two)
    assert process.stdin
    continuum = ketama.Continuum(two)
    for key in (b"user:42", b"", b"x" * 254):
        whole = request(key)
        for at in range(len(whole)):
            assert not select.select([process.stdout], [], [], 0.001)[0]
            process.stdin.write(whole[at : at + 1])
        expected = continuum.lookup(key).encode()
        assert expected == read(process.stdout, 1 + len(expected))[1:]


def test_each_answer_comes_before_the_next_request(two: Path, start: Start) -> None:
    """An answer does not wait for more input, not even after half a request."""
    process = start(two)
    assert process.stdin
    process.stdin.write(request(b"test") + b"\x04te")
    assert b"\x0f127.0.0.1:11211" == read(process.stdout, 16)
    process.stdin.write(b"st")
    assert b"\x0f127.0.0.1:11211" == read(process.stdout, 16)


def test_keys_of_any_bytes(start: Start) -> None:
    """NULs, 0xff, line ends and invalid UTF-8 are allowed in keys."""
    path = VECTORS / "classic8" / "ketama.servers"
    keys = [bytes([byte]) * length for byte in range(256) for length in (1, 3, 254)]
    keys += [b"a\0b", b"a\0c", b"\xff\0\xff", b"\r\n", b""]
    continuum = ketama.Continuum(path)
    expected = [continuum.lookup(key).encode() for key in keys]
    assert len(set(expected)) == 8
    assert expected == answers(ended(start(path), b"".join(map(request, keys)))[0])


def test_addresses_of_255_bytes(tmp_path: Path, start: Start) -> None:
    """The longest and shortest addresses are complete, even if they fill the buffers."""
    path = tmp_path / "ketama.servers"
    path.write_text("x" * 255 + " 1\na 1\n")
    keys = [b"%d" % number for number in range(10_000)]
    continuum = ketama.Continuum(path)
    out, err, status = ended(start(path), b"".join(map(request, keys)))
    assert [continuum.lookup(key).encode() for key in keys] == answers(out)
    assert ({b"x" * 255, b"a"}, b"", 0) == (set(answers(out)), err, status)


def test_answers_that_fill_the_buffer_exactly(tmp_path: Path, start: Start) -> None:
    """Answers that end exactly at the buffer's end do not overrun it."""
    path = tmp_path / "ketama.servers"
    path.write_text("a 1\n")
    assert (b"\x01a" * 50_000, b"", 0) == ended(start(path), request(b"") * 50_000)


@pytest.mark.parametrize("given", [b"", b"\x04", b"\x04tes", b"\xfe" + b"x" * 253])
def test_the_end_of_input(given: bytes, two: Path, start: Start) -> None:
    """The driver exits at the end of input, even within a key, and answers whole requests."""
    assert (b"", b"", 0) == ended(start(two), given)
    before = request(b"test")
    assert (b"\x0f127.0.0.1:11211", b"", 0) == ended(start(two), before + given)


@pytest.mark.parametrize("behind", [b"", request(b"test"), b"x" * 300])
def test_a_length_of_255(behind: bytes, two: Path, start: Start) -> None:
    """The driver exits at a length of 255, without answering what follows."""
    process = start(two)
    assert process.stdin
    process.stdin.write(request(b"test") + END + behind)
    assert process.wait(timeout=PATIENCE) == 0
    assert (b"\x0f127.0.0.1:11211", b"", 0) == ended(process)


def test_a_closed_stdout(two: Path, start: Start) -> None:
    """If stdout is closed, the driver exits with status 0 and no message."""
    process = start(two)
    assert process.stdin
    assert process.stdout
    process.stdout.close()
    process.stdin.write(request(b"test"))
    assert process.wait(timeout=PATIENCE) == 0
    assert process.stderr
    assert b"" == process.stderr.read()


def test_a_full_disk(two: Path, start: Start) -> None:
    """If answers cannot be written, the driver exits with an error message."""
    with Path("/dev/full").open("wb") as full:
        _, err, status = ended(start(two, stdout=full.fileno()), request(b"test"))
    assert (b"ketama_port: writing: No space left on device\n", 1) == (err, status)


def test_pipes_that_do_not_block(two: Path, driver: Path) -> None:
    """On non-blocking pipes, the driver waits and continues with the rest."""
    (stdin, ours), (theirs, stdout) = os.pipe(), os.pipe()
    os.set_blocking(stdin, False)
    os.set_blocking(stdout, False)
    fcntl.fcntl(stdout, fcntl.F_SETPIPE_SZ, 4096)  # half of the driver's buffer
    process = subprocess.Popen([driver, two], stdin=stdin, stdout=stdout)
    os.close(stdin)
    os.close(stdout)
    with os.fdopen(ours, "wb", 0) as requests, os.fdopen(theirs, "rb", 0) as output:
        for _ in range(3):
            requests.write(request(b"test"))
            assert b"\x0f127.0.0.1:11211" == read(output, 16)
        keys = [b"%d" % number for number in range(10_000)]
        requests.write(b"".join(map(request, keys)))
        requests.close()
        got = b""
        while more := output.read(999):
            got += more
    assert process.wait(timeout=PATIENCE) == 0
    continuum = ketama.Continuum(two)
    assert [continuum.lookup(key).encode() for key in keys] == answers(got)


def test_interrupted_system_calls(two: Path, start: Start) -> None:
    """Stopping and continuing the driver in a read or a write loses no byte."""
    process = start(two)
    for _ in range(20):
        interrupt(process)
        assert b"127.0.0.1:11211" == ask(process, b"test")
    assert (b"", b"", 0) == ended(process)


def test_a_changed_file(two: Path, start: Start) -> None:
    """The next answer after a change uses the new file, replaced or edited in place."""
    process = start(two)
    assert b"127.0.0.1:11211" == ask(process, b"test")
    replace(two, "new:1 1\n")
    assert b"new:1" == ask(process, b"test")
    two.write_text("other:1 1\n")
    assert b"other:1" == ask(process, b"test")
    assert (b"", b"", 0) == ended(process)


def test_an_invalid_file_is_reported_once(two: Path, start: Start) -> None:
    """An invalid or missing file prints one line, until the error changes or is fixed."""
    process = start(two)
    wrong = f"ketama_port: {two}:1: invalid weight "
    missing = f"ketama_port: {two}: No such file or directory"
    assert b"127.0.0.1:11211" == ask(process, b"test")  # it has read the valid file

    for text, address in [
        ("a:1 none\n", b"127.0.0.1:11211"),  # invalid
        ("a:1 none\n", b"127.0.0.1:11211"),  # touched, same error
        ("a:1 nil\n", b"127.0.0.1:11211"),  # another error
        ("", b"127.0.0.1:11211"),  # missing
        ("a:1 nil\n", b"127.0.0.1:11211"),  # invalid again
        ("new:1 1\n", b"new:1"),  # valid
        ("a:1 nil\n", b"new:1"),  # invalid once more
    ]:
        if text:
            replace(two, text)
        else:
            two.unlink()
        assert [address] * 3 == [ask(process, b"test") for _ in range(3)]

    out, err, status = ended(process)
    assert (b"", 0) == (out, status)
    lines = err.decode().splitlines()
    expected = [wrong + '"none"', wrong + '"nil"', missing, wrong + '"nil"', wrong + '"nil"']
    assert expected == [line.partition(": must")[0] for line in lines]


def test_an_invalid_file_at_the_start(two: Path, start: Start) -> None:
    """Without a valid file, the driver prints the reason and exits with status 1."""
    two.write_text("a:1 1\nb:1\n")
    out, err, status = ended(start(two))
    assert (b"", 1) == (out, status)
    assert err.startswith(f"ketama_port: {two}:2: ".encode())
    assert 1 == err.count(b"\n")
    missing = two.with_name("missing")
    expected = f"ketama_port: {missing}: No such file or directory\n".encode()
    assert (b"", expected, 1) == ended(start(missing))


@pytest.mark.parametrize("arguments", [(), ("a", "b")])
def test_wrong_usage(arguments: tuple[str, ...], start: Start) -> None:
    """With other than one argument, the driver prints its usage and exits with status 2."""
    assert (b"", b"usage: ketama_port SERVERFILE\n", 2) == ended(start(*arguments))


def test_a_lookup_costs_one_stat(two: Path, driver: Path) -> None:
    """An answer takes a read, a stat and a write, and no other system call."""
    wait_until_reliable(two)
    keys = 50
    traced = two.with_suffix(".trace")
    trace = [need_strace(), "-qq", "-o", str(traced)]
    # The leak sanitizer does not work under a tracer.
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}
    process = subprocess.Popen(
        [*trace, driver, two],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env=environment,
    )
    with process:
        for _ in range(keys):
            assert b"127.0.0.1:11211" == ask(process, b"test")
    text = traced.read_text()
    answered = text[text.index("write(1, ") : text.rindex("write(1, ")].splitlines()
    calls = [line.partition("(")[0] for line in answered]
    assert ["write", "read", "stat"] * (keys - 1) == [
        "stat" if "stat" in call else call for call in calls
    ]
