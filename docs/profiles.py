"""Write docs/profiles.md: its text, and the table of profiles that the library has.

Usage: profiles.py [--check]. With --check, nothing is written, and a difference is an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import ketama
from ketama.admin.profiles import traits

PAGE = Path(__file__).with_name("profiles.md")
TABLE = re.compile(r"(?<=<!-- begin: profiles -->\n).*(?=<!-- end: profiles -->)", re.DOTALL)


def option(row: ketama.ProfileOption) -> str:
    """Return an option with its values, the default first."""
    values = [value for value in row.choices if value != row.default]
    default = [f"**{row.default}**"] if row.default else []
    return f"`{row.name}`" + (": " if values or default else "") + " ".join(default + values)


def hashed(profile: ketama.Profile) -> str:
    """Return what a profile hashes for a server on port 11211."""
    if profile.is_map:
        return "nothing is hashed for a server"
    text = traits(profile.name).hashed
    return "`10.0.0.1:11211` is hashed " + (f"as `{text}`" if text else "by host and port")


def section(profile: ketama.Profile) -> str:
    """Return what the page says of a profile."""
    options = "; ".join(option(row) for row in profile.options)
    return (
        f"### {profile.name}\n\n"
        f"- Programs: {profile.programs}\n"
        f"- Setting: {profile.setting}\n"
        f"- Port 11211: {hashed(profile)}\n"
        f"- {profile.note}\n"
        f"- Options: {options}\n\n"
    )


def main() -> None:
    """Write the page, or check that it is as it would be written."""
    page = PAGE.read_text(encoding="utf-8")
    table = "\n" + "".join(section(profile) for profile in ketama.profiles())
    new = TABLE.sub(lambda _: table, page)
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(new, encoding="utf-8")
    elif new != page:
        sys.exit("docs/profiles.md is out of date: run make docs")


if __name__ == "__main__":
    main()
