"""What one dialect makes of a server file, and how it compares with another one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from ketama._ketama import ffi, lib
from ketama.continuum import KEY_SPACE, Continuum, continuum_of_handle, continuum_of_text
from ketama.errors import failure
from ketama.settings import settings_text

PROFILE = "profile"
DEFAULT = "libketama"


class Aspects(NamedTuple):
    """What a dialect does, in words: of two dialects, what is alike has equal words.

    hash: the function that hashes keys. part: what of a key is hashed.
    counts: how many points a server gets, in general. digest: how they are made.
    order: which of equal points wins. search: which point a hash belongs to.
    """

    hash: str
    part: str
    counts: str
    digest: str
    order: str
    search: str


class FileRules(NamedTuple):
    """What a dialect asks of a server file.

    profile: its name.
    ip_form: how to write a server with a host name, because the program hashes its IP address;
        None if it does not.
    hidden_port: the port that is left out of the hashed text; None if every port is hashed.
    ignores_weights: whether all servers get as many points, whatever their weights are.
    refuses_names: whether a server cannot have a name.
    """

    profile: str
    ip_form: str | None
    hidden_port: str | None
    ignores_weights: bool
    refuses_names: bool


def file_rules(handle: Any) -> FileRules:
    """Return what the dialect of a C handle asks."""
    text = ffi.new("struct dialect_text *")
    lib.describe_dialect(handle, text)
    return FileRules(
        _text(text.profile) or "",
        _text(text.ip_form),
        _text(text.hidden_port),
        bool(text.ignores_weights),
        bool(text.refuses_names),
    )


def _text(string: Any) -> str | None:
    """Return a C string; None for NULL and an empty one."""
    return None if string == ffi.NULL else ffi.string(string).decode() or None


def hashed_name(handle: Any, index: int) -> bytes:
    """Return the text that the points of the server at an index are made from."""
    text, failed = ffi.new("char[]", lib.HASHED_NAME_MAX), ffi.new("ketama_failure *")
    size = lib.hashed_name(handle, index, text, lib.HASHED_NAME_MAX, failed)
    if size < 0:
        raise failure(failed, None)
    return bytes(ffi.buffer(text, size))


def settings_of(spec: str) -> bytes:
    """Return a profile and its options, such as "twemproxy hash=md5", as settings."""
    named = spec if spec.startswith(f"{PROFILE}=") else f"{PROFILE}={spec}"
    return named.encode(errors="backslashreplace")


def stated_in(text: bytes) -> tuple[bytes, bytes]:
    """Return the options that a server file states, as settings, and its text without them.

    The text keeps its length and its lines, so that errors name the right ones.
    """
    at, settings = ffi.new("size_t *"), ffi.new("char[]", lib.SETTINGS_MAX)
    size = lib.stated_options(ffi.from_buffer(text), len(text), at, settings)
    if not size:
        return b"", text
    start, end = at[0], at[0] + size
    return ffi.string(settings), text[:start] + b" " * size + text[end:]


def options_in(settings: bytes) -> dict[str, str]:
    """Return options by name, as libketama reads them; raise ValueError where it cannot."""
    return dict(_pairs_in(settings))


# As libketama reads them: in quotes, a backslash makes any character stand for itself.
_OPTION = re.compile(
    r"[ \t]*(?P<name>[^= \t]+)="
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"(?![^ \t])|(?P<plain>[^" \t][^ \t]*))',
    re.DOTALL,
)


@lru_cache(maxsize=16)  # a follower reads the first line of a list several times
def _pairs_in(settings: bytes) -> tuple[tuple[str, str], ...]:
    text, at, pairs = settings.decode(), 0, []
    while match := _OPTION.match(text, at):
        quoted = match["quoted"]
        value = match["plain"] if quoted is None else re.sub(r"(?s)\\(.)", r"\1", quoted)
        pairs.append((match["name"], value))
        at = match.end()
    if text[at:].strip(" \t"):
        raise ValueError(f"invalid options {text[at:]!r:.80}")
    return tuple(pairs)


def label_of(options: Mapping[str, str]) -> str:
    """Return a profile and its options as a person writes them."""
    rest = {name: value for name, value in options.items() if name != PROFILE}
    return f"{options.get(PROFILE, DEFAULT)} {settings_text(rest).decode()}".strip()


class Dialect:
    """The ring that a dialect makes of a server file's text.

    Raises ServersError if it cannot use the file, ProfileError for invalid settings.
    """

    def __init__(self, text: bytes, filename: str | bytes, settings: bytes) -> None:
        self.continuum = continuum_of_text(text, filename, settings)
        self.options = options_in(self.continuum._settings)
        self.label = label_of(self.options)
        self.profile = self.options.get(PROFILE, DEFAULT)

    @property
    def handle(self) -> Any:
        """The C handle of its ring."""
        return self.continuum._now[0]

    @cached_property
    def takes_names(self) -> bool:
        """Whether the programs that speak it have names for servers."""
        return bool(lib.ketama_takes_names(self.handle))

    @cached_property
    def aspects(self) -> Aspects:
        """What it does, in words."""
        described = ffi.new("struct ketama_aspects *")
        if lib.ketama_describe_aspects(self.handle, described) < 0:
            raise MemoryError
        return Aspects(
            *(ffi.string(getattr(described, name)).decode() for name in Aspects._fields)
        )

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The text that is hashed for each server."""
        count = len(self.continuum._now[1])
        return tuple(hashed_name(self.handle, index).decode() for index in range(count))

    def hashes_keys_as(self, other: Dialect) -> bool:
        """Return whether every key but the empty one has the same hash in both."""
        return bool(lib.ketama_same_key_hash(self.handle, other.handle))

    def mixed_with(self, other: Dialect, aspects: int) -> Continuum:
        """Return the ring of `other`, but with aspects, a set of KETAMA_MIX_*, of this one."""
        out, failed = ffi.new("ketama_continuum *"), ffi.new("ketama_failure *")
        if lib.open_mixed(self.handle, other.handle, aspects, out, failed) < 0:
            raise failure(failed, None)
        return continuum_of_handle(out[0])


def common_share(a: Continuum, b: Continuum) -> float:
    """Return which part of all hashes has servers of one address in both, exactly."""
    moved = ffi.new("uint64_t *")
    if lib.ketama_count_moved(a._now[0], b._now[0], moved) < 0:
        raise MemoryError
    return 1 - int(moved[0]) / KEY_SPACE
