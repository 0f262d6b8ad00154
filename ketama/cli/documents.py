"""What several commands print: servers, images and differences, as text and as JSON."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from ketama.cli.output import counted, percent, print_styled, print_table, utc_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import ketama
    from ketama.admin.diff import ServerDiff
    from ketama.admin.images import Image

ROWS_MAX = 20  # of a table; so many are printed, unless all are asked for
ADDRESSES_MAX = 60  # characters of a list in a line


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
        "user": image.user,
    }


class KeyMoves(NamedTuple):
    """How many keys a file has, and how many of them move between which servers."""

    total: int
    pairs: Mapping[tuple[str, str], int]

    @property
    def moved(self) -> int:
        """Return how many keys move."""
        return sum(self.pairs.values())

    def collateral(self, found: ketama.Diff) -> int:
        """Return how many keys move between unchanged servers."""
        return sum(keys for pair, keys in self.pairs.items() if found.is_collateral(*pair))


def diff_as_json(found: ketama.Diff, keys: KeyMoves | None = None) -> dict[str, Any]:
    """Return a difference as in the JSON of all commands."""
    value: dict[str, Any] = {
        "moved": found.moved,
        "collateral": found.collateral,
        "added": list(found.added),
        "removed": list(found.removed),
        "changed": list(found.changed),
        "readdressed": [{"from": start, "to": end} for start, end in found.readdressed],
        "servers": [
            {"address": server.address, **server._asdict()} for server in found.servers
        ],
        "pairs": [
            {"from": start, "to": end, "share": share}
            for (start, end), share in found.pairs.items()
        ],
    }
    if keys is not None:
        for pair in value["pairs"]:
            pair["keys"] = keys.pairs.get((pair["from"], pair["to"]), 0)
        value["keys"] = {
            "count": keys.total,
            "moved": keys.moved,
            "collateral": keys.collateral(found),
        }
    return value


def print_diff(
    found: ketama.Diff,
    keys: KeyMoves | None = None,
    *,
    pairs: bool = False,
    rows_max: int = ROWS_MAX,
) -> None:
    """Print a difference: what moves, and what it means for each server.

    pairs: also how much moves between each two servers. rows_max: of each table.
    """
    for what in ("added", "removed", "changed"):
        if servers := getattr(found, what):
            print_styled((f"{what:<12}", ""), (_listed(servers), "bold"))
    if found.readdressed:
        arrows = tuple(f"{start} -> {end}" for start, end in found.readdressed)
        print_styled((f"{'readdressed':<12}", ""), (_listed(arrows), "bold"))
    moved = collateral = ""
    if keys is not None:
        of = f"of {counted(keys.total, 'key')}"
        moved, collateral = f"; {keys.moved:,} {of}", f"; {keys.collateral(found):,} {of}"
    _print_share("moved", found.moved, f"of all keys{moved}")
    _print_share("collateral", found.collateral, f"between unchanged servers{collateral}")
    if found.pairs:
        print()
        _print_servers(found, rows_max)
    if found.pairs and pairs:
        print()
        _print_pairs(found, keys, rows_max)


def _listed(addresses: tuple[str, ...]) -> str:
    """Return a list for a line: as many as fit, at least one, and how many more there are."""
    ends = accumulate(len(address) + 2 for address in addresses)
    shown = max(1, sum(end <= ADDRESSES_MAX for end in ends))
    rest = len(addresses) - shown
    return ", ".join((*addresses[:shown], *([f"{rest:,} more"] if rest else [])))


def _print_share(name: str, share: float, what: str) -> None:
    print_styled((f"{name:<11}", ""), (f"{percent(share):>9}", "bold"), (f"   {what}", ""))


def _print_servers(found: ketama.Diff, rows_max: int) -> None:
    """Print the servers that lose or gain most, in their order."""
    affected = [
        (number, server)
        for number, server in enumerate(found.servers)
        if server.lost or server.gained or not server.unchanged or server.is_readdressed
    ]
    ranked = sorted(affected, key=lambda row: row[1].lost + row[1].gained, reverse=True)
    rows = [server for _, server in sorted(ranked[:rows_max])]
    print_table(
        ("~server", ">weight", ">share", ">new share", ">lost", ">gained"),
        [
            (
                _addresses(server),
                _weights(server),
                percent(server.share_before),
                percent(server.share_after),
                percent(server.lost),
                percent(server.gained),
            )
            for server in rows
        ],
        ["" if server.unchanged else "bold" for server in rows],
    )
    if rest := ranked[rows_max:]:
        lost = percent(sum(server.lost for _, server in rest))
        gained = percent(sum(server.gained for _, server in rest))
        more = counted(len(rest), "more server")
        print(f"{more}: lost {lost}, gained {gained} (list them with --all)")


def _addresses(server: ServerDiff) -> str:
    if server.is_readdressed:
        return f"{server.address_before} -> {server.address_after}"
    return server.address


def _weights(server: ServerDiff) -> str:
    before, after = (
        "none" if weight is None else str(weight)
        for weight in (server.weight_before, server.weight_after)
    )
    return before if before == after else f"{before} -> {after}"


def _print_pairs(found: ketama.Diff, keys: KeyMoves | None, rows_max: int) -> None:
    pairs = list(found.pairs.items())
    headings = ["~from", "~to", ">share"]
    rows = [[start, end, percent(share)] for (start, end), share in pairs[:rows_max]]
    if keys is not None:
        headings.append(">keys")
        for row, (pair, _) in zip(rows, pairs, strict=False):
            row.append(str(keys.pairs.get(pair, 0)))
    print_table(headings, rows)
    if rest := pairs[rows_max:]:
        share = percent(sum(share for _, share in rest))
        print(f"{counted(len(rest), 'more pair')}: {share} (list them with --all)")
