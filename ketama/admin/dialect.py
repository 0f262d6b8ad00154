"""What the dialect of a continuum makes of its servers, as libketama says."""

from __future__ import annotations

from typing import Any, NamedTuple

from ketama._ketama import ffi, lib
from ketama.errors import failure


class Dialect(NamedTuple):
    """What a dialect asks of a server file.

    profile: its name.
    ip_form: how to write a server with a host name, because the program hashes its IP address;
        None if it does not.
    hidden_port: the port that is left out of the hashed text; None if there is none.
    ignores_weights: whether all servers get as many points, whatever their weights are.
    refuses_names: whether a server cannot have a name.
    """

    profile: str
    ip_form: str | None
    hidden_port: str | None
    ignores_weights: bool
    refuses_names: bool


def dialect_of(handle: Any) -> Dialect:
    """Return the dialect of a C handle."""
    text = ffi.new("struct dialect_text *")
    lib.describe_dialect(handle, text)
    return Dialect(
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
