"""A configuration that a real program reads gives keys the servers that we give them."""

from __future__ import annotations

import ctypes
import ctypes.util
import http.client
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from needs import lacking, need, need_module
from waiting import wait_for

import ketama
from ketama.admin.imports import Imported, import_servers
from ketama.continuum import continuum_of_text

KEYS = [f"user:{number}" for number in range(1000)]


def ring(made: Imported) -> ketama.Continuum:
    """Return the continuum of the file that was made."""
    return continuum_of_text(made.text, "made")


# ---- libmemcached, whose parser of configuration strings is asked


@pytest.fixture(scope="session")
def libmemcached() -> Any:
    """Load the library."""
    name = ctypes.util.find_library("memcached") or lacking("libmemcached is not installed")
    library = ctypes.CDLL(name)
    library.memcached.restype = ctypes.c_void_p
    library.memcached.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    library.memcached_generate_hash.restype = ctypes.c_uint32
    library.memcached_generate_hash.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]
    library.memcached_free.argtypes = [ctypes.c_void_p]
    return library


A, B, C = "--SERVER=10.0.0.1:11211", "--SERVER=cache2", "--SERVER=10.0.0.3:11212"
KETAMA = "--DISTRIBUTION=consistent"
STRINGS = [
    (f"{KETAMA} {A} {B} {C}", True),
    (f"{A} {B} {C} {KETAMA}", True),
    (f"{KETAMA} {A}/?3 {B} {C}/?2", True),
    (f"{A}/?3 {B} {C}/?2 {KETAMA}", True),
    (f"{A}/?3 {KETAMA} {B} {C}", True),
    (f"{A} {KETAMA} {B} {C}/?2", True),
    (f"{KETAMA} {A}/?3 {B}/?0 {C}", True),
    (f"{KETAMA},MD5 {A} {B} {C}", True),
    (f"--HASH=MD5 {KETAMA} {A} {B} {C}", True),
    (f"{KETAMA} --HASH=MD5 {A} {B} {C}", True),
    (f"{A} {B} {C} --HASH=MD5 {KETAMA}", True),
    (f"{A} {B} {C} {KETAMA} --HASH=MD5", False),
    (f"{KETAMA} {A}/?3 {B} {C} --HASH=MD5", True),
    (f"--HASH=FNV1A_64 {KETAMA} {A}/?3 {B} {C}", True),
    (f"--distribution=CONSISTENT {A} {B} --TCP-NODELAY", True),
    (f'{KETAMA} {A} --SOCKET="/run/mc.sock"/?3 {B}', True),
    (f'{KETAMA} {A} --SOCKET="/run/mc.sock/?3" {B}', True),
    (f'{KETAMA} {A} {B} {C} --NAMESPACE="x:"', True),
    (f"{KETAMA} {A} {B} END {C}", True),
    (f"{A} {B} {C}", False),
    (f"{A} {B} {C} --DISTRIBUTION=modula", False),
    *(
        (f"--HASH={name} {KETAMA} {A} {B} {C}", True)
        for name in ("CRC", "FNV1_64", "FNV1A_64", "FNV1_32", "FNV1A_32", "MURMUR", "JENKINS")
    ),
]


@pytest.mark.parametrize(("string", "agrees"), STRINGS)
def test_libmemcached(libmemcached: Any, string: str, agrees: bool) -> None:
    """Each string gives its answers, or it is said that keys will move."""
    text = string.encode()
    client = libmemcached.memcached(text, len(text))
    assert client, "libmemcached refuses it"
    expected = [
        libmemcached.memcached_generate_hash(client, key.encode(), len(key)) for key in KEYS
    ]
    libmemcached.memcached_free(client)
    made = import_servers(text, "string")
    assert (expected == list(ring(made).indexes(KEYS))) == agrees
    assert any("keys will move" in note.reason for note in made.notes) == (not agrees)


def test_libmemcached_with_a_namespace(libmemcached: Any) -> None:
    """A namespace is hashed only if the string says so, and then that is said here."""
    text = f'{KETAMA} {A} {B} {C} --NAMESPACE="x:" --HASH-WITH-NAMESPACE'.encode()
    client = libmemcached.memcached(text, len(text))
    expected = [
        libmemcached.memcached_generate_hash(client, key.encode(), len(key)) for key in KEYS
    ]
    libmemcached.memcached_free(client)
    made = import_servers(text, "string")
    assert expected == list(ring(made).indexes([f"x:{key}" for key in KEYS]))
    assert [note.reason for note in made.notes] == [
        "'x:' is hashed before each key: use 'ketama where --prefix'"
    ]


# ---- nginx, with servers that answer with their port


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


CONFIGURATION = """
daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d;
    scgi_temp_path e;
    upstream cache {{
        hash $arg_key consistent;
{upstream}
    }}
    server {{ {listen} location / {{ return 200 $server_port; }} }}
    server {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://cache; }} }}
}}
"""


@contextmanager
def nginx(configuration: str, port: int, folder: Path) -> Iterator[None]:
    """Run nginx until the end of the block."""
    (folder / "nginx.conf").write_text(configuration)
    command = [need("nginx"), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            wait_for(lambda: process.poll() is not None or _listens(port))
            assert process.poll() is None, process.communicate()[1]
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _listens(port: int) -> bool:
    with closing(socket.socket()) as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


Write = Callable[[list[int]], list[str]]


@pytest.mark.parametrize(
    "write",
    [
        lambda ports: [f"server 127.0.0.1:{port};" for port in ports],
        lambda ports: [
            f"server 127.0.0.1:{port} weight={weight} max_fails=2;"
            for weight, port in enumerate(ports, 1)
        ],
        lambda ports: [
            f"server 127.0.0.1:{port}{' down' * (number == 1)};"
            for number, port in enumerate(ports)
        ],
    ],
    ids=["equal", "weighted", "down"],
)
def test_nginx(write: Write, tmp_path: Path) -> None:
    """The upstream block that nginx runs with gives its answers; one server may be down."""
    need_module("crossplane")
    front, *ports = free_ports(5)
    configuration = CONFIGURATION.format(
        upstream="\n".join(write(ports)),
        listen=" ".join(f"listen 127.0.0.1:{port};" for port in ports),
        front=front,
    )
    made = import_servers(configuration.encode(), "nginx.conf")
    continuum = ring(made)
    assert len(made.servers) == len(ports) - ("down" in configuration.split("{")[3])
    with nginx(configuration, front, tmp_path):
        connection = http.client.HTTPConnection("127.0.0.1", front)
        for key in KEYS:
            connection.request("GET", f"/?key={key}")
            answer = connection.getresponse().read().decode()
            assert continuum.lookup(key) == f"127.0.0.1:{answer}", key
        connection.close()


# ---- twemproxy


def test_twemproxy(tmp_path: Path) -> None:
    """The file that is imported is one that nutcracker accepts."""
    need_module("yaml")
    program = need("nutcracker")
    path = tmp_path / "nutcracker.yml"
    path.write_text(
        "sessions:\n  listen: 127.0.0.1:22121\n  hash: md5\n  hash_tag: '{}'\n"
        "  distribution: ketama\n  servers:\n"
        "   - 10.0.0.1:11211:3 cache-a\n   - 10.0.0.2:11211:1\n   - /run/mc.sock:2\n"
    )
    subprocess.run([program, "-t", "-c", path], check=True, capture_output=True)
    made = import_servers(path.read_bytes(), "nutcracker.yml")
    assert made.settings == "profile=twemproxy hash=md5 hash_tag={}"
