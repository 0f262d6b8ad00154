"""Draw which servers lose and gain keys when one continuum replaces another."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from ketama.cli.output import counted, deviation, percent
from ketama.cli.plot_sheet import (
    BAR,
    COLLATERAL,
    GAP,
    LARGE,
    LESS,
    MARGIN,
    MORE,
    MOVED,
    MUTED,
    ROW,
    TEXT,
    WIDTH,
    Sheet,
    digits,
    limits,
    number,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ketama.cli.moves import Moves, Row

ROWS_MAX, PAIRS_MAX = 20, 10  # if there are more, the last row sums them up
LABELS_MAX, CHANGE_MAX, PAIR_MAX = 3.8, 1.8, 3.0  # inches
NUMBER = 0.6  # inches: room for a share
INDENT = 0.6  # inches: of the files' names
DOT: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 5, "color": TEXT}
BEFORE, AFTER = {**DOT, "markerfacecolor": "white"}, DOT
FAIR = {**DOT, "marker": "|", "markersize": 11}
Pair = tuple[tuple[str, str], float]
T = TypeVar("T")


def draw_moves(moves: Moves, names: tuple[str, str]) -> Figure:
    """Draw each server's share, what it loses and gains, and the largest moves.

    names: of the two files.
    """
    rows, rest = _split(moves.rows, ROWS_MAX)
    pairs, other_pairs = _split(list(moves.diff.pairs.items()), PAIRS_MAX)
    top = 1.5
    bottom = top + (len(rows) + bool(rest)) * ROW + 0.4
    top_pairs = bottom + 0.4
    if pairs:
        bottom = top_pairs + (len(pairs) + bool(other_pairs)) * ROW + 0.1
    sheet = Sheet(bottom)
    _write_title(sheet, moves, names)
    _draw_servers(sheet, top, rows, rest)
    if pairs:
        _draw_pairs(sheet, top_pairs, moves, pairs, other_pairs)
    return sheet.figure


def _split(rows: list[T], limit: int) -> tuple[list[T], list[T]]:
    """Return the rows to show, and those to sum up in a last row."""
    shown = len(rows) if len(rows) <= limit else limit - 1
    return rows[:shown], rows[shown:]


def _write_title(sheet: Sheet, moves: Moves, names: tuple[str, str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    sheet.text(MARGIN, 0.28, moves.summary, fontsize=LARGE, weight="bold")
    before = counted(len(moves.before), "server")
    after = ", ".join([counted(len(moves.after), "server"), *_changes(moves.rows)])
    for y, what, name, rest in (
        (0.58, "before", names[0], before),
        (0.8, "after", names[1], after),
    ):
        sheet.text(MARGIN, y, what, color=MUTED)
        room = WIDTH - 2 * MARGIN - INDENT - sheet.width(f":  {rest}")
        sheet.text(MARGIN + INDENT, y, f"{sheet.fit(name, room)}:  {rest}")
    collateral = "collateral: between servers whose own lines are the same in both files"
    sheet.legend(
        1.06,
        [
            Line2D([], [], label="before", **BEFORE),
            Line2D([], [], label="after", **AFTER),
            Line2D([], [], label="fair share", **FAIR),
            Patch(color=LESS, label="lost"),
            Patch(color=MORE, label="gained"),
            Patch(color=COLLATERAL, label=collateral),
        ],
    )


def _changes(rows: list[Row]) -> list[str]:
    """Return how many servers were changed, and how."""
    kinds = Counter(row.change.partition(" ")[0] for row in rows)
    return [
        f"{kinds[kind]} {text}"
        for kind, text in (
            ("added", "added"),
            ("removed", "removed"),
            ("weight", "reweighted"),
            ("renamed", "renamed"),
            ("readdressed", "readdressed"),
        )
        if kinds[kind]
    ]


def _draw_servers(sheet: Sheet, top: float, rows: list[Row], rest: list[Row]) -> None:
    """Draw a row per server, and one in which the rest is summed up."""
    count = len(rows) + bool(rest)
    sheet.stripes(top, count)
    if rest:
        lost, gained = sum(row.lost for row in rest), sum(row.gained for row in rest)
        sheet.text(
            MARGIN,
            top + (len(rows) + 0.5) * ROW,
            f"… {counted(len(rest), 'more server')}: {percent(lost)} of all keys lost, "
            f"{percent(gained)} gained",
            color=MUTED,
        )
    left, right = _write_servers(sheet, top, rows), WIDTH - MARGIN
    middle = left + 0.45 * (right - left)
    deviations = [deviation(row.after / row.fair - 1) if row.fair else "" for row in rows]
    sheet.column(middle - GAP, top, "deviation after", deviations, ha="right")
    end = middle - 1.5 * GAP - max(0.9, *map(sheet.width, deviations))
    axes = sheet.row_axes(left, top, end, count, "share, % of all keys")
    _draw_shares(axes, end - left, rows)
    axes = sheet.row_axes(middle, top, right, count, "lost and gained, % of all keys")
    _draw_bars(axes, right - middle, rows)


def _write_servers(sheet: Sheet, top: float, rows: list[Row]) -> float:
    """Write each row's server, and in bold what was changed; return where they end."""
    weights = ["bold" if row.change else "normal" for row in rows]
    changes = [sheet.fit(row.change, CHANGE_MAX, "bold") for row in rows]
    change = max(sheet.width(text, "bold") for text in changes)
    room = LABELS_MAX - change
    labels = [sheet.fit(row.address, room, w) for row, w in zip(rows, weights, strict=True)]
    sheet.column(MARGIN, top, "server", labels, weights)
    end = MARGIN + GAP + max(map(sheet.width, labels, weights))
    if not change:
        return end
    sheet.column(end, top, "change", changes, weights)
    return end + change + GAP


def _draw_shares(axes: Axes, width: float, rows: list[Row]) -> None:
    """Draw each server's share before and after the change, and its fair share."""
    places = range(len(rows))
    before, after, fair = (
        [100 * share for share in shares]
        for shares in zip(*((row.before, row.after, row.fair) for row in rows), strict=True)
    )
    axes.hlines(places, before, after, color=TEXT, linewidth=1.2)
    axes.plot(fair, places, label="fair share", **FAIR)
    axes.plot(before, places, label="before", **BEFORE)
    axes.plot(after, places, label="after", **AFTER)
    axes.set_xlim(limits(0, max(*before, *after, *fair), width, 0.08))


def _draw_bars(axes: Axes, width: float, rows: list[Row]) -> None:
    """Draw what each server loses, to the left, and gains; its collateral at the outer end."""
    lost, gained = max(row.lost for row in rows), max(row.gained for row in rows)
    decimals = digits([lost, gained])
    axes.set_xlim(limits(-100 * lost, 100 * gained, width, NUMBER))
    axes.axvline(0, color=TEXT, linewidth=0.8)
    for i, row in enumerate(rows):
        for sign, colour, share, collateral in (
            (-1, LESS, row.lost, row.collateral_lost),
            (1, MORE, row.gained, row.collateral_gained),
        ):
            if share:
                end, inner = 100 * sign * share, 100 * sign * (share - collateral)
                axes.barh(i, inner, height=BAR, color=colour)
                axes.barh(i, end - inner, height=BAR, left=inner, color=COLLATERAL)
                number(axes, end, i, percent(share, decimals))


def _draw_pairs(
    sheet: Sheet, top: float, moves: Moves, pairs: list[Pair], rest: list[Pair]
) -> None:
    """Draw the largest moves, from which server to which."""
    sheet.stripes(top, len(pairs) + bool(rest))
    left, right = MARGIN, WIDTH - MARGIN
    for side, heading in enumerate(("most keys move from", "to")):
        labels = [sheet.fit(pair[side], PAIR_MAX) for pair, _ in pairs]
        sheet.column(left, top, heading, labels)
        left += GAP + max(1.2, *map(sheet.width, labels))
    axes = sheet.row_axes(left, top, right, len(pairs), "")
    axes.set_xticks([])
    shares = [share for _, share in pairs]
    decimals = digits(shares)
    axes.set_xlim(0, limits(0, 100 * shares[0], right - left, NUMBER)[1])
    for i, (pair, share) in enumerate(pairs):
        colour = COLLATERAL if moves.diff.is_collateral(*pair) else MOVED
        axes.barh(i, 100 * share, height=BAR, color=colour)
        number(axes, 100 * share, i, percent(share, decimals))
    if rest:
        total = percent(sum(share for _, share in rest))
        text = f"… {counted(len(rest), 'more pair')}: {total} of all keys"
        sheet.text(MARGIN, top + (len(pairs) + 0.5) * ROW, text, color=MUTED)
