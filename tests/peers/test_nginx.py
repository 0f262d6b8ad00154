"""nginx, in front of its own servers, each of which answers with its name."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from needs import need
from network import network

from peers.loopback import addresses_in, connect, ended
from peers.questions import ASCII, Form, Listed, compare, some_keys, some_lists

pytestmark = pytest.mark.xdist_group("peers network")

KEYS = 2500
PORT = 22300
# The text of a key in a URL: nginx takes it as it is, but for these.
TEXT = "".join(character for character in ASCII if character not in "#&%?+") + "ключ漢🦊"

CONFIGURATION = """
daemon off; master_process off; worker_rlimit_nofile 20000;
pid {folder}/pid; error_log {folder}/log error;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000; default_type text/plain;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_http_version 1.1; proxy_set_header Connection "";
    server {{
        listen {listen};
        {locations}
    }}
    {upstreams}
    {servers}
}}
"""


def location(at: int) -> str:
    return f"location /{at} {{ proxy_pass http://list{at}; }}"


def upstream(at: int, key: str, servers: Sequence[Listed]) -> str:
    """Return a list of servers, chosen by a variable's text."""
    lines = "".join(f"server {address} weight={weight}; " for address, weight, _ in servers)
    return f"upstream list{at} {{ hash {key} consistent; {lines} keepalive 64; }}"


def server(address: str) -> str:
    """Return a server that answers with its address."""
    return f'server {{ listen {address}; location / {{ return 200 "{address}\\n"; }} }}'


@contextmanager
def nginx(
    key: str, lists: Sequence[Sequence[Listed]], host: str, folder: Path
) -> Iterator[None]:
    """Run nginx with lists of servers."""
    addresses = {address for servers in lists for address, _, _ in servers}
    path = folder / "nginx.conf"
    path.write_text(
        CONFIGURATION.format(
            folder=folder,
            listen=f"{host}:{PORT}",
            locations="\n".join(map(location, range(len(lists)))),
            upstreams="\n".join(upstream(at, key, lists[at]) for at in range(len(lists))),
            servers="\n".join(map(server, sorted(addresses))),
        )
    )
    with ended(subprocess.Popen([need("nginx"), "-p", folder, "-c", path])):
        yield


def bodies(host: str, paths: Sequence[str]) -> list[str]:
    """Return the body of each path, which is one line."""
    requests = "".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths).encode()
    with connect((host, PORT)) as client:
        sender = threading.Thread(target=client.sendall, args=[requests])
        sender.start()
        found = []
        with client.makefile("rb") as answers:
            for path in paths:
                status = answers.readline()
                assert status == b"HTTP/1.1 200 OK\r\n", (path, status)
                while answers.readline() != b"\r\n":
                    pass
                found.append(answers.readline().decode().rstrip())
        sender.join()
    return found


@pytest.mark.parametrize("key", ["$arg_k", "$request_uri"])
def test_nginx(key: str, tmp_path: Path) -> None:
    """Lists with IPv6, host names, sockets and weights; the key is an argument, or the URI."""
    with network() as number:
        form = Form(addresses_in(number, v6="[::1]", sockets=f"unix:{tmp_path}"), "small")
        lists = some_lists(form)
        host = f"127.{number}.0.2"
        with nginx(key, lists, host, tmp_path):
            for at, servers in enumerate(lists):
                keys = some_keys(at, servers, text=TEXT, count=KEYS)
                paths = [f"/{at}?k={key}" for key in keys]
                found = bodies(host, paths)
                compare(servers, paths if key == "$request_uri" else keys, found, "nginx")
