"""uhashring and libmc."""

from __future__ import annotations

import pytest
from needs import need_module

from peers.questions import Form, compare, host_name, ipv4, ipv6, some_keys, some_lists

pytestmark = pytest.mark.xdist_group("peers")


def test_uhashring() -> None:
    """HashRing(nodes, hash_fn="ketama")."""
    uhashring = need_module("uhashring")
    for number, servers in enumerate(some_lists(Form([ipv4, ipv6, host_name]))):
        nodes = {address: {"weight": weight} for address, weight, _ in servers}
        ring = uhashring.HashRing(nodes, hash_fn="ketama")
        keys = some_keys(number, servers)
        compare(servers, keys, [ring.get_node(key) for key in keys], "uhashring")


@pytest.mark.parametrize("hash_", ["md5", "fnv1_32", "fnv1a_32", "crc_32"])
def test_libmc(hash_: str) -> None:
    """libmc.Client(["host:port name", ...]), with each hash function."""
    libmc = need_module("libmc")
    function = getattr(libmc, f"MC_HASH_{hash_.upper()}")
    form = Form([ipv4, host_name], weights="equal", named=True)
    for number, servers in enumerate(some_lists(form)):
        listed = [f"{address} {name or ''}".strip() for address, _, name in servers]
        client = libmc.Client(listed, hash_fn=function)
        by_host = {text.split()[-1]: text.split()[0] for text in listed}
        by_host |= {address: address for address, _, _ in servers}
        keys = some_keys(number, servers)
        found = [by_host[client.get_host_by_key(key)] for key in keys]
        compare(servers, keys, found, "libmc", by_chance=True, hash=hash_)
