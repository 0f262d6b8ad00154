"""A hasher for pymemcache's own HashClient, and for programs that only take a hasher."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ketama import Continuum, Path, Servers
from ketama.clients.probe import endpoint
from ketama.clients.routing import continuum_of


class Hasher:
    """The hasher of a continuum, as pymemcache calls it.

    source: as for HashClient. Pass the hasher where a class is expected: each call of it
        returns a hasher with no nodes, on the same continuum.

    A key goes to the first of its successors that is among the nodes. The program's list of
    servers must be that of the server file: an address that the program does not have gets
    no keys, and neither does one that is not in the file.

    >>> from pymemcache import HashClient
    >>> servers = ["10.0.1.1:11211", "10.0.1.2:11211"]
    >>> client = HashClient(servers, hasher=Hasher(servers))
    >>> client.hasher.get_node("user:42")
    '10.0.1.1:11211'
    """

    def __init__(self, source: Path | Servers | Continuum) -> None:
        self._continuum = continuum_of(source)
        # Changed in place, one item at a time, and then the version: threads lose no update.
        self._nodes: dict[str | tuple[str, int], str] = {}
        self._version = object()
        # The addresses and the version that the mask was made from, the mask, and the nodes.
        self._masked: tuple[object, object, frozenset[str], dict[str, str]] = (
            None, None, frozenset(), {}
        )  # fmt: skip

    def __call__(self) -> Hasher:
        """Return a hasher without nodes, on the same continuum."""
        return Hasher(self._continuum)

    def add_node(self, node: str) -> None:
        """Let keys go to a node: "host:port", an IPv6 address without brackets, or a path."""
        self._nodes[_endpoint_of_node(node)] = node
        self._version = object()

    def remove_node(self, node: str) -> None:
        """Let no keys go to a node. Raises ValueError if it is not one."""
        if self._nodes.pop(_endpoint_of_node(node), None) is None:
            raise ValueError(f"no such node: {node!r}")
        self._version = object()

    def get_node(self, key: str | bytes) -> str | None:
        """Return the node of a key, or None if no node of the file was added."""
        while True:
            addresses, version = self._continuum.addresses, self._version
            known = self._masked
            if known[0] is not addresses or known[1] is not version:
                mask = _mask(addresses, self._nodes.copy())
                known = self._masked = (addresses, version, *mask)
            address = self._continuum.lookup(key, exclude=known[2])
            if address is None or address in known[3]:
                return known[3].get(address or "")
            # The file was reloaded in between: the mask is not of the version that answered.


def _endpoint_of_node(node: str) -> str | tuple[str, int]:
    """Return the path of a node, or its host and port, which are joined without brackets."""
    host, colon, port = node.rpartition(":")
    return (host, int(port)) if colon and port.isdigit() and "/" not in node else endpoint(node)


def _endpoint_or_none(address: str) -> str | tuple[str, int] | None:
    try:
        return endpoint(address)
    except ValueError:
        return None  # no node can have that address


def _mask(
    addresses: Iterable[str], nodes: Mapping[str | tuple[str, int], str]
) -> tuple[frozenset[str], dict[str, str]]:
    """Return the addresses that are no nodes, and the nodes of the others."""
    node_of = {
        address: nodes[where]
        for address in addresses
        if (where := _endpoint_or_none(address)) is not None and where in nodes
    }
    return frozenset(a for a in addresses if a not in node_of), node_of
