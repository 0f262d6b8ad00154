"""memcached itself: keys that clients and proxies store, and its built-in proxy."""

from __future__ import annotations

import contextlib
import getpass
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from needs import need, need_module
from network import network

import ketama
from peers.loopback import addresses_in, connect, ended, saying_servers, values
from peers.questions import ASCII, Form, Listed, compare, host_and_port, some_keys, some_lists
from peers.test_twemproxy import pool, twemproxy

pytestmark = pytest.mark.xdist_group("peers network")

KEYS = 2500  # of each list, to the proxy
PORT = 22400


@contextlib.contextmanager
def memcached(host: str, port: int, *options: str | Path) -> Iterator[None]:
    """Run memcached, and wait until it listens."""
    command = [need("memcached"), "-l", host, "-p", str(port), "-u", getpass.getuser()]
    with ended(subprocess.Popen([*command, "-U", "0", "-t", "1", *options])):
        connect((host, port)).close()
        yield


def held(address: str, keys: Sequence[str]) -> set[str]:
    """Return which of the keys a memcached has."""
    found = set()
    with connect(host_and_port(address)) as client, client.makefile("rb") as answers:
        for key in keys:
            client.sendall(b"get %b\r\n" % key.encode())
            if answers.readline().startswith(b"VALUE "):
                found.add(key)
                answers.readline()  # the value, in the client's form
                assert answers.readline() == b"END\r\n"
    return found


def store_through_twemproxy(
    servers: Sequence[Listed], keys: Sequence[str], folder: Path, number: int
) -> None:
    host = f"127.{number}.0.2"
    configuration = "pool:" + pool(f"{host}:{PORT}", servers, {})
    with twemproxy(configuration, host, folder), connect((host, PORT)) as client:
        for key in keys:
            client.sendall(b"set %b 0 0 5\r\nvalue\r\n" % key.encode())
            assert client.recv(100) == b"STORED\r\n"


def store_by_pylibmc(servers: Sequence[Listed], keys: Sequence[str], *_: object) -> None:
    listed = [f"{address}:{weight}" for address, weight, _ in servers]
    client = need_module("pylibmc").Client(listed, behaviors={"ketama_weighted": True})
    for key in keys:
        assert client.set(key, "value")


def store_by_libmc(servers: Sequence[Listed], keys: Sequence[str], *_: object) -> None:
    client = need_module("libmc").Client([address for address, _, _ in servers])
    for key in keys:
        assert client.set(key, "value")


STORES: dict[str, Callable[[Sequence[Listed], Sequence[str], Path, int], None]] = {
    "twemproxy": store_through_twemproxy,
    "libmemcached": store_by_pylibmc,
    "libmc": store_by_libmc,
}


@pytest.mark.parametrize("profile", STORES)
def test_where_keys_are(profile: str, tmp_path: Path) -> None:
    """What a program stores is in the memcached that the profile says, and in no other one."""
    with network() as number, contextlib.ExitStack() as running:
        servers: list[Listed] = [
            (f"127.{number}.1.{at}:{port}", weight, None)
            for at, (port, weight) in enumerate(
                [(11211, 1), (11212, 3), (11211, 2), (11213, 1)]
            )
        ]
        for address, _, _ in servers:
            running.enter_context(memcached(*host_and_port(address)))
        keys = some_keys(0, servers, text=ASCII, count=300)
        STORES[profile](servers, keys, tmp_path, number)
        groups = ketama.Continuum(servers, profile=profile).group_by_server(keys)
        assert {address: {*group} for address, group in groups.items()} == {
            address: held(address, keys) for address, _, _ in servers
        }


# The built-in proxy, which asks the ring of the number that a key begins with.
CONFIGURATION = """
local function pool_of(addresses)
    local backends = {}
    for _, at in ipairs(addresses) do
        table.insert(backends, mcp.backend(at[1] .. at[2], at[1], at[2]))
    end
    return mcp.pool(backends, { dist = mcp.dist_ring_hash, %(options)s })
end

function mcp_config_pools()
    local pools = {}
    for _, addresses in ipairs({ %(lists)s }) do table.insert(pools, pool_of(addresses)) end
    return pools
end

function mcp_config_routes(pools)
    local lists = mcp.funcgen_new()
    local handles = {}
    for at, pool in ipairs(pools) do handles[at] = lists:new_handle(pool) end
    lists:ready({ f = function(context)
        return function(request)
            local at = tonumber(string.match(request:key(), "^%%d+"))
            return context:enqueue_and_wait(request, handles[at])
        end
    end })
    mcp.attach(mcp.CMD_GET, lists)
end
"""


def in_lua(servers: Sequence[Listed]) -> str:
    parts = [host_and_port(address) for address, _, _ in servers]
    return "{" + ", ".join(f'{{"{host}", "{port}"}}' for host, port in parts) + "}"


@pytest.mark.parametrize("hash_", ["xxh3", "md5"])
@pytest.mark.parametrize(
    "profile",
    ["memcached-proxy-ketama", "memcached-proxy-twemproxy", "memcached-proxy-evcache"],
)
def test_proxy(profile: str, hash_: str, tmp_path: Path) -> None:
    """Each mode of the built-in proxy's ring, with the hash that is its default, and MD5.

    Not the mode "default", in which memcached 1.6.38 of Debian 13 asks one server for all keys.
    """
    help_ = subprocess.run([need("memcached"), "-h"], capture_output=True, text=True).stdout
    if "proxy_config" not in help_:
        pytest.skip("this memcached was built without its proxy, as that of Debian 12")
    mode = profile.removeprefix("memcached-proxy-")
    with network() as number:
        *addresses, _ = addresses_in(number, v6="[::1]", sockets="")
        lists = some_lists(Form(addresses, weights="equal"))
        options = f'omode = "{mode}"' + (", hash = mcp.dist_ring_hash.hash" * (hash_ == "md5"))
        path = tmp_path / "proxy.lua"
        joined = ", ".join(map(in_lua, lists))
        path.write_text(CONFIGURATION % {"options": options, "lists": joined})
        listed = {address for servers in lists for address, _, _ in servers}
        host = f"127.{number}.0.2"
        with saying_servers(listed), memcached(host, PORT, "-o", f"proxy_config={path}"):
            for at, servers in enumerate(lists):
                random_keys = some_keys(at, servers, text=ASCII, count=KEYS)
                keys = [
                    key for key in (f"{at + 1}/{key}" for key in random_keys) if len(key) <= 250
                ]
                compare(servers, keys, values((host, PORT), keys), profile, hash=hash_)
