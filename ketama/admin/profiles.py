"""The dialects of ketama that a Continuum can speak."""

from __future__ import annotations

from typing import NamedTuple

from ketama._ketama import ffi, lib


class ProfileOption(NamedTuple):
    """An option of a profile.

    name: as `Continuum` and the server file's `#ketama` line take it.
    default: its value if it is not given; None if the option is off then.
    choices: the values that it can have; empty: see docs/profiles.md.
    """

    name: str
    default: str | None
    choices: tuple[str, ...]


class Profile(NamedTuple):
    """A dialect of ketama.

    name: as `Continuum` and the server file's `#ketama` line take it.
    programs: that speak it. setting: what to write in their configuration.
    note: what their users should know.
    options: those that it has.
    """

    name: str
    programs: str
    setting: str
    note: str
    options: tuple[ProfileOption, ...]


def profiles() -> tuple[Profile, ...]:
    """Return all profiles, libketama's first."""
    found: list[Profile] = []
    text = ffi.new("struct profile_text *")
    while lib.describe_profile(len(found), text):
        name, programs, setting, note = (
            ffi.string(field).decode()
            for field in (text.name, text.programs, text.setting, text.note)
        )
        lines = ffi.string(text.options).decode().splitlines()
        options = tuple(_option(*line.split("\t")) for line in lines)
        found.append(Profile(name, programs, setting, note, options))
    return tuple(found)


def _option(name: str, default: str, *choices: str) -> ProfileOption:
    return ProfileOption(name, default or None, choices)
