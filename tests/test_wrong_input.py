"""Invalid files, lists and types: the error messages, and the location in them."""

from __future__ import annotations

import errno
import itertools
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from threads import forks_beside_threads

import ketama

SOURCE = "source must be a path, an iterable of servers or a mapping of address to weight"
WEIGHT = "must be an integer from 1 to 9223372036854775807"
READ_AS_600 = f"{WEIGHT}; write 600, as the 2007 libketama reads it"
NO_WEIGHT = "no weight after address \"a:1\": write 'address weight'"
NO_SERVERS = "no servers: write one per line, 'address weight'"

ENTRY = "must be an address, (address, weight) or (address, weight, name)"

GOOD_FILES = {
    "no newline at the end": (b"a:1 900", [("a:1", 900)]),
    "a blank behind the weight": (b"a:1 900 \nb:1 5\t\n", [("a:1", 900), ("b:1", 5)]),
    "\\r\\n": (b"a:1 900\r\n\r\nb:1 5\r\n", [("a:1", 900), ("b:1", 5)]),
    "comments and empty lines": (b"# x\n\na:1 9\n#b:1 5\n", [("a:1", 9)]),
    "tabs and more blanks": (b"a:1 \t 9\n", [("a:1", 9)]),
    "255 bytes of address": (b"a" * 255 + b" 9\n", [("a" * 255, 9)]),
    "the same address twice": (b"a:1 9\na:1 9\n", [("a:1", 9), ("a:1", 9)]),
    "a long comment": (b"#" + b"x" * 10000 + b"\na:1 9\n", [("a:1", 9)]),
    "a comment after the weight": (b"a:1 9 # web1\n", [("a:1", 9)]),
    "a byte order mark": ("\ufeffa:1 5\n".encode(), [("a:1", 5)]),
    "not ASCII": ("höst:1 9\n".encode(), [("höst:1", 9)]),
}

WRONG_FILES = {
    "a unit after the weight": (
        b"a:1 5\nb:1 600MB\n",
        2,
        f'invalid weight "600MB": {READ_AS_600}',
    ),
    "a sign": (b"a:1 +600\n", 1, f'invalid weight "+600": {READ_AS_600}'),
    "a fraction": (b"a:1 600.5\n", 1, f'invalid weight "600.5": {READ_AS_600}'),
    "a negative weight": (b"a:1 -5\n", 1, f'invalid weight "-5": {WEIGHT}'),
    "a weight of 0": (b"a:1 0\n", 1, f'invalid weight "0": {WEIGHT}'),
    "a weight over 2**63": (
        b"a:1 9223372036854775808\n",
        1,
        f'invalid weight "9223372036854775808": {WEIGHT}',
    ),
    "no weight": (b"# x\n\na:1\n", 3, NO_WEIGHT),
    "more than a name": (
        b"a:1 5 b:1 5\n",
        1,
        'unexpected "5" after the name: begin a comment with #',
    ),
    "a name on two lines": (
        b"a:1 600 MB\nb:1 600 MB\n",
        2,
        'duplicate name "MB": names must be unique',
    ),
    "a name that is an address": (
        b"a:1 600 b:1\nb:1 600\n",
        2,
        'address "b:1" has the name of another server: names must be unique',
    ),
    "256 bytes of address": (
        b"a" * 256 + b" 9\n",
        1,
        f'address "{"a" * 40}"... is too long: 256 bytes, at most 255',
    ),
    "a NUL byte": (b"a:1 5\nb\0:1 5\n", 2, "NUL byte: must be text"),
    "invalid UTF-8": (b"h\xf6st:1 5\n", 1, 'invalid address "h\\xf6st:1": must be UTF-8'),
    "UTF-16": ("a:1 5\n".encode("utf-16"), 1, "NUL byte: must be text"),
    "an indented comment": (
        b"a:1 5\n  # x\n",
        2,
        "invalid address \"#\": must not begin with '#'",
    ),
    "an empty file": (b"", None, NO_SERVERS),
    "only comments": (b"# a:1 5\n\n", None, NO_SERVERS),
}


@pytest.mark.parametrize("name", GOOD_FILES)
def test_valid_files(name: str, tmp_path: Path) -> None:
    """Files that the 2007 libketama misread, or read by luck, are read as intended."""
    text, expected = GOOD_FILES[name]
    path = tmp_path / "ketama.servers"
    path.write_bytes(text)
    assert expected == [(s.address, s.weight) for s in ketama.Continuum(path).servers]


@pytest.mark.parametrize("name", WRONG_FILES)
def test_invalid_files(name: str, tmp_path: Path) -> None:
    """The error has file, line and reason, and is a KetamaError and a ValueError."""
    text, lineno, reason = WRONG_FILES[name]
    path = tmp_path / "ketama.servers"
    path.write_bytes(text)
    with pytest.raises(ketama.ServersError) as caught:
        ketama.Continuum(path)
    error = caught.value
    assert (str(path), lineno, reason) == (error.filename, error.lineno, error.reason)
    assert str(error) == f"{path}{f':{lineno}' if lineno else ''}: {reason}"
    assert isinstance(error, ketama.KetamaError)
    assert isinstance(error, ValueError)
    assert str(error) == str(pickle.loads(pickle.dumps(error)))


def test_an_invalid_file_with_a_path_of_bytes(tmp_path: Path) -> None:
    """A path of bytes is shown as text, and kept as bytes in `filename`."""
    path = tmp_path / "ketama.servers"
    path.write_text("a:1\n")
    with pytest.raises(ketama.ServersError) as caught:
        ketama.Continuum(os.fsencode(path))
    assert str(caught.value) == f"{path}:1: {NO_WEIGHT}"
    assert caught.value.filename == os.fsencode(path)


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_a_missing_file(kind: Any, tmp_path: Path) -> None:
    """A missing file raises a KetamaError and OSError, with errno and the original path."""
    name = kind(str(tmp_path / "missing"))
    with pytest.raises(ketama.KetamaOSError) as caught:
        ketama.Continuum(name)
    error = caught.value
    assert isinstance(error, ketama.KetamaError)
    assert isinstance(error, OSError)
    assert errno.ENOENT == error.errno
    assert os.fspath(name) == error.filename
    assert str(error) == f"[Errno 2] No such file or directory: {os.fspath(name)!r}"


@pytest.mark.parametrize(
    ("source", "servers"),
    [
        ("10.0.0.1:11211", ["10.0.0.1:11211"]),
        ("[::1]:11211", ["[::1]:11211"]),
        ("cache1:11211,cache2:11211", ["cache1:11211", "cache2:11211"]),
        ("cache1:11211;cache2:11211", ["cache1:11211", "cache2:11211"]),
    ],
)
def test_addresses_in_place_of_a_path(source: str, servers: list[str], tmp_path: Path) -> None:
    """The error says that a path was expected, and how to pass servers."""
    for opened in (ketama.Continuum, ketama.roll):
        with pytest.raises(ketama.KetamaOSError) as caught:
            opened(source)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, source)
        assert str(caught.value) == (
            "[Errno 2] No such file or directory: expected the path of a server file; for a "
            f"list of servers, write {servers}: {source!r}"
        )
    path = tmp_path / source
    path.write_text("a:1 1\n")
    assert ketama.Continuum(str(path))["key"] == "a:1"


@pytest.mark.parametrize("name", ["servers", "cache1", "/etc/cache1:11211", "a:b", "a:1,/b"])
def test_a_missing_file_that_is_no_address(name: str) -> None:
    """Without a host and a port, the error is that of any missing file."""
    with pytest.raises(ketama.KetamaOSError) as caught:
        ketama.Continuum(name)
    assert caught.value.strerror == "No such file or directory"


def test_not_a_regular_file(tmp_path: Path) -> None:
    """Directories, FIFOs, devices, link loops and empty paths are rejected at once."""
    fifo, loop = tmp_path / "fifo", tmp_path / "loop"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    refused: list[tuple[Any, int]] = [
        (tmp_path, errno.EISDIR),
        (fifo, errno.EINVAL),
        ("/dev/zero", errno.EINVAL),
        (loop, errno.ELOOP),
        ("", errno.ENOENT),
        (b"", errno.ENOENT),
        ("x" * 5000, errno.ENAMETOOLONG),
    ]
    for path, number in refused:
        with pytest.raises(ketama.KetamaOSError) as caught:
            ketama.Continuum(path)
        assert number == caught.value.errno


@forks_beside_threads
def test_an_unreadable_file() -> None:
    """A file that may not be read raises an OSError with EACCES."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ketama.servers")
        path.write_text("a:1 1\n")
        path.chmod(0)
        path.parent.chmod(0o755)
        child = os.fork()
        if child == 0:
            if os.getuid() == 0:
                os.setresuid(65534, 65534, 65534)
            try:
                ketama.Continuum(path)
            except ketama.KetamaOSError as error:
                os._exit(0 if error.errno == errno.EACCES and path.exists() else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@forks_beside_threads
def test_a_constantly_growing_file(two: Path) -> None:
    """A file that grows while it is read, such as a log, raises EAGAIN."""
    child = os.fork()
    if child == 0:
        with two.open("ab", buffering=0) as file:
            for _ in range(10**7):
                file.write(b"# and so on\n")
        os._exit(0)
    try:
        with pytest.raises(ketama.KetamaOSError) as caught:  # noqa: PT012
            while True:
                ketama.Continuum(two)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert caught.value.errno == errno.EAGAIN
    assert caught.value.strerror == "the file changed each of the 10 times it was read"


def test_no_memory() -> None:
    """Without memory, opening raises MemoryError, and the continuum in use still works."""
    program = f"""
import resource, sys; sys.path[:0] = {sys.path!r}
import ketama
continuum, servers = ketama.Continuum(["a"]), [f"s{{i}}" for i in range(50_000)]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 50 * 2**20,) * 2)
try:
    ketama.Continuum(servers)
except MemoryError:
    print("MemoryError", continuum.lookup("key"))
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ("MemoryError a\n", "") == (output.stdout, output.stderr)


def test_a_nul_in_the_path() -> None:
    """A path with a NUL byte raises ValueError, as in open()."""
    with pytest.raises(ValueError, match=r"^invalid path .*: has a NUL byte$"):
        ketama.Continuum("/etc/ketama.servers\0.old")
    with pytest.raises(ValueError, match=r"^invalid path .*: has a NUL byte$"):
        ketama.roll(b"a\0b")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, f"{SOURCE}, not NoneType"),
        (3, f"{SOURCE}, not int"),
        (object(), f"{SOURCE}, not object"),
        ([3], f"server 1 {ENTRY}, not 3"),
        (["a", ("b",)], f"server 2 {ENTRY}, not ('b',)"),
        ([("b", 1, "c", 2)], f"server 1 {ENTRY}, not ('b', 1, 'c', 2)"),
        ([("b", 1, 2)], "server 1: name must be str, not int"),
        (["a", b"b"], f"server 2 {ENTRY}, not b'b'"),
        ([(b"b", 1)], "server 1: address must be str, not bytes"),
        ({3: 1}, "server 1: address must be str, not int"),
        ({"a": 1, "b": 1.0}, "server 2: weight must be int, not float"),
        ({"a": True}, "server 1: weight must be int, not bool"),
        ({"a": "1"}, "server 1: weight must be int, not str"),
        ({"a": None}, "server 1: weight must be int, not NoneType"),
        ({"a": Decimal(1)}, "server 1: weight must be int, not Decimal"),
    ],
)
def test_wrong_types(source: Any, message: str) -> None:
    """A source, address or weight of a wrong type raises TypeError with the position."""
    with pytest.raises(TypeError) as caught:
        ketama.Continuum(source)
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(
    ("source", "lineno", "reason"),
    [
        ([], None, "no servers: the list is empty"),
        ({}, None, "no servers: the list is empty"),
        (iter(()), None, "no servers: the list is empty"),
        ({"a": 0}, 1, f"invalid weight 0: {WEIGHT}"),
        ({"a": 1, "b": -1}, 2, f"invalid weight -1: {WEIGHT}"),
        ({"a": 2**63}, 1, f"invalid weight 9223372036854775808: {WEIGHT}"),
        ({"a": 2**200}, 1, f"invalid weight {2**200}: {WEIGHT}"),
        ({"a": 10**5000}, 1, f"invalid weight of 16610 bits: {WEIGHT}"),
        ([""], 1, "empty address"),
        ([("a", 1, "n"), ("b", 1, "n")], 2, 'duplicate name "n": names must be unique'),
        ([("a", 1, "b"), "b"], 2, 'address "b" has the name of another server'),
        (["a b"], 1, 'invalid address "a b": must not contain blanks or line breaks'),
        (["a", "b\n"], 2, 'invalid address "b\\x0a": must not contain blanks or line breaks'),
        (["a\0"], 1, r"invalid address 'a\x00': has a NUL byte"),
        (["\udcff"], 1, r"invalid address '\udcff': lone surrogates are not UTF-8"),
        (
            ["#a"],
            1,
            "invalid address \"#a\": must not begin with '#'",
        ),
        (["ö" * 128], 1, f'address "{chr(92)}xc3{chr(92)}xb6'),
        (
            [("a", 2**63 - 1), ("b", 2**63 - 1), ("c", 2)],
            3,
            "too much weight: all together at most 18446744073709551615",
        ),
    ],
)
def test_invalid_lists(source: Any, lineno: int | None, reason: str) -> None:
    """An invalid list raises ServersError with the server's position and the reason."""
    with pytest.raises(ketama.ServersError) as caught:
        ketama.Continuum(source)
    error = caught.value
    assert (None, lineno) == (error.filename, error.lineno)
    assert error.reason.startswith(reason)
    assert str(error) == (f"server {lineno}: " if lineno else "") + error.reason


@pytest.mark.parametrize(
    ("entry", "joined"),
    [
        (("10.0.0.1", 11211), "10.0.0.1:11211"),
        (["cache1", 11212], "cache1:11212"),
        (("::1", 11211), "::1:11211"),
        (("[::1]", 11211), "[::1]:11211"),
        (("cache1", 11210), "cache1:11210"),
        (("cache1", 11219), "cache1:11219"),
    ],
)
def test_a_host_and_a_port(entry: Any, joined: str) -> None:
    """(host, port), pymemcache's form, is refused; the message has both remedies."""
    with pytest.raises(ketama.ServersError) as caught:
        ketama.Continuum(["a:1", entry])
    host, port = entry
    assert str(caught.value) == (
        f"server 2: {port} looks like a port, not a weight: write {joined!r} or "
        f"({joined!r}, weight), or ({host!r}, {port}, None) if it is the weight"
    )
    assert ketama.Continuum(["a:1", joined]).servers[1].weight == 100
    assert ketama.Continuum(["a:1", (joined, port)]).servers[1].weight == port
    assert ketama.Continuum(["a:1", (host, port, None)]).servers[1].weight == port


@pytest.mark.parametrize(
    "servers",
    [
        [("cache1", 600), ("cache2", 600)],
        [("cache1", 11209), ("cache2", 11220)],
        [("cache1:11211", 11211)],
        [("/run/memcached.sock", 11211)],
        {"cache1": 11211},
        [ketama.Server("cache1", 11211, 0, 0.0)],
    ],
)
def test_weights_like_ports(servers: Any, tmp_path: Path) -> None:
    """Other weights, and addresses with a port, are accepted; and in a file, all are."""
    continuum = ketama.Continuum(servers)
    assert pickle.loads(pickle.dumps(continuum)).servers == continuum.servers
    path = tmp_path / "ketama.servers"
    path.write_text("".join(f"{s.address} {s.weight}\n" for s in continuum.servers))
    assert ketama.Continuum(path).servers == continuum.servers
    with ketama.edit(path) as editing:
        editing.add("cache9", 11211)
    assert ketama.Continuum(path).servers[-1][:2] == ("cache9", 11211)


def test_too_many_servers() -> None:
    """More than 2**20 servers are an error that names the limit."""
    with pytest.raises(ketama.ServersError, match="server 1048577: too many servers"):
        ketama.Continuum(itertools.repeat("a"))


@pytest.mark.parametrize("key", [None, 3, 3.0, ["a"], ("a",), object(), True])
def test_keys_of_a_wrong_type(key: Any, two: Path) -> None:
    """A key that is neither text nor bytes raises TypeError in every function."""
    continuum, drop_in = ketama.Continuum(two), ketama.Ketama(str(two))
    message = f"^key must be str, bytes, bytearray or memoryview, not {type(key).__name__}$"
    for ask in (
        continuum.lookup,
        continuum.get_server,
        continuum.__getitem__,
        drop_in.get_server,
        ketama.hashi,
        ketama.md5_digest,
        lambda key: ketama.get_server(key, continuum),
    ):
        with pytest.raises(TypeError, match=message):
            ask(key)


def test_an_interval_that_is_no_number(two: Path) -> None:
    """What auto_roll must be is said, with the type that was given."""
    for interval in ("1", b"1", [1]):
        with pytest.raises(
            TypeError,
            match=f"^auto_roll must be seconds, a number, not {type(interval).__name__}$",
        ):
            ketama.Continuum(two, auto_roll=interval)  # type: ignore[arg-type]


def test_a_lone_surrogate_in_a_key(two: Path) -> None:
    """A lone surrogate raises UnicodeEncodeError, which is a ValueError."""
    with pytest.raises(UnicodeEncodeError):
        ketama.Continuum(two).lookup("\ud800")
