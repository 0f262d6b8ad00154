"""What several commands print: servers, images and differences, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ketama.cli.output import counted, percent, print_styled, print_table, utc_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import ketama
    from ketama.admin.images import Image

PAIRS_MAX = 20  # so many are printed, unless all are asked for


def servers_as_json(continuum: ketama.Continuum) -> list[dict[str, Any]]:
    """Return the servers as in the JSON of `show` and `dump`."""
    servers = continuum.servers
    total = sum(server.weight for server in servers)
    return [
        {
            "address": server.address,
            "name": server.name,
            "weight": server.weight,
            "weight_share": server.weight / total,
            "points": server.points,
            "share": server.share,
            "deviation": server.share / (server.weight / total) - 1,
        }
        for server in servers
    ]


def image_as_json(image: Image) -> dict[str, Any]:
    """Return a published image as in the JSON of `show` and `images`."""
    return {
        "image": image.image,
        "path": image.path or None,
        "state": image.state,
        "generation": image.generation or None,
        "made": utc_time(image.made) if image.made else None,
        "size": image.size,
        "servers": image.servers or None,
        "points": image.points or None,
    }


class KeyMoves:
    """How many keys of a file move, and between which servers."""

    def __init__(self, found: Mapping[tuple[str, str], int]) -> None:
        self.count = sum(found.values())
        self.pairs = {pair: keys for pair, keys in found.items() if pair[0] != pair[1]}
        self.moved = sum(self.pairs.values())

    def collateral(self, found: ketama.Diff) -> int:
        """Return how many keys move between servers that are in both files."""
        return sum(
            keys
            for (start, end), keys in self.pairs.items()
            if start not in found.removed and end not in found.added
        )


def diff_as_json(found: ketama.Diff, keys: KeyMoves | None = None) -> dict[str, Any]:
    """Return a difference as in the JSON of all commands."""
    value: dict[str, Any] = {
        "moved": found.moved,
        "collateral": found.collateral,
        "added": list(found.added),
        "removed": list(found.removed),
        "pairs": [
            {"from": start, "to": end, "share": share}
            for (start, end), share in found.pairs.items()
        ],
    }
    if keys is not None:
        for pair in value["pairs"]:
            pair["keys"] = keys.pairs.get((pair["from"], pair["to"]), 0)
        value["keys"] = {
            "count": keys.count,
            "moved": keys.moved,
            "collateral": keys.collateral(found),
        }
    return value


def print_diff(
    found: ketama.Diff, keys: KeyMoves | None = None, pairs_max: int = PAIRS_MAX
) -> None:
    """Print a difference, with at most `pairs_max` of its pairs."""
    for what, servers in (("added", found.added), ("removed", found.removed)):
        if servers:
            print_styled((f"{what:<12}", ""), (", ".join(servers), "bold"))
    moved = collateral = ""
    if keys is not None:
        of = f"of {counted(keys.count, 'key')}"
        moved, collateral = f"; {keys.moved:,} {of}", f"; {keys.collateral(found):,} {of}"
    _print_share("moved", found.moved, f"of all keys{moved}")
    if found.added or found.removed:  # else the weights ask for all moves
        where = f"between servers that are in both files{collateral}"
        _print_share("collateral", found.collateral, where)
    if found.pairs:
        print()
        _print_pairs(found, keys, pairs_max)


def _print_share(name: str, share: float, what: str) -> None:
    print_styled((f"{name:<11}", ""), (f"{percent(share):>9}", "bold"), (f"   {what}", ""))


def _print_pairs(found: ketama.Diff, keys: KeyMoves | None, pairs_max: int) -> None:
    pairs = list(found.pairs.items())
    headings = ["from", "to", ">share"]
    rows = [[start, end, percent(share)] for (start, end), share in pairs[:pairs_max]]
    if keys is not None:
        headings.append(">keys")
        for row, (pair, _) in zip(rows, pairs, strict=False):
            row.append(str(keys.pairs.get(pair, 0)))
    print_table(headings, rows)
    if rest := pairs[pairs_max:]:
        share = percent(sum(share for _, share in rest))
        print(f"{counted(len(rest), 'more pair')}: {share} (list them with --all)")
