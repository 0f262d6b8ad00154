"""`ketama where`: which server each key belongs to."""

from __future__ import annotations

import os
import sys
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import click

import ketama
from ketama.admin.dialect import file_rules
from ketama.cli import source
from ketama.cli.app import dialect_options, file_argument, json_option
from ketama.cli.output import print_json, print_table, printable, progress

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Mapping
    from typing import Any

    Format = Callable[[list[bytes]], bytes]


@click.command(short_help="Show which server each key belongs to.")
@file_argument()
@click.argument("keys", metavar="[KEY]...", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Also show hash, point or bucket, and the next servers.",
)
@click.option(
    "-n",
    "--next",
    "following",
    default=2,
    show_default=True,
    type=click.IntRange(0),
    help="How many next servers -v shows.",
)
@click.option(
    "-0", "--null", is_flag=True, help="Keys on standard input end in NUL, not in a newline."
)
@click.option(
    "--prefix",
    metavar="TEXT",
    default="",
    help="What the client puts before each key and hashes with it, such as Django's ':1:'.",
)
@dialect_options
@json_option
def where(
    file: str,
    keys: tuple[str, ...],
    verbose: bool,
    following: int,
    null: bool,
    prefix: str,
    dialect: bytes,
    as_json: bool,
) -> None:
    r"""Show which server each key belongs to.

    Without keys, or with -, keys are read from standard input, one per line (LF or CR LF) of at
    most 1 MiB, and answered as they arrive: the key, a tab, its server. -v adds the key's hash,
    its point on the ring or its bucket in the map, and the servers that would take over if the
    first were down. With --json, each answer is one line of JSON.

    Many clients put a text of their own before each key. With --prefix it is hashed as well;
    keys are still printed as they were given. Django hashes KEY_PREFIX:VERSION:KEY, so its
    prefix is ':1:' by default. libmemcached's namespace (pylibmc's, PHP's OPT_PREFIX_KEY) is
    not hashed, unless HASH_WITH_PREFIX_KEY is on, nor is pymemcache's key_prefix: leave
    --prefix out.

    \b
    Examples:
      ketama where ketama.servers user:42
      ketama where --prefix :1: ketama.servers user:42
      ketama where -v ketama.servers user:42 user:43
      ketama where ketama.servers <keys.txt | cut -f 2 | sort | uniq -c
      ketama where ketama.servers -- -key-with-a-dash
    """
    streamed = not keys or keys == (source.STDIN,)
    if streamed:
        source.only_one_stdin(file, source.STDIN)
    ring = _ring_of(source.open_continuum(file, dialect), os.fsencode(prefix), following)
    if streamed:
        _stream(ring, verbose, b"\0" if null else b"\n", as_json)
        return
    names = _names(ring.continuum) if verbose else {}
    answers = [_answer(ring, key) for key in source.argument_keys(keys)]
    if as_json:
        for answer in answers:
            print_json(_as_json(answer, names), indent=None)
    elif verbose:
        place = ">point" if ring.buckets is None else ">bucket"
        print_table(
            ("key", "server", ">hash", place, "next"), [_cells(answer) for answer in answers]
        )
    else:
        shown = [printable(_text(key)) for key, *_ in answers]
        width = max(map(len, shown))
        for key, (_, server, *_) in zip(shown, answers, strict=True):
            print(f"{key:<{width}}   {printable(server)}")


class _Ring(NamedTuple):
    """What keys are asked of: a ring, what is put before keys, and how many next servers.

    buckets: how many a map has; None for a ring.
    """

    continuum: ketama.Continuum
    prefix: bytes
    following: int
    buckets: int | None

    def indexes(self, keys: list[bytes]) -> array[int]:
        """Return the index of each key's server."""
        prefix = self.prefix
        return self.continuum.indexes([prefix + key for key in keys] if prefix else keys)


def _ring_of(continuum: ketama.Continuum, prefix: bytes, following: int) -> _Ring:
    is_map = file_rules(continuum._now[0]).profile == "buckets"
    buckets = sum(server.points for server in continuum.servers) if is_map else None
    return _Ring(continuum, prefix, following, buckets)


class _Answer(NamedTuple):
    """Where a key belongs.

    bucket: None on a ring.
    """

    key: bytes
    server: str
    hashed: int
    point: int
    bucket: int | None
    following: list[str]


def _answer(ring: _Ring, key: bytes) -> _Answer:
    hashed_key = ring.prefix + key
    hashed, point, server = ring.continuum.explain(hashed_key)
    bucket = None if ring.buckets is None else hashed * ring.buckets >> 32
    following = ring.continuum.successors(hashed_key, ring.following + 1)[1:]
    return _Answer(key, server, hashed, point, bucket, following)


def _text(key: bytes) -> str:
    return key.decode(errors="backslashreplace")


def _cells(answer: _Answer) -> tuple[str, ...]:
    key, server, hashed, point, bucket, following = answer
    place = point if bucket is None else bucket
    return _text(key), server, str(hashed), str(place), " ".join(following)


def _names(continuum: ketama.Continuum) -> dict[str, str | None]:
    """Return the name of each server, by address."""
    return {server.address: server.name for server in continuum.servers}


def _as_json(answer: _Answer, names: Mapping[str, str | None]) -> dict[str, Any]:
    """Return an answer as in the JSON of `where`; with names, all of it."""
    value: dict[str, Any] = _key_as_json(answer.key)
    value["server"] = answer.server
    if names:
        value |= {
            "name": names[answer.server],
            "hash": answer.hashed,
            "point": answer.point,
            "bucket": answer.bucket,
            "next": answer.following,
        }
    return value


def _key_as_json(key: bytes) -> dict[str, Any]:
    try:
        return {"key": key.decode()}
    except UnicodeDecodeError:
        return {"key": None, "key_hex": key.hex()}


def _stream(ring: _Ring, verbose: bool, separator: bytes, as_json: bool) -> None:
    """Answer the keys on standard input, in constant memory."""
    if verbose:
        answer = _verbose_format(ring, as_json)
    elif as_json:
        answer = _json_format(ring)
    else:
        answer = _text_format(ring)
    how = "one per line" if separator == b"\n" else "each with a NUL at its end"
    keys, out = source.stdin(f"keys, {how},"), sys.stdout.buffer
    with progress(_size(keys.fileno()), wanted=not sys.stdout.isatty()) as advance:
        for block, size in source.blocks_of_keys(keys, separator, source.STDIN_NAME):
            out.write(answer(block))
            out.flush()  # somebody may be waiting for the answer
            advance(size)


def _size(fd: int) -> int | None:
    """Return the size of a file; None for a pipe."""
    return os.fstat(fd).st_size or None


def _text_format(ring: _Ring) -> Format:
    ends = [f"\t{printable(server.address)}\n".encode() for server in ring.continuum.servers]
    on_terminal = sys.stdout.isatty()

    def answer(keys: list[bytes]) -> bytes:
        found = map(ends.__getitem__, ring.indexes(keys))
        shown = [printable(_text(key)).encode() for key in keys] if on_terminal else keys
        return b"".join(chain.from_iterable(zip(shown, found, strict=True)))

    return answer


def _json_format(ring: _Ring) -> Format:
    from json.encoder import encode_basestring_ascii as quote

    ends = [f', "server": {quote(server.address)}}}\n' for server in ring.continuum.servers]

    def begin(key: bytes) -> str:
        try:
            return f'{{"key": {quote(key.decode())}'
        except UnicodeDecodeError:
            return f'{{"key": null, "key_hex": "{key.hex()}"'

    def answer(keys: list[bytes]) -> bytes:
        found = map(ends.__getitem__, ring.indexes(keys))
        return "".join(chain.from_iterable(zip(map(begin, keys), found, strict=True))).encode()

    return answer


def _verbose_format(ring: _Ring, as_json: bool) -> Format:
    from json import dumps

    on_terminal, names = sys.stdout.isatty(), _names(ring.continuum)

    def line(key: bytes) -> bytes:
        found = _answer(ring, key)
        if as_json:
            return dumps(_as_json(found, names)).encode() + b"\n"
        shown = printable(_text(key)).encode() if on_terminal else key
        return (
            b"\t".join((shown, *(printable(cell).encode() for cell in _cells(found)[1:])))
            + b"\n"
        )

    return lambda keys: b"".join(map(line, keys))
