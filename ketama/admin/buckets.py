"""Bucket maps: make one, move it with the fewest moves, and move it in steps.

libketama decides which server owns what (owners.py); this module makes server files of it. See
docs/buckets.md for what a bucket map is.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from math import ceil

from ketama._ketama import ffi, lib
from ketama.admin import server_file
from ketama.admin.dialect import options_in
from ketama.admin.edit import Edit
from ketama.admin.map_lines import buckets_of, with_ranges, without_statement
from ketama.admin.owners import (
    BUCKETS_MAX,
    NOBODY,
    assign,
    needed,
    owners,
    ranges,
    steps,
)
from ketama.admin.server_file import Line
from ketama.admin.statement import without_version
from ketama.continuum import Continuum, Path, continuum_of_text
from ketama.errors import ServersError, failure
from ketama.settings import settings_text

__all__ = (
    "BUCKETS",
    "BUCKETS_MAX",
    "NOBODY",
    "assign",
    "drain",
    "fill",
    "needed",
    "new_map",
    "owners",
    "ranges",
    "steps",
)

BUCKETS = 65536  # of a new map, by default
STEPS_MAX = 1000  # of a plan, each the text of a map


def new_map(
    path: Path,
    *,
    buckets: int | None = None,
    within: float | None = None,
    from_ring: bool = False,
) -> bytes:
    """Return the text of a bucket map for the servers of a file; its comments stay.

    Of a map, it is one with another number of buckets: state `buckets` or `within`. With more
    of them, nearly all keys stay with their servers; with fewer, many move.

    buckets: how many, a power of two up to 1,048,576. None: as many as `within` needs, or else
        65,536.
    within: how far above its fair share a server may be, such as 0.01.
    from_ring: begin with the ring that programs have now, so that few keys move: each bucket
        goes to the server that owns most of it, and then as many move as fair shares need.
        Keys are hashed as in the ring.
    Raises ServersError if the file is invalid, or no number of buckets is enough, or if it is a
    map and neither is stated; ProfileError for a wrong number, or a ring that hashes keys as no
    map does; KetamaOSError if the file cannot be read.
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
    was_map = server_file.is_map(text, settings)
    if was_map and buckets is within is None:
        reason = (
            "is a bucket map already: use 'ketama add', 'remove' or 'weight' to change it, or "
            "--buckets to make one of it that has another number of buckets"
        )
        raise ServersError(filename, None, reason)
    from_ring = from_ring or was_map
    listed = [(server.address, server.weight, server.name) for server in ring.servers]
    _check_once(server_file.parse(text, has_ranges=was_map), filename)
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
    lines = server_file.parse(without_statement(text), has_ranges=was_map)
    statement = b"#ketama " + settings_text(options) + b"\n"
    made = statement + b"".join(line.text for line in with_ranges(lines, owned))
    continuum_of_text(made, filename)  # raises where it would be invalid
    return made


def _check_once(lines: list[Line], filename: str | bytes) -> None:
    """Raise where a server is on two lines, as in a ring it may be."""
    first: dict[str, int] = {}
    for line in lines:
        if line.address and first.setdefault(line.address, line.number) != line.number:
            reason = (
                f"{line.address} is also on line {first[line.address]}: a bucket map has each "
                "server once"
            )
            raise ServersError(filename, line.number, reason)


def _options_of(ring: Continuum) -> dict[str, str]:
    """Return the options with which a map hashes keys as a ring does."""
    settings, failed = ffi.new("char[]", lib.SETTINGS_MAX), ffi.new("ketama_failure *")
    if lib.bucket_options(ring._now[0], settings, failed) < 0:
        raise failure(failed, None)
    return options_in(ffi.string(settings))


# ---- a move in steps


def drain(text: bytes, filename: str | bytes, address: str, step: float) -> list[bytes]:
    """Return the texts of maps that empty a server in steps; the last one is without it.

    text: of a map. filename: in the messages of errors.
    step: how many of all buckets may move at once, above 0.0, at most 1.0.
    Raises ServersError if the map is invalid, the server is not found or the only one, or
    the step is less than a bucket or leads to more than 1,000 of them; ValueError where it is
    not above 0.0, or above 1.0.
    """
    editing = _edited(text, filename)
    lines, servers = [*editing._lines], editing._server_lines
    gone = next((i for i, line in enumerate(servers) if line.address == address), len(servers))
    editing.remove(address)
    count = buckets_of(lines)
    after = array("I", (i + (i >= gone) for i in owners(editing.after, count)))
    return _plan(editing, lines, after, step)


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
    Raises ServersError if the map is invalid, the server cannot be added, or the step is less
    than a bucket or leads to more than 1,000 of them.
    """
    editing = _edited(text, filename)
    editing.add(address, weight, name)
    after = owners(editing.after, buckets_of(editing._lines))
    return _plan(editing, editing._lines, after, step)


def _edited(text: bytes, filename: str | bytes) -> Edit:
    """Return a map to be edited in memory; later steps do not have the version of today."""
    continuum_of_text(text, filename)  # raises where it is invalid
    if not server_file.is_map(text):
        reason = "is not a bucket map: make one with 'ketama buckets new'"
        raise ServersError(filename, None, reason)
    return Edit(filename, without_version(text))


def _owned(editing: Edit, count: int) -> Sequence[int]:
    before = editing.before
    if before is None:
        raise ServersError(editing._filename, None, "the map has no servers")
    return owners(before, count)


def _plan(editing: Edit, lines: list[Line], after: Sequence[int], step: float) -> list[bytes]:
    """Return the texts of maps that lead to an edit; the last one is the edit's."""
    if not 0 < step <= 1:
        raise ValueError(f"invalid step {step!r}: must be above 0, at most 1")
    count = len(after)
    most = int(step * count + 1e-9)
    before = _owned(editing, count)
    if most == 0:
        least = f"{ceil(1e8 / count) / 1e6:.6f}".rstrip("0").rstrip(".")
        reason = f"a step must move a bucket of {count:,}, so it is at least {least} %"
        raise ServersError(editing._filename, None, reason)
    number = ceil(sum(a != b for a, b in zip(before, after, strict=True)) / most)
    if number > STEPS_MAX:
        reason = f"would take {number:,} steps: at most {STEPS_MAX:,}, so take larger ones"
        raise ServersError(editing._filename, None, reason)
    made = [
        b"".join(line.text for line in with_ranges(lines, owned))
        for owned in steps(before, after, most)
    ]
    return [*made[:-1], editing.text]
