"""The dialects of ketama that a Continuum can speak."""

from __future__ import annotations

from typing import NamedTuple

from ketama._ketama import ffi, lib
from ketama.admin.dialect import file_rules, hashed_name
from ketama.continuum import Continuum


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

    @property
    def is_map(self) -> bool:
        """Whether its files are bucket maps, which list which server owns what."""
        return any(option.name == "buckets" for option in self.options)


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


# What follows from the library's answers, so that it need not be stated in the table as well.

_HOST, _PORT, _OTHER_PORT = "10.0.0.1", 11211, 11212
# So many servers that roundings count: each has a label less where shares are in single
# precision, as in libmemcached.
_MANY = 25


class Traits(NamedTuple):
    """What a profile does with a server, at its default options.

    hashed: the text that is hashed for 10.0.0.1:11211; None if host and port are hashed apart,
        or nothing is, as in a bucket map.
    hashed_other: the same for 10.0.0.1:11212.
    names: whether a server's name is hashed in place of its address.
    weights: "ratio": a server's share of all weights counts. "absolute": so many points for
        each unit of weight. "ignored": all servers are alike. "buckets": servers have the
        buckets that the file lists, which follow the weights when the map is made.
    weights_of_one: whether servers whose weights are all 1 have another ring than those whose
        weights are all 2, though weights count by their ratio.
    """

    hashed: str | None
    hashed_other: str | None
    names: bool
    weights: str
    weights_of_one: bool


def traits(profile: str) -> Traits:
    """Return what a profile does with a server, found out by opening a few rings.

    Raises ProfileError if the profile does not exist.
    """
    if any(row.is_map for row in profiles() if row.name == profile):
        return Traits(None, None, True, "buckets", False)
    ones, twos, fours = (_weighted(profile, *[weight] * _MANY) for weight in (1, 2, 4))
    ignored = _weighted(profile, 1, 1) == _weighted(profile, 1, 3)
    absolute = not ignored and twos != fours
    hashed, other = (_hashed(profile, port) for port in (_PORT, _OTHER_PORT))
    return Traits(
        hashed,
        other,
        hashed is not None,
        "ignored" if ignored else "absolute" if absolute else "ratio",
        not ignored and not absolute and ones != twos,
    )


def _weighted(profile: str, *weights: int) -> list[tuple[int, str]]:
    """Return all points of servers with these weights."""
    servers = [(f"{_HOST[:-1]}{i}:{_PORT}", weight) for i, weight in enumerate(weights, 1)]
    return Continuum(servers, profile=profile).get_points()


def _hashed(profile: str, port: int) -> str | None:
    """Return the text that is hashed for a server; None if host and port are hashed apart."""
    handle = Continuum([f"{_HOST}:{port}"], profile=profile)._now[0]
    return None if file_rules(handle).refuses_names else hashed_name(handle, 0).decode()
