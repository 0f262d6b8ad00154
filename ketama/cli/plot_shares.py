"""Draw how far each server's share of the keys is from its fair share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ketama.admin.check import SHARE_TOLERANCE
from ketama.cli.documents import servers_as_json
from ketama.cli.output import counted, deviation, percent, standard_deviation
from ketama.cli.plot_sheet import (
    BAR,
    GAP,
    GRID,
    LARGE,
    LESS,
    MARGIN,
    MORE,
    MUTED,
    ROW,
    SMALL,
    TEXT,
    WIDTH,
    Sheet,
    digits,
    limits,
    number,
)

if TYPE_CHECKING:
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    import ketama

TOLERANCE = 100 * SHARE_TOLERANCE
ROWS_MAX = 40
EXTREMES = 12  # rows for each end, if there are more servers than rows
LABEL_MAX = 3.9  # inches
NUMBER = 0.55  # inches: room for a deviation
HISTOGRAM = 1.1  # inches
BINS = 60
AXIS_MIN = 1.0  # % in either direction, so that bars of next to nothing are short


def draw_shares(continuum: ketama.Continuum, name: str) -> Figure:
    """Draw how far each server's share of the keys is from its share of all weights.

    A row per server, sorted by that deviation. If there are many servers, a histogram shows all
    of them, and rows those at both ends. name: of the file.
    """
    servers = sorted(servers_as_json(continuum), key=_deviation, reverse=True)
    many = len(servers) > ROWS_MAX
    top = 1.4 + (HISTOGRAM + 0.4) * many
    rows = [*servers[:EXTREMES], None, *servers[-EXTREMES:]] if many else [*servers]
    sheet = Sheet(top + len(rows) * ROW + 0.45)
    _write_title(sheet, servers, name)
    sheet.stripes(top, len(rows))
    left = _write_columns(sheet, top, rows, len(servers))
    axes = _draw_bars(sheet, left, top, rows)
    if many:
        _draw_histogram(sheet, left, top - 0.4, axes, servers)
    return sheet.figure


def _deviation(server: dict[str, Any]) -> float:
    return float(server["deviation"])


def _write_title(sheet: Sheet, servers: list[dict[str, Any]], name: str) -> None:
    from matplotlib.patches import Patch

    deviations = [_deviation(server) for server in servers]
    points = sum(server["points"] for server in servers)
    off = sum(abs(part) > SHARE_TOLERANCE for part in deviations)
    title = "Share of the keys, compared with the fair share by weight"
    sheet.text(MARGIN, 0.28, title, fontsize=LARGE, weight="bold")
    counts = f"{counted(len(servers), 'server')}, {counted(points, 'point')}"
    room = WIDTH - 2 * MARGIN - sheet.width(f":  {counts}")
    sheet.text(MARGIN, 0.58, f"{sheet.fit(name, room)}:  {counts}")
    sheet.text(
        MARGIN,
        0.8,
        f"deviation {deviation(min(deviations))} to {deviation(max(deviations))}, "
        f"standard deviation {percent(standard_deviation(deviations), 1)}; "
        f"{counted(off, 'server')} more than {percent(SHARE_TOLERANCE, 0)} off",
    )
    within = f"within {percent(SHARE_TOLERANCE, 0)}: no note from ketama check"
    colours = {"more than the fair share": MORE, "less": LESS, within: GRID}
    sheet.legend(1.04, [Patch(color=colour, label=label) for label, colour in colours.items()])


def _write_columns(
    sheet: Sheet, top: float, rows: list[dict[str, Any] | None], count: int
) -> float:
    """Write each row's server and its numbers; return where they end."""
    rest = f"… {counted(count - 2 * EXTREMES, 'server')} in between"
    labels = [sheet.fit(row["address"], LABEL_MAX) if row else rest for row in rows]
    sheet.column(MARGIN, top, "server", labels)
    end = MARGIN + max(map(sheet.width, labels))
    for heading, member in (("fair share", "weight_share"), ("keys", "share")):
        decimals = digits(row[member] for row in rows if row)
        texts = [percent(row[member], decimals) if row else "" for row in rows]
        end += GAP + max(0.65, *map(sheet.width, texts))
        sheet.column(end, top, heading, texts, ha="right")
    return end + GAP


def _draw_bars(
    sheet: Sheet, left: float, top: float, rows: list[dict[str, Any] | None]
) -> Axes:
    """Draw a bar per row: the deviation."""
    right = WIDTH - MARGIN
    parts = [100 * _deviation(row) if row else 0.0 for row in rows]
    colours = [MORE if part > 0 else LESS for part in parts]
    axes = sheet.row_axes(left, top, right, len(rows), "deviation, % of the fair share")
    axes.barh(range(len(rows)), parts, height=BAR, color=colours)
    axes.set_xlim(limits(min(-AXIS_MIN, *parts), max(AXIS_MIN, *parts), right - left, NUMBER))
    _draw_tolerance(axes)
    for i, row in enumerate(rows):
        if row:
            number(axes, parts[i], i, deviation(_deviation(row)))
    return axes


def _draw_tolerance(axes: Axes) -> None:
    """Draw the range in which `ketama check` is content."""
    axes.axvspan(-TOLERANCE, TOLERANCE, color=GRID, alpha=0.5, lw=0, zorder=0)
    axes.axvline(0, color=TEXT, linewidth=0.8)


def _draw_histogram(
    sheet: Sheet, left: float, bottom: float, bars: Axes, servers: list[dict[str, Any]]
) -> None:
    """Draw how many servers have which deviation, above the bars and on their axis."""
    parts = [100 * _deviation(server) for server in servers]
    step = (parts[0] - parts[-1]) / BINS or 1
    bins = [math.floor(part / step) for part in parts]
    axes = sheet.axes(left, bottom - HISTOGRAM, WIDTH - MARGIN, bottom)
    places = range(bins[-1], bins[0] + 1)
    axes.bar(
        [step * place for place in places],
        [bins.count(place) for place in places],
        width=0.9 * step,
        align="edge",
        color=[LESS if place < 0 else MORE for place in places],
    )
    axes.set_xlim(bars.get_xlim())
    axes.locator_params(axis="y", nbins=3, integer=True)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_ylabel("servers", fontsize=SMALL, color=MUTED)
    _draw_tolerance(axes)
