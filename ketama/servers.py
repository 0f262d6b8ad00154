"""Servers, as a continuum lists them and as a caller passes them in."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import index

from ketama._ketama import ffi, lib
from ketama.errors import ServersError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple, SupportsIndex

    class Server(NamedTuple):
        """For type checkers; at run time a namedtuple, which needs no import of typing."""

        address: str
        weight: int
        points: int
        share: float
        name: str | None = None

else:
    SupportsIndex = int
    Server = namedtuple("Server", "address weight points share name", defaults=[None])
    Server.__annotations__ = {
        "address": str,
        "weight": int,
        "points": int,
        "share": float,
        "name": str | None,
    }
    Server.__doc__ = """A server of a continuum.

    address: as in the server file, such as "10.0.1.1:11211".
    weight: as in the server file, 1 to 2**63 - 1.
    points: how many points it has on the ring; may be 0.
    share: the exact fraction of all hashes that it owns, 0.0 to 1.0. Shares are multiples of
        2**-32, so those of a continuum sum to exactly 1.0.
    name: the text that is hashed in place of the address; None to hash the address.
    """

Entry = (
    str
    | tuple[str, SupportsIndex]
    | tuple[str, SupportsIndex, str | None]
    | Server
    # What mypy infers for a variable's list in which the entries differ.
    | Sequence[str | SupportsIndex | None]
)
Servers = Iterable[Entry] | Mapping[str, SupportsIndex]

DEFAULT_WEIGHT = 100
# Bound once: reading them from `lib` takes as long as checking a weight.
SERVERS_MAX, WEIGHT_MAX = lib.KETAMA_SERVERS_MAX, lib.KETAMA_WEIGHT_MAX
# Of memcached. Beside an address without a port, such a number is refused as a weight.
PORTS = range(11210, 11220)


def _rows(servers: Servers) -> Iterator[tuple[object, object, object]]:
    """Yield the address, weight and name of each entry, unchecked."""
    if isinstance(servers, Mapping):
        for address, weight in servers.items():
            yield address, weight, None
        return
    for position, entry in enumerate(servers, 1):
        if isinstance(entry, str):
            yield entry, DEFAULT_WEIGHT, None
        elif isinstance(entry, Server):
            yield entry.address, entry.weight, entry.name
        elif isinstance(entry, (tuple, list)) and len(entry) == 2:
            _refuse_port(position, *entry)
            yield entry[0], entry[1], None
        elif isinstance(entry, (tuple, list)) and len(entry) == 3:
            yield entry[0], entry[1], entry[2]
        else:
            raise TypeError(
                f"server {position} must be an address, (address, weight) or "
                f"(address, weight, name), not {entry!r:.80}"
            )


def _refuse_port(position: int, address: object, weight: object) -> None:
    """Raise ServersError if these are a host and a port, as other clients write a server."""
    if not (isinstance(address, str) and isinstance(weight, int) and weight in PORTS):
        return
    from ketama.addresses import find_address

    found = find_address(address)
    if found and found.host and found.port is None:
        joined = f"{address}:{weight}"
        reason = (
            f"{weight} looks like a port, not a weight: write {joined!r} or "
            f"({joined!r}, weight), or ({address!r}, {weight}, None) if it is the weight"
        )
        raise ServersError(None, position, reason)


def _text(position: int, what: str, text: object) -> bytes:
    """Return an address or a name as bytes."""
    if not isinstance(text, str):
        raise TypeError(f"server {position}: {what} must be str, not {type(text).__name__}")
    try:
        data = str.encode(text)
    except UnicodeEncodeError:
        reason = f"invalid {what} {text!r:.80}: lone surrogates are not UTF-8"
        raise ServersError(None, position, reason) from None
    if b"\0" in data:
        raise ServersError(None, position, f"invalid {what} {text!r:.80}: has a NUL byte")
    return data


def _weight(position: int, weight: Any) -> int:
    if isinstance(weight, bool) or not hasattr(weight, "__index__"):
        raise TypeError(f"server {position}: weight must be int, not {type(weight).__name__}")
    number = index(weight)
    if not 0 < number <= WEIGHT_MAX:
        bits = number.bit_length()
        text = str(number) if bits < 256 else f"of {bits} bits"
        reason = f"invalid weight {text}: must be an integer from 1 to {WEIGHT_MAX}"
        raise ServersError(None, position, reason)
    return number


def to_c(servers: Servers) -> tuple[Any, int, Any]:
    """Return servers as a C array, its length, and the texts that it points to."""
    texts: list[bytes] = []
    weights: list[int] = []
    named = bytearray()
    for position, (address, weight, name) in enumerate(_rows(servers), 1):
        if position > SERVERS_MAX:
            reason = f"too many servers: at most {SERVERS_MAX}"
            raise ServersError(None, position, reason)
        texts.append(_text(position, "address", address))
        if name is not None:
            texts.append(_text(position, "name", name))
        named.append(name is not None)
        weights.append(
            weight
            if type(weight) is int and 0 < weight <= WEIGHT_MAX
            else _weight(position, weight)
        )
    array = ffi.new("ketama_server[]", len(weights))
    joined = ffi.new("char[]", b"\0".join(texts))
    lib.point_servers(array, len(array), joined, ffi.new("uint64_t[]", weights), bytes(named))
    return array, len(array), joined


def addresses_of(handle: Any) -> tuple[str, ...]:
    """Return the address of each server of a handle."""
    size = lib.addresses_of(handle, ffi.NULL, 0)
    if size == 0:
        return ()
    joined = ffi.new("char[]", size)
    lib.addresses_of(handle, joined, size)
    return tuple(ffi.unpack(joined, size - 1).decode().split("\0"))


def from_c(handle: Any) -> Iterator[Any]:
    """Yield each server of a handle in one C struct, which is reused."""
    row = ffi.new("ketama_server *")
    for number in range(lib.ketama_count_servers(handle)):
        lib.ketama_server_at(handle, number, row)
        yield row


def name_of(row: Any) -> str | None:
    """Return the name in a C struct of a server."""
    return None if row.name == ffi.NULL else str(ffi.string(row.name).decode())
