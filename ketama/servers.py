"""Servers: what a continuum tells of them, and what it can be made of."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable, Iterator, Mapping
from operator import index

from ketama._ketama import ffi, lib
from ketama.errors import ServersError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple, SupportsIndex, TypeAlias

    Entry: TypeAlias = str | tuple[str, SupportsIndex] | "Server"
    Servers: TypeAlias = Iterable[Entry] | Mapping[str, SupportsIndex]

    class Server(NamedTuple):
        """What it is at run time, where typing is not worth its import."""

        address: str
        weight: int
        points: int
        share: float

else:
    Server = namedtuple("Server", "address weight points share")
    Server.__doc__ = """A server of a continuum.

    address: as in the file, such as "10.0.1.1:11211".
    weight: as in the file, 1 to 2**63 - 1.
    points: how many points of the circle are its own, a multiple of 4; may be 0.
    share: the exact part of all possible keys that it is given, 0.0 to 1.0; a continuum's
        shares are multiples of 2**-32 and sum to 1.0 without any rounding.
    """

DEFAULT_WEIGHT = 100


def _pairs(servers: Servers) -> Iterator[tuple[object, object]]:
    """Give the address and the weight of each entry, yet to be checked."""
    if isinstance(servers, Mapping):
        yield from servers.items()
        return
    for place, entry in enumerate(servers, 1):
        if isinstance(entry, Server):
            yield entry.address, entry.weight
        elif isinstance(entry, (tuple, list)) and len(entry) == 2:
            yield entry[0], entry[1]
        elif isinstance(entry, str):
            yield entry, DEFAULT_WEIGHT
        else:
            raise TypeError(
                f"server {place} must be an address or (address, weight), not {entry!r:.80}"
            )


def _address(place: int, address: object) -> bytes:
    if not isinstance(address, str):
        raise TypeError(f"server {place}: address must be str, not {type(address).__name__}")
    try:
        data = str.encode(address)
    except UnicodeEncodeError:
        reason = f"address {address!r:.80} has a lone surrogate in it, which is not UTF-8"
        raise ServersError(None, place, reason) from None
    if b"\0" in data:
        raise ServersError(None, place, f"address {address!r:.80} has a NUL byte in it")
    return data


def _weight(place: int, weight: Any) -> int:
    if isinstance(weight, bool) or not hasattr(weight, "__index__"):
        raise TypeError(f"server {place}: weight must be int, not {type(weight).__name__}")
    number = index(weight)
    if not 0 < number <= lib.KETAMA_WEIGHT_MAX:
        bits = number.bit_length()
        text = str(number) if bits < 256 else f"a number of {bits} bits"
        reason = f"weight is {text}, not a whole number from 1 to {lib.KETAMA_WEIGHT_MAX}"
        raise ServersError(None, place, reason)
    return number


def to_c(servers: Servers) -> tuple[Any, int, list[Any]]:
    """Make a C array of servers: the array, its length, and what it must not outlive."""
    rows = []
    kept_alive = []
    for place, (address, weight) in enumerate(_pairs(servers), 1):
        if place > lib.KETAMA_SERVERS_MAX:
            reason = f"more than {lib.KETAMA_SERVERS_MAX} servers"
            raise ServersError(None, place, reason)
        text = ffi.new("char[]", _address(place, address))
        kept_alive.append(text)
        rows.append({"address": text, "weight": _weight(place, weight)})
    return ffi.new("ketama_server[]", rows), len(rows), kept_alive


def from_c(handle: Any) -> Iterator[Any]:
    """Give each server of a handle as a C struct, the same one over and over."""
    row = ffi.new("ketama_server *")
    for number in range(lib.ketama_count_servers(handle)):
        lib.ketama_server_at(handle, number, row)
        yield row
