"""The options of a profile, as the text that libketama reads."""

from __future__ import annotations

import re
from collections.abc import Mapping


def settings_text(options: Mapping[str, object]) -> bytes:
    """Return options as "name=value name=value", with quotes where a value needs them.

    Those that are None are left out.
    """
    return " ".join(
        f"{_name(name)}={_value(name, value)}"
        for name, value in options.items()
        if value is not None
    ).encode()


def _name(name: str) -> str:
    """Return a name that is one word; libketama tells whether there is such an option."""
    return "".join(character if character.isalnum() else "_" for character in name) or "_"


def _value(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise TypeError(f"{name} must be str or int, not {type(value).__name__}")
    text = str(value)
    if "\0" in text:
        raise ValueError(f"invalid {name} {value!r:.80}: has a NUL byte")
    if not text or re.search(r'[\s"\\]', text):
        return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
    return text
