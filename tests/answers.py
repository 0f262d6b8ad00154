"""The answers of real programs in vectors/profiles, which its README.md describes."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "vectors" / "profiles"
COUNT = 708_615  # answers

Listed = tuple[str, int, str | None]


class Variant(NamedTuple):
    """A profile with a choice of options, and the server lists that were asked with it."""

    profile: str
    file: str
    options: dict[str, Any]
    lists: list[str]

    def __str__(self) -> str:
        return f"{self.profile}/{self.file}"

    def path(self, name: str) -> Path:
        """Return the path of a server list."""
        return FOLDER / self.profile / f"{name}.servers"


def _options(text: str) -> dict[str, Any]:
    """Return options that are written as Python's keyword arguments."""
    call = ast.parse(f"f({text})", mode="eval").body
    assert isinstance(call, ast.Call)
    return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}


def _variants() -> list[Variant]:
    found = []
    profile = ""
    for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            profile = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith("| file "):
            file, options, lists, _ = (cell.strip() for cell in line[1:-1].split("|"))
            found.append(Variant(profile, file, _options(options), lists.split()))
    return found


VARIANTS = _variants()


@cache
def servers(path: Path) -> list[Listed]:
    """Return address, weight and name of each server in a file."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row[0], int(row[1]), row[2] if len(row) > 2 else None) for row in rows]


def answers(variant: Variant) -> tuple[list[str], dict[str, list[int]]]:
    """Return the keys, and for each server list the place of each key's server."""
    text = (FOLDER / variant.profile / variant.file).read_text(encoding="utf-8")
    (_, *lists), *lines = (line.split("\t") for line in text.removesuffix("\n").split("\n"))
    keys, *columns = zip(*lines, strict=True)
    assert lists == variant.lists
    return list(keys), {
        name: list(map(int, column)) for name, column in zip(lists, columns, strict=True)
    }


# For CIRCLE: how many points there are, the smallest and the largest.
CIRCLE = [("10.0.0.1:11211", 1), ("10.0.0.2:11212", 1)]
CIRCLES = {
    "libketama": (320, 17741937, 4290087197),
    "libmemcached": (320, 17741937, 4281464064),
    "twemproxy": (320, 17741937, 4281464064),
    "libmemcached-ketama": (200, 12705278, 4246689197),
    "libmemcached-spy": (200, 6611927, 4267763023),
    "nginx": (320, 24979172, 4284704246),
    "memcached-proxy": (320, 36444919, 4280176564),
    "dalli": (320, 65738592, 4290984035),
    "libmc": (200, 32965428, 4226209360),
    "xmemcached": (320, 7766738, 4278496415),
    "evcache": (320, 144763, 4282637132),
    "elasticache-java": (320, 68621395, 4294502903),
    "hash_ring": (240, 55018325, 4281464064),
}

# Labels of servers with the weights 46 14 60 42 13, by the rules for them; and each rule's
# first numbers of servers with equal weights that get a label less than 40.
WEIGHTS = [46, 14, 60, 42, 13]
RULES = {
    "A": ([52, 16, 68, 48, 14], [61, 122, 237, 244]),
    "B": (
        [52, 15, 68, 47, 14],
        [25, 47, 50, 55, 61, 71, 94, 100, 107, 109, 110, 115, 122],
    ),
    "C": ([52, 16, 68, 48, 14], []),
    "D": ([52, 16, 68, 48, 14], [7, 14, 28, 49, 56, 98, 103, 112]),
    "E": ([52, 16, 68, 48, 14], [49, 98, 103, 107]),
    "F": ([210, 64, 274, 192, 59], []),
}
# A profile that has the rule, and how many points it makes of a label.
RULED = {
    "A": ("libketama", 4),
    "B": ("libmemcached", 4),
    "C": ("uhashring", 4),
    "D": ("node-hashring", 4),
    "E": ("predis", 4),
    "F": ("dalli", 1),
}
