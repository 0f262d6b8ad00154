"""The first line of a server file that was pulled from a fleet, which states its version."""

from __future__ import annotations

from ketama.admin.dialect import options_in
from ketama.settings import settings_text

STATEMENT = b"#ketama "
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
OF_A_FLEET = ("domain", "version", "sha256")


def _split(text: bytes) -> tuple[dict[str, str], bytes]:
    """Return what the first line of a valid server file states, and what follows it."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    line, _, rest = text.partition(b"\n")
    if not line.startswith(STATEMENT):
        return {}, text
    return options_in(line.removeprefix(STATEMENT).rstrip(b"\r")), rest


def without_version(text: bytes) -> bytes:
    """Return a server file's text that states no fleet and no version; else as it is."""
    stated, rest = _split(text)
    options = {name: value for name, value in stated.items() if name not in OF_A_FLEET}
    if options == stated:
        return text
    return (STATEMENT + settings_text(options) + b"\n" if options else b"") + rest


def with_version_of(pulled: bytes, text: bytes) -> bytes:
    """Return a text with the version of the file that it replaces, unless it states a fleet.

    So the file can be pushed to the fleet that it was pulled from. The checksum is not that of
    the text, which shows that it was edited.
    """
    of_fleet = {name: value for name, value in _split(pulled)[0].items() if name in OF_A_FLEET}
    stated, rest = _split(text)
    if "domain" not in of_fleet or any(name in stated for name in OF_A_FLEET):
        return text
    return STATEMENT + settings_text({**of_fleet, **stated}) + b"\n" + rest
