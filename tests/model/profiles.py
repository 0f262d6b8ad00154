"""The dialects of ketama, a row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from model import hashes, labels, names
from model.hashes import HASHES, Hash
from model.layouts import (
    Layout,
    crc_chain,
    hashed_labels,
    md5_labels,
    md5_words,
    one_point,
    sha384_words,
)
from model.parts import stop, tag, whole
from model.xxh3 import xxh3_64


def first(index: int, name: str) -> object:
    return index


def last(index: int, name: str) -> object:
    return -index


def least_name(index: int, name: str) -> object:
    return name.encode()


def shortest_name(index: int, name: str) -> object:
    return len(name.encode()), name.encode()


@dataclass(frozen=True)
class Row:
    """How a dialect lays out its points and finds a key's."""

    count: labels.Count
    name: Callable[[str], str] = names.as_written
    layout: Layout = md5_labels
    points_per_label: int = 4
    order: Callable[[int, str], Any] = first  # of equal points, the lowest one's is found
    takes_turns: bool = False  # of m equal points, number (point mod m) is found instead
    hash: Hash = hashes.md5
    part: Callable[[bytes], bytes] = whole
    search: str = ">="
    weighted: Row | None = None  # for lists with a weight above 1
    is_unnamed: bool = False
    has_unique_names: bool = False


class Option(NamedTuple):
    """An option's default, and the values that it may have: these, or any of a type."""

    default: str | int | None
    allowed: tuple[str, ...] | type


class Profile(NamedTuple):
    """A function from options to a row, and the options."""

    row: Callable[..., Row]
    options: dict[str, Option]


LIBHASHKIT = (
    "md5",
    "one_at_a_time",
    "crc",
    "fnv1_64",
    "fnv1a_64",
    "fnv1_32",
    "fnv1a_32",
    "murmur",
    "jenkins",
    "murmur3",
)
NUTCRACKER = (
    "one_at_a_time",
    "md5",
    "crc16",
    "crc32",
    "crc32a",
    "fnv1_64",
    "fnv1a_64",
    "fnv1_32",
    "fnv1a_32",
    "hsieh",
    "murmur",
    "jenkins",
)
NUTCRACKER_HASHES = {**HASHES, "crc32": HASHES["crc"]}
LIBMC_HASHES = {
    "md5": HASHES["md5"],
    "fnv1_32": HASHES["fnv1_32_unsigned"],
    "fnv1a_32": HASHES["fnv1a_32_unsigned"],
    "crc_32": HASHES["crc32a"],
}


def libmemcached(hash: str) -> Row:  # noqa: A002
    return Row(labels.ratio_b, name=names.libmemcached, hash=HASHES[hash])


def libmemcached_ketama(hash: str) -> Row:  # noqa: A002
    weighted = libmemcached(hash)
    return replace(
        weighted,
        count=labels.flat(100),
        layout=one_point(HASHES[hash]),
        points_per_label=1,
        weighted=weighted,
    )


def libmemcached_spy(hash: str) -> Row:  # noqa: A002
    row = libmemcached_ketama(hash)
    weighted = replace(libmemcached(hash), name=names.libmemcached_spy)
    return replace(row, name=names.libmemcached_spy, weighted=weighted)


def twemproxy(hash: str, hash_tag: str | None) -> Row:  # noqa: A002
    function = NUTCRACKER_HASHES[hash]
    return Row(
        labels.ratio_b,
        name=names.twemproxy,
        order=shortest_name,
        hash=lambda key: function(key) if key else 0,
        part=partial(tag, pair=hash_tag) if hash_tag else whole,
        has_unique_names=True,
    )


def spymemcached(format: str | None) -> Row:  # noqa: A002
    row = Row(
        labels.flat(40),
        name=names.java_short if format == "libmemcached" else names.as_written,
        order=last,
    )
    return replace(row, weighted=replace(row, count=labels.ratio_b))


def elasticache_java(format: str | None) -> Row:  # noqa: A002
    row = replace(
        spymemcached(format), layout=hashed_labels(sha384_words), hash=hashes.sha384_word
    )
    return replace(row, weighted=replace(row, count=labels.ratio_b))


def evcache(points: int, delimiter: str | None) -> Row:
    return Row(
        labels.flat(points // 4),
        name=names.evcache,
        order=last,
        part=(lambda key: stop(key, delimiter) or key) if delimiter else whole,
    )


def xmemcached(format: str | None) -> Row:  # noqa: A002
    return Row(
        labels.absolute(40),
        name=names.java_short if format == "nginx" else names.with_slash,
        order=least_name,
        takes_turns=True,
    )


def nginx(points: int) -> Row:
    return Row(
        labels.absolute(points),
        name=names.nginx,
        layout=crc_chain,
        points_per_label=1,
        hash=HASHES["crc32a"],
        is_unnamed=True,
    )


def pingora() -> Row:
    return replace(nginx(160), name=names.pingora)


def memcached_proxy(
    hash: str,  # noqa: A002
    points: int,
    seed: str | None,
    filter: str | None,  # noqa: A002
    filter_conf: str | None,
) -> Row:
    number = xxh3_64(seed.encode()) if seed else 0
    part: Callable[[bytes], bytes] = whole
    if filter == "tags" and filter_conf:
        part = partial(tag, pair=filter_conf, empty_counts=True)
    elif filter == "stop" and filter_conf:
        part = partial(stop, text=filter_conf)
    return Row(
        labels.flat(points),
        name=names.memcached_proxy,
        layout=one_point(hashes.xxh3),
        points_per_label=1,
        hash=hashes.md5 if hash == "md5" else partial(hashes.xxh3, seed=number),
        part=part,
    )


def memcached_proxy_md5(name: Callable[[str], str], points: int, **options: Any) -> Row:
    return replace(
        memcached_proxy(points=points, **options),
        count=labels.flat(points // 4),
        name=name,
        layout=md5_labels,
        points_per_label=4,
    )


def libmc(hash: str) -> Row:  # noqa: A002
    return Row(
        labels.flat(100),
        name=names.libmc,
        layout=hashed_labels(partial(md5_words, count=1)),
        points_per_label=1,
        hash=LIBMC_HASHES[hash],
    )


def hash_ring() -> Row:
    return Row(
        labels.ratio_c,
        layout=hashed_labels(partial(md5_words, count=3)),
        points_per_label=3,
        order=last,
        search=">",
    )


def node_hashring(default_port: int | None) -> Row:
    if default_port is None:
        return Row(labels.ratio_d)
    return Row(labels.ratio_d, name=partial(names.default_port, port=default_port))


def dalli() -> Row:
    return Row(
        labels.ratio_f,
        name=names.dalli,
        layout=hashed_labels(lambda label: [hashes.sha1_big_endian(label)], joint=":"),
        points_per_label=1,
        hash=HASHES["crc32a"],
        search="last <=",
    )


PROXY = {
    "hash": Option("xxh3", ("xxh3", "md5")),
    "points": Option(160, int),
    "seed": Option(None, str),
    "filter": Option(None, ("tags", "stop")),
    "filter_conf": Option(None, str),
}
PROFILES = {
    "libketama": Profile(lambda: Row(labels.ratio_a), {}),
    "libmemcached": Profile(libmemcached, {"hash": Option("md5", LIBHASHKIT)}),
    "libmemcached-ketama": Profile(
        libmemcached_ketama, {"hash": Option("one_at_a_time", LIBHASHKIT)}
    ),
    "libmemcached-spy": Profile(
        libmemcached_spy, {"hash": Option("one_at_a_time", LIBHASHKIT)}
    ),
    "twemproxy": Profile(
        twemproxy, {"hash": Option("fnv1a_64", NUTCRACKER), "hash_tag": Option(None, str)}
    ),
    "spymemcached": Profile(spymemcached, {"format": Option(None, ("libmemcached",))}),
    "elasticache-java": Profile(elasticache_java, {"format": Option(None, ("libmemcached",))}),
    "evcache": Profile(evcache, {"points": Option(160, int), "delimiter": Option(None, str)}),
    "xmemcached": Profile(xmemcached, {"format": Option(None, ("nginx",))}),
    "nginx": Profile(nginx, {"points": Option(160, int)}),
    "pingora": Profile(pingora, {}),
    "memcached-proxy": Profile(memcached_proxy, PROXY),
    "memcached-proxy-ketama": Profile(
        partial(memcached_proxy_md5, names.memcached_proxy), PROXY
    ),
    "memcached-proxy-twemproxy": Profile(
        partial(memcached_proxy_md5, names.memcached_proxy_twemproxy), PROXY
    ),
    "memcached-proxy-evcache": Profile(
        partial(memcached_proxy_md5, names.memcached_proxy_evcache), PROXY
    ),
    "libmc": Profile(libmc, {"hash": Option("md5", tuple(LIBMC_HASHES))}),
    "uhashring": Profile(lambda: Row(labels.ratio_c, order=last, search=">"), {}),
    "hash_ring": Profile(hash_ring, {}),
    "node-hashring": Profile(node_hashring, {"default_port": Option(None, int)}),
    "predis": Profile(lambda: Row(labels.ratio_e, order=last), {}),
    "dalli": Profile(dalli, {}),
    "enyim": Profile(
        lambda: Row(labels.flat(40), order=last, search=">=, or the largest below all"), {}
    ),
    "couchbase": Profile(lambda: Row(labels.flat(40), order=least_name), {}),
}


def row_of(profile: str, options: dict[str, Any], has_weights: bool) -> Row:
    """Return a profile's row, for lists with or without weights above 1."""
    known = PROFILES[profile].options
    for name, value in options.items():
        allowed = known[name].allowed
        if not (value in allowed if isinstance(allowed, tuple) else isinstance(value, allowed)):
            raise ValueError(f"{name}={value!r} is none of {profile}'s")
    defaults = {name: option.default for name, option in known.items()}
    row = PROFILES[profile].row(**(defaults | options))
    return row.weighted if has_weights and row.weighted is not None else row
