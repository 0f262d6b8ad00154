"""Draw a ring with bars beside it: each server's share, or what each server loses and gains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ketama.cli.documents import servers_as_json
from ketama.cli.output import deviation, percent, printable
from ketama.cli.ring import draw_ring, owners, palette_of

if TYPE_CHECKING:
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    import ketama

BARS_MAX = 32
UNCHANGED, LOST, GAINED, COLLATERAL = "#e4e4e4", "#c0392b", "#27864b", "#777777"
LABEL_MAX = 36  # characters of an address


def draw_shares(continuum: ketama.Continuum, name: str, caption: str) -> Figure:
    """Draw the ring and each server's share of the keys.

    name: the picture's title. caption: in the middle of the ring.
    """
    servers = servers_as_json(continuum)
    shown = _largest([abs(server["deviation"]) for server in servers])
    rows = [servers[i] for i in shown]
    figure, ring, bars = _figure([row["address"] for row in rows])
    palette = palette_of([server["address"] for server in servers])
    draw_ring(ring, [palette[owner] for owner in owners(continuum)], caption)
    _draw_share_bars(bars, rows, palette)
    title = "share of the keys, and how far it is off the share of the weights"
    if len(rows) < len(servers):
        title += f"\nthe {BARS_MAX} servers with the largest deviation"
    _label_bars(bars, [_label(row["address"]) for row in rows], title)
    figure.legend(
        handles=[bars.collections[0]],
        loc="outside lower right",
        frameon=False,
        fontsize="small",
    )
    figure.suptitle(printable(name))
    return figure


def _draw_share_bars(bars: Axes, rows: list[dict[str, Any]], palette: dict[str, Any]) -> None:
    positions = range(len(rows))
    bars.barh(
        positions,
        [100 * row["share"] for row in rows],
        color=[palette[row["address"]] for row in rows],
        label="share of the keys",
    )
    due = [100 * row["weight_share"] for row in rows]
    bars.vlines(
        due,
        [position - 0.42 for position in positions],
        [position + 0.42 for position in positions],
        color="black",
        linewidth=2,
        label="share of the weights",
    )
    widest = max(max(100 * row["share"] for row in rows), *due)
    for position, row in enumerate(rows):
        end = max(100 * row["share"], due[position])
        text = f"{_share_label(row['share'])}  ({deviation(row['deviation'])})"
        bars.text(end + widest / 60, position, text, va="center", fontsize="small")
    bars.set_xlim(0, 1.3 * widest)


class _Moves:
    """What one server loses and gains, in per cent of all keys."""

    def __init__(self) -> None:
        self.lost = self.gained = 0.0  # because servers were added or removed
        self.collateral_lost = self.collateral_gained = 0.0

    @property
    def all_lost(self) -> float:
        return self.lost + self.collateral_lost

    @property
    def all_gained(self) -> float:
        return self.gained + self.collateral_gained


def draw_moves(
    before: ketama.Continuum, after: ketama.Continuum, names: tuple[str, str], caption: str
) -> Figure:
    """Draw what moves when one continuum replaces another, on the ring and for each server.

    names: of the two files, for the title. caption: in the middle of the ring.
    """
    found = before.diff(after)
    moves = _moves_of_servers(before, after, found)
    addresses = list(moves)
    shown = _largest([server.all_lost + server.all_gained for server in moves.values()])
    rows = {addresses[i]: moves[addresses[i]] for i in shown}
    figure, ring, bars = _figure(list(rows))
    draw_ring(ring, _colours_of_moves(before, after, found), caption)
    _draw_move_bars(bars, list(rows.values()))
    marks = dict.fromkeys(found.added, " (added)") | dict.fromkeys(found.removed, " (removed)")
    title = "keys that each server loses and gains"
    if len(rows) < len(addresses):
        title += f"\nthe {BARS_MAX} servers with most of them"
    labels = [_label(address) + marks.get(address, "") for address in rows]
    _label_bars(bars, labels, title)
    _draw_legend(figure, found)
    figure.suptitle(f"from {printable(names[0])} to {printable(names[1])}")
    return figure


def _moves_of_servers(
    before: ketama.Continuum, after: ketama.Continuum, found: ketama.Diff
) -> dict[str, _Moves]:
    moves = {server.address: _Moves() for server in (*before.servers, *after.servers)}
    for (start, end), share in found.pairs.items():
        if start in found.removed or end in found.added:
            moves[start].lost += 100 * share
            moves[end].gained += 100 * share
        else:
            moves[start].collateral_lost += 100 * share
            moves[end].collateral_gained += 100 * share
    return moves


def _colours_of_moves(
    before: ketama.Continuum, after: ketama.Continuum, found: ketama.Diff
) -> list[str]:
    """Return the colour of each slice of the ring."""
    added, removed = set(found.added), set(found.removed)

    def colour(old: str, new: str) -> str:
        if old == new:
            return UNCHANGED
        if new in added:
            return GAINED
        return LOST if old in removed else COLLATERAL

    return [colour(old, new) for old, new in zip(owners(before), owners(after), strict=True)]


def _draw_move_bars(bars: Axes, rows: list[_Moves]) -> None:
    """Draw losses to the left and gains to the right, the collateral part further out."""
    positions = range(len(rows))
    bars.barh(positions, [-row.lost for row in rows], color=LOST)
    bars.barh(
        positions,
        [-row.collateral_lost for row in rows],
        left=[-row.lost for row in rows],
        color=COLLATERAL,
    )
    bars.barh(positions, [row.gained for row in rows], color=GAINED)
    bars.barh(
        positions,
        [row.collateral_gained for row in rows],
        left=[row.gained for row in rows],
        color=COLLATERAL,
    )
    most_lost = max(row.all_lost for row in rows)
    most_gained = max(row.all_gained for row in rows)
    widest = max(most_lost, most_gained) or 1
    for position, row in enumerate(rows):
        for amount, sign, side in ((row.all_lost, -1, "right"), (row.all_gained, 1, "left")):
            if amount:
                at = sign * (amount + widest / 60)
                text = _share_label(amount / 100).replace(" ", "\u2009")
                bars.text(at, position, text, va="center", ha=side, fontsize="small")
    bars.axvline(0, color="black", linewidth=0.8)
    bars.set_xlim(-most_lost - 0.3 * widest, most_gained + 0.3 * widest)


def _draw_legend(figure: Figure, found: ketama.Diff) -> None:
    from matplotlib.patches import Patch

    handles = []
    if found.added or found.removed:
        handles = [
            Patch(color=LOST, label="lost" + " (ring: removed servers)" * bool(found.removed)),
            Patch(color=GAINED, label="gained" + " (ring: added servers)" * bool(found.added)),
        ]
    handles.append(Patch(color=COLLATERAL, label="between servers that are in both files"))
    figure.legend(
        handles=handles, loc="outside lower right", ncols=3, frameon=False, fontsize="small"
    )


def _figure(addresses: list[str]) -> tuple[Figure, Axes, Axes]:
    """Return a figure with room for a bar per address, its ring, and its bars."""
    from matplotlib.figure import Figure

    more = 0.1 * max(0, max(len(_label(address)) for address in addresses) - 20)
    height = max(5.2, 1.6 + 0.27 * len(addresses))
    figure = Figure(figsize=(12 + more, height), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=(5, 6 + more))
    return figure, halves[0].add_subplot(), halves[1].add_subplot()


def _largest(measures: list[float]) -> list[int]:
    """Return which servers get a bar, in their order: those with the largest measure."""
    ranked = sorted(range(len(measures)), key=lambda i: measures[i], reverse=True)
    return sorted(ranked[:BARS_MAX])


def _label(address: str) -> str:
    """Cut a long address in the middle: both its ends tell it from others."""
    text = printable(address)
    half = LABEL_MAX // 2
    return text if len(text) <= LABEL_MAX else f"{text[:half]}…{text[-half:]}"


def _share_label(share: float) -> str:
    """Format a share with two decimals, or with two significant digits if it is tiny."""
    return percent(share) if share >= 0.0001 or not share else f"{100 * share:.2g} %"


def _label_bars(bars: Axes, labels: list[str], title: str) -> None:
    bars.set_yticks(range(len(labels)), labels)
    bars.set_ylim(len(labels) - 0.4, -0.6)
    bars.set_title(title, loc="left", fontsize="medium")
    bars.set_xlabel("% of the keys")
    bars.spines[["top", "right"]].set_visible(False)
    bars.tick_params(axis="y", length=0)
