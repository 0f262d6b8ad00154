"""The first line of a fleet's list, by which a file proves its version."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import NamedTuple

from ketama.admin.dialect import options_in
from ketama.admin.statement import BYTE_ORDER_MARK, STATEMENT
from ketama.continuum import continuum_of_text
from ketama.errors import ServersError
from ketama.fleet.errors import RefusedError
from ketama.settings import settings_text

DIGITS = 16  # of the SHA-256
VERSION_DIGITS = 18
VERSION_MAX = 10**VERSION_DIGITS - 1
NO_DATE = 10**15  # the version of the year 10000: no clock leads to it
_DAY = 10**7  # a version is a date, and then so many centiseconds at most


class Stamp(NamedTuple):
    """What a text says of itself.

    domain, version: as its first line states them; None and 0 where it does not.
    genuine: whether the checksum is stated, and is that of all that follows the first line.
    options: the profile options that the first line states, by name.
    body: all that follows the first line; the whole text if that states nothing.
    """

    domain: str | None
    version: int
    genuine: bool
    options: dict[str, str]
    body: bytes

    @property
    def content(self) -> tuple[dict[str, str], bytes]:
        """What decides where keys are: equal in two versions of one list."""
        return self.options, self.body


def read_stamp(text: bytes) -> Stamp:
    """Return what a text says of itself; it need not be valid."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    if not text.startswith(STATEMENT):
        return Stamp(None, 0, False, {}, text)
    line, _, body = text.partition(b"\n")
    try:
        options = options_in(line.removeprefix(STATEMENT).rstrip(b"\r"))
    except (ValueError, UnicodeDecodeError):  # check says why
        return Stamp(None, 0, False, {}, text)
    domain = options.pop("domain", None)
    version = options.pop("version", "")
    stated = options.pop("sha256", None)
    valid = version.isascii() and version.isdigit() and len(version) <= VERSION_DIGITS
    number = int(version) if valid else 0
    return Stamp(domain, number, stated == checksum(body), options, body)


def checksum(body: bytes) -> str:
    """Return the digits that a first line has for what follows it."""
    return sha256(body).hexdigest()[:DIGITS]


def stamped(text: bytes, domain: str, version: int) -> bytes:
    """Return a list with a first line that states domain, version and checksum.

    The options of a profile that its first line states are kept.
    """
    if version > VERSION_MAX:
        raise RefusedError(f"version {version} is too large: at most {VERSION_MAX}")
    stamp = read_stamp(text)
    stated = {"domain": domain, "version": version, "sha256": checksum(stamp.body)}
    return STATEMENT + settings_text({**stated, **stamp.options}) + b"\n" + stamp.body


def next_version(*known: int) -> int:
    """Return a version that is larger than all known ones: the time, if that is.

    It is the date in UTC and the centisecond of the day, 15 digits, such as 202611245334335.
    """
    seconds = time.time()
    date = int(time.strftime("%Y%m%d", time.gmtime(seconds)))
    return max(date * _DAY + int(seconds % 86400 * 100), 1 + max(known, default=0))


def accept(text: bytes, domain: str) -> Stamp:
    """Return what the list of a fleet says of itself, if it is valid.

    Raises RefusedError where domain, version, checksum or the list itself are not.
    """
    stamp = read_stamp(text)
    if not text:
        raise RefusedError("the list is empty")
    if stamp.domain is None or not stamp.version:
        raise RefusedError("its first line does not state domain, version and sha256")
    if stamp.domain != domain:
        raise RefusedError(f"it is for domain {stamp.domain}, not {domain}")
    if not stamp.genuine:
        raise RefusedError("its checksum is not that of its text")
    try:
        continuum_of_text(text, "")
    except ServersError as error:
        line = f"line {error.lineno}: " if error.lineno else ""
        raise RefusedError(f"{line}{error.reason}") from None
    return stamp
