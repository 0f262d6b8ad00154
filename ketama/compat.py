"""The interfaces of other packages: Ketama, of PyPI's ketama, and Pyketama, of pyketama."""

from __future__ import annotations

from collections.abc import Iterable

from ketama.continuum import Continuum
from ketama.errors import KetamaError
from ketama.keys import Key
from ketama.servers import DEFAULT_WEIGHT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
else:
    Any = object  # for typing.get_type_hints


class Ketama(Continuum):
    """A Continuum with the interface of ketama 0.1.1 on PyPI.

    filename: the path of a server file, str or bytes.

    Raises ValueError if the filename is missing, empty, or neither str nor bytes, and
    KetamaError, a RuntimeError, if the file cannot be loaded.
    """

    __slots__ = ()

    def __init__(self, filename: str | bytes | None = None) -> None:
        if not isinstance(filename, (str, bytes)) or not filename:
            raise ValueError(f"filename must be a non-empty str or bytes, not {filename!r:.80}")
        super().__init__(filename)

    # Unlike Continuum.get_server, it accepts NUL bytes in a key.
    get_server = Continuum._find_point


class Pyketama:
    """A ring of nodes with values, with the interface of pyketama 0.2.1's Continuum.

    nodes: a list of "node", ("node", weight) or ("node", value, weight). The default weight
        is 100, the default value the node itself. An empty list is an empty ring.

    c[node] = value and c[node, weight] = value add a node; c[key] returns the value of the
    key's node. As in pyketama, a node that is set again has its new value for all its keys,
    and counts twice: its old weight stays on the ring. Each assignment builds a new ring, so
    pass many nodes to the constructor.

    Raises ServersError if a node or a weight is invalid, and TypeError if its type is wrong;
    the ring then stays as it was. A lookup raises KetamaError if the ring is empty, and
    TypeError for a key that is neither text nor bytes, or has a NUL byte.

    >>> c = Pyketama([("node1", "127.0.0.1:12211", 400), ("node2", "127.0.0.1:12212", 500)])
    >>> c["node3", 300] = "127.0.0.1:12213"
    >>> c["test"]
    '127.0.0.1:12212'
    """

    __slots__ = ("_now",)

    # The nodes, their values, and the ring: one attribute, so that lookups see all of one time.
    _now: tuple[list[tuple[str, int, None]], dict[str, Any], Continuum | None]

    def __init__(self, nodes: Iterable[Any] = ()) -> None:
        if isinstance(nodes, (str, bytes)):
            raise TypeError(f"nodes must be a list, not {type(nodes).__name__}")
        self._now = [], {}, None
        rows = [_row(node) for node in nodes]
        if rows:
            self._add(rows)

    def _add(self, rows: list[tuple[str, Any, int]]) -> None:
        nodes, values, _ = self._now
        nodes = nodes + [(node, weight, None) for node, _, weight in rows]
        ring = Continuum(nodes)
        self._now = nodes, values | {node: value for node, value, _ in rows}, ring

    def __setitem__(self, node: str | tuple[str, int], value: Any) -> None:
        name, weight = node if isinstance(node, tuple) else (node, DEFAULT_WEIGHT)
        self._add([(name, value, weight)])

    def __getitem__(self, key: Key) -> Any:
        _, values, ring = self._now
        if ring is None:
            raise KetamaError("the continuum is empty: add a server with c[node] = value")
        return values[ring.get_server(key)[1]]

    # Without these two, Python would treat an object with __getitem__ as a sequence.
    __iter__: None = None
    __contains__: None = None


def _row(node: Any) -> tuple[str, Any, int]:
    """Return the name, value and weight of an item of pyketama's list."""
    if isinstance(node, str):
        return node, node, DEFAULT_WEIGHT
    if isinstance(node, (tuple, list)) and len(node) == 2:
        return node[0], node[0], node[1]
    if isinstance(node, (tuple, list)) and len(node) == 3:
        return node[0], node[1], node[2]
    raise TypeError(
        f"a node must be a name, (name, weight) or (name, value, weight), not {node!r:.80}"
    )
