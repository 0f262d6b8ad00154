"""Bucket maps: make one, move it with the fewest moves, and move it in steps.

libketama decides which server owns what; this module reads and writes server files. See
docs/buckets.md for what a bucket map is.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from ketama._ketama import ffi, lib
from ketama.admin import server_file
from ketama.admin.dialect import options_in, stated_in
from ketama.admin.server_file import Line
from ketama.continuum import Continuum, Path, continuum_of_text
from ketama.errors import ServersError, failure
from ketama.servers import Servers, to_c
from ketama.settings import settings_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ketama.admin.edit import Edit

BUCKETS = 65536  # of a new map, by default
BUCKETS_MAX: int = lib.KETAMA_BUCKETS_LIMIT
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
NOBODY: int = lib.KETAMA_NO_SERVER  # in place of the index of a bucket's server
GAP = 3  # blanks before the buckets


def assign(servers: Servers, buckets: int, before: Sequence[int] | None = None) -> array[int]:
    """Return the index of each bucket's server: fair shares, and the fewest moves.

    Each server gets its exact share, buckets x weight / all weights, rounded down or up. The
    result does not depend on the order of the servers.

    servers: as for `Continuum`; no two with one address.
    buckets: how many there are, a power of two up to 1,048,576.
    before: the index of the server that has each bucket now, or NOBODY; None: nobody has any.
    Raises ServersError for an invalid list, ProfileError for a wrong number of buckets,
    IndexError for an index of no server, ValueError if `before` has another length.
    """
    listed, count, _texts = to_c(servers)
    owners = _new(buckets)
    failed = ffi.new("ketama_failure *")
    now = ffi.NULL if before is None else _from(before, buckets)
    status = lib.assign_buckets(
        listed, count, now, len(owners), ffi.from_buffer("uint32_t[]", owners), failed
    )
    if status == lib.KETAMA_ERANGE:
        raise IndexError(ffi.string(failed.reason).decode())
    if status < 0:
        raise failure(failed, None)
    return owners


def owners(continuum: Continuum, buckets: int) -> array[int]:
    """Return the index of the server that owns most of each bucket.

    Of several, it is the one whose address is the least. Of a map with so many buckets, these
    are its owners. Raises ProfileError for a wrong number of buckets.
    """
    found, failed = _new(buckets), ffi.new("ketama_failure *")
    handle = continuum._now[0]
    if lib.bucket_owners(handle, len(found), ffi.from_buffer("uint32_t[]", found), failed) < 0:
        raise failure(failed, None)
    return found


def needed(servers: Servers, within: float) -> int | None:
    """Return how many buckets keep every server within a part of its fair share.

    within: 0.01 is 1 % above the fair share, at most; a millionth is the smallest part.
    None: more than there can be, 1,048,576. Raises ServersError for an invalid list.
    """
    if not 0 < within <= 1:
        raise ValueError(f"invalid within {within!r}: must be above 0, at most 1")
    listed, count, _texts = to_c(servers)
    return lib.ketama_buckets_needed(listed, count, max(1, int(within * 1e6 + 1e-6))) or None


def steps(before: Sequence[int], after: Sequence[int], most: int) -> Iterator[array[int]]:
    """Yield the owners after each step on the way from one assignment to another.

    most: how many buckets move in a step, from 1 on. In each, a server gives up the same part
    of what it has to. The last ones yielded are `after`; nothing is if the two are equal.
    Raises ValueError if they have other lengths, ProfileError if these are no number of
    buckets.
    """
    if most < 1:
        raise ValueError(f"invalid most {most}: must be at least 1")
    size, moved = len(before), 0
    now, then = _from(before, size), _from(after, size)
    left, failed = ffi.new("uint32_t *", before != after), ffi.new("ketama_failure *")
    while left[0]:
        made = _new(size)
        moved = min(moved + most, size)
        out = ffi.from_buffer("uint32_t[]", made)
        if lib.step_buckets(now, then, len(made), moved, out, left, failed) < 0:
            raise failure(failed, None)
        yield made


def ranges(owned: Sequence[int], server: int) -> str:
    """Return the buckets of a server as the last column of a server file has them."""
    data, size = _from(owned, len(owned)), len(owned)
    room = lib.ketama_buckets_write(data, size, server, ffi.NULL, 0)
    text = ffi.new("char[]", room)
    lib.ketama_buckets_write(data, size, server, text, room)
    return bytes(ffi.buffer(text, room)).decode()


def _new(buckets: int) -> array[int]:
    """Return room for the owner of each bucket; libketama checks how many there are."""
    return array("I", bytes(4 * max(0, min(buckets, BUCKETS_MAX + 1))))


def _from(given: Sequence[int], buckets: int) -> Any:
    """Return owners as C reads them."""
    if len(given) != buckets:
        raise ValueError(f"owners of {buckets:,} buckets are needed, not of {len(given):,}")
    data = given if isinstance(given, array) and given.typecode == "I" else array("I", given)
    return ffi.from_buffer("uint32_t[]", data)


# ---- server files


def new_map(
    path: Path,
    *,
    buckets: int | None = None,
    within: float | None = None,
    from_ring: bool = False,
) -> bytes:
    """Return the text of a bucket map for the servers of a file; its comments stay.

    buckets: how many, a power of two up to 1,048,576. None: as many as `within` needs, or else
        65,536.
    within: how far above its fair share a server may be, such as 0.01.
    from_ring: begin with the ring that programs have now, so that few keys move: each bucket
        goes to the server that owns most of it, and then as many move as fair shares need.
        Keys are hashed as in the ring.
    Raises ServersError if the file is invalid, or no number of buckets is enough; ProfileError
    for a wrong number, or a ring that hashes keys as no map does; KetamaOSError if the file
    cannot be read.
    """
    filename = os.fspath(path)
    return map_of_text(
        server_file.read_file(filename), filename, buckets, within, from_ring=from_ring
    )


def map_of_text(
    text: bytes,
    filename: str | bytes,
    buckets: int | None,
    within: float | None,
    *,
    from_ring: bool,
    settings: bytes = b"",
) -> bytes:
    """Return what `new_map` returns, for a server file's text.

    settings: the options of a profile that were chosen for the ring, as libketama reads them.
    """
    ring = continuum_of_text(text, filename, settings)
    if server_file.is_map(text, settings):
        reason = "is a bucket map already: use 'ketama add', 'remove' or 'weight' to change it"
        raise ServersError(filename, None, reason)
    listed = [(server.address, server.weight, server.name) for server in ring.servers]
    if buckets is None:
        buckets = BUCKETS if within is None else needed(listed, within)
    if buckets is None:
        reason = (
            f"the smallest weight is too small: {BUCKETS_MAX:,} buckets do not keep its server "
            f"within {100 * (within or 0):g} % of its share"
        )
        raise ServersError(filename, None, reason)
    options = {"profile": "buckets", "buckets": buckets}
    if from_ring:
        options |= _options_of(ring)
    owned = assign(listed, buckets, owners(ring, buckets) if from_ring else None)
    lines = server_file.parse(without_statement(text))
    statement = b"#ketama " + settings_text(options) + b"\n"
    made = statement + b"".join(line.text for line in with_ranges(lines, owned))
    continuum_of_text(made, filename)  # raises where it would be invalid
    return made


def _options_of(ring: Continuum) -> dict[str, str]:
    """Return the options with which a map hashes keys as a ring does."""
    settings, failed = ffi.new("char[]", lib.SETTINGS_MAX), ffi.new("ketama_failure *")
    if lib.bucket_options(ring._now[0], settings, failed) < 0:
        raise failure(failed, None)
    return options_in(ffi.string(settings))


def without_statement(text: bytes) -> bytes:
    """Return a server file's text without the line that states options, or a mark."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    return text if stated_in(text)[1] is text else text.partition(b"\n")[2]


def with_ranges(lines: list[Line], owned: Sequence[int]) -> list[Line]:
    """Return the lines of a server file, those of servers with the buckets that they own.

    owned: the index of each bucket's server, counted along the lines.
    """
    servers = [line for line in lines if line.address]
    column = max(map(_end, servers), default=0) + GAP
    made: list[Line] = []
    number = 0
    for line in lines:
        if not line.address:
            made.append(line)
            continue
        made.append(_with_ranges(line, ranges(owned, number).encode(), column))
        number += 1
    return made


def _end(line: Line) -> int:
    """Return where the columns before the buckets end, characters."""
    return len(line.text[: line.name_end or line.weight_end].decode())


def _with_ranges(line: Line, listed: bytes, column: int) -> Line:
    """Return a line with other buckets, at a column if it had none."""
    start, end = line.ranges_at, line.ranges_end
    if not end:
        end = line.name_end or line.weight_end
        gap = b" " * (column - _end(line))
        return line._replace(
            text=line.text[:end] + gap + listed + line.text[end:],
            ranges_at=end + len(gap),
            ranges_end=end + len(gap) + len(listed),
        )
    return line._replace(
        text=line.text[:start] + listed + line.text[end:], ranges_end=start + len(listed)
    )


def same_servers(old: list[Line], new: list[Line]) -> dict[str, int]:
    """Return, by address, the numbers of the old lines of servers that are in new lines.

    A server is the same if its name is, or else its address.
    """
    servers = [line for line in old if line.address]
    by_name = {line.name or line.address: line.number for line in servers}
    by_address = {line.address: line.number for line in servers}
    found: dict[str, int] = {}
    taken: set[int] = set()
    for known, by in ((by_name, True), (by_address, False)):
        for line in new:
            number = known.get(line.name or line.address if by else line.address)
            if number is not None and number not in taken and line.address not in found:
                found[line.address] = number
                taken.add(number)
    return found


def balanced(lines: list[Line], old: list[Line], before: Continuum | None) -> list[Line]:
    """Return the lines of a map with fair shares, and the fewest moves from the map before.

    lines: a line with the number of one of the old lines is the same server.
    old: all lines of the map before; None: nobody has any bucket yet.
    """
    servers = [line for line in lines if line.address]
    listed = [(line.address, line.weight, line.name) for line in servers]
    count = buckets_of(lines)
    now = None
    if before is not None:
        numbers = [line.number for line in old if line.address]
        index = {line.number: i for i, line in enumerate(servers) if line.number}
        owner = [index.get(number, NOBODY) for number in numbers]
        now = array("I", map(owner.__getitem__, owners(before, count)))
    return with_ranges(lines, assign(listed, count, now))


def buckets_of(lines: list[Line]) -> int:
    """Return how many buckets the lines of a map state.

    Raises ServersError if they state none, though the map was opened as one.
    """
    stated, _ = stated_in(b"".join(line.text for line in lines[:1]))
    options = options_in(stated)
    if options.get("profile") != "buckets" or "buckets" not in options:
        reason = (
            "a map that is edited must state what it is: begin it with the line '#ketama "
            "profile=buckets buckets=N'"
        )
        raise ServersError(None, None, reason)
    return int(options["buckets"])


# ---- a move in steps


def drain(text: bytes, filename: str | bytes, address: str, step: float) -> list[bytes]:
    """Return the texts of maps that empty a server in steps; the last one is without it.

    text: of a map. filename: in the messages of errors.
    step: how many of all buckets may move at once, above 0.0, at most 1.0.
    Raises ServersError if the map is invalid, or the server is not found or the only one.
    """
    editing = _edited(text, filename)
    lines, servers = [*editing._lines], editing._server_lines
    gone = next((i for i, line in enumerate(servers) if line.address == address), len(servers))
    editing.remove(address)
    last = editing.text
    count = buckets_of(lines)
    after = [
        index + (index >= gone) for index in owners(continuum_of_text(last, filename), count)
    ]
    made = [*_texts(lines, _owned(editing, count), array("I", after), step)]
    return [*made[:-1], last]


def fill(
    text: bytes,
    filename: str | bytes,
    address: str,
    weight: int,
    step: float,
    name: str | None = None,
) -> list[bytes]:
    """Return the texts of maps that fill a new server in steps, until it has its fair share.

    text: of a map. filename: in the messages of errors.
    step: how many of all buckets may move at once, above 0.0, at most 1.0.
    Raises ServersError if the map is invalid, or the server cannot be added.
    """
    editing = _edited(text, filename)
    editing.add(address, weight, name)
    last = editing.text
    count = buckets_of(editing._lines)
    after = owners(continuum_of_text(last, filename), count)
    made = [*_texts(editing._lines, _owned(editing, count), after, step)]
    return [*made[:-1], last]


def _edited(text: bytes, filename: str | bytes) -> Edit:
    """Return a map to be edited in memory."""
    from ketama.admin.edit import Edit

    if not server_file.is_map(text):
        reason = "is not a bucket map: make one with 'ketama buckets new'"
        raise ServersError(filename, None, reason)
    return Edit(filename, text)


def _owned(editing: Edit, count: int) -> array[int]:
    before = editing.before
    if before is None:
        raise ServersError(editing._filename, None, "the map has no servers")
    return owners(before, count)


def _texts(
    lines: list[Line], before: array[int], after: array[int], step: float
) -> Iterator[bytes]:
    if not 0 < step <= 1:
        raise ValueError(f"invalid step {step!r}: must be above 0, at most 1")
    for owned in steps(before, after, max(1, int(step * len(before) + 1e-9))):
        yield b"".join(line.text for line in with_ranges(lines, owned))
