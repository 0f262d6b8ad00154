"""A picture of fixed width, laid out in inches from its top left corner, in rows."""

from __future__ import annotations

import math
from itertools import repeat
from typing import TYPE_CHECKING

from ketama.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from matplotlib.axes import Axes

WIDTH, MARGIN, GAP = 9.0, 0.15, 0.2
ROW = 0.225
BAR = 0.62  # of a row
SIZE, SMALL, LARGE = 9, 8, 13  # points; at 900 pixels, 9 points are 12.5 pixels
# The colour-blind tell blue from orange, and in grey print the collateral is the dark one.
LESS, MORE, COLLATERAL, MOVED = "#56b4e9", "#e69f00", "#2b2b2b", "#b0b0b0"
TEXT, MUTED, GRID, STRIPE = "#1a1a1a", "#5c5c5c", "#d5d5d5", "#f4f4f4"


class Sheet:
    """A matplotlib figure that knows how wide its texts are."""

    def __init__(self, height: float) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.height = height
        self.figure = Figure(figsize=(WIDTH, height), facecolor="white")
        self._renderer = FigureCanvasAgg(self.figure).get_renderer()  # type: ignore[no-untyped-call]

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write a text whose middle is y inches below the top."""
        style = {"fontsize": SIZE, "color": TEXT, "va": "center_baseline", **style}
        self.figure.text(x / WIDTH, 1 - y / self.height, text, **style)

    def width(self, text: str, weight: str = "normal") -> float:
        """Return how wide a text in a row is."""
        from matplotlib.text import Text

        shown = Text(text=text, figure=self.figure, fontsize=SIZE, weight=weight)
        return float(shown.get_window_extent(self._renderer).width) / self.figure.dpi

    def fit(self, text: str, width: float, weight: str = "normal") -> str:
        """Cut a text in the middle to a width: both ends of an address tell it from others."""
        text = printable(text)
        kept, shown = len(text), text
        while kept > 2 and (actual := self.width(shown, weight)) > width:
            kept = min(kept - 1, int(kept * width / actual))
            shown = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        return shown

    def column(
        self,
        x: float,
        top: float,
        heading: str,
        texts: Sequence[str],
        weights: Iterable[str] = repeat("normal"),
        ha: str = "left",
    ) -> None:
        """Write a text in each row, and a heading above; weights: of the fonts."""
        self.text(x, top - 0.14, heading, fontsize=SMALL, color=MUTED, ha=ha)
        for i, (text, weight) in enumerate(zip(texts, weights, strict=False)):
            self.text(x, top + (i + 0.5) * ROW, text, weight=weight, ha=ha)

    def stripes(self, top: float, rows: int) -> None:
        """Give every other row a background."""
        from matplotlib.patches import Rectangle

        for i in range(0, rows, 2):
            corner = MARGIN / 2 / WIDTH, 1 - (top + (i + 1) * ROW) / self.height
            stripe = Rectangle(
                corner, 1 - MARGIN / WIDTH, ROW / self.height, color=STRIPE, lw=0, zorder=-1
            )
            self.figure.add_artist(stripe)

    def axes(self, left: float, top: float, right: float, bottom: float) -> Axes:
        """Add axes without a frame."""
        corner = left / WIDTH, 1 - bottom / self.height
        size = (right - left) / WIDTH, (bottom - top) / self.height
        axes = self.figure.add_axes((*corner, *size))
        axes.spines[:].set_visible(False)
        axes.patch.set_visible(False)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, labelsize=SMALL, labelcolor=MUTED)
        return axes

    def row_axes(self, left: float, top: float, right: float, rows: int, title: str) -> Axes:
        """Add axes in which y is the row, with ticks and a title below."""
        axes = self.axes(left, top, right, top + rows * ROW)
        axes.set_ylim(rows - 0.5, -0.5)
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=max(2, min(6, int(3 * (right - left)))))
        axes.set_xlabel(title, fontsize=SMALL, color=MUTED, labelpad=2)
        return axes

    def legend(self, y: float, handles: Sequence[Any]) -> None:
        """Explain marks and colours in a line whose middle is y inches below the top."""
        self.figure.legend(
            handles=handles,
            loc="center left",
            bbox_to_anchor=(MARGIN / WIDTH, 1 - y / self.height),
            ncols=len(handles),
            frameon=False,
            fontsize=SMALL,
            labelcolor=TEXT,
            borderpad=0,
            borderaxespad=0,
            handlelength=1.2,
            handletextpad=0.5,
            columnspacing=1.4,
        )


def number(axes: Axes, x: float, row: int, text: str) -> None:
    """Write a number at the end of a bar, away from 0."""
    left = x < 0
    axes.annotate(
        text,
        (x, row),
        (-3 if left else 3, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center_baseline",
        fontsize=SMALL,
        color=TEXT,
    )


def limits(low: float, high: float, width: float, room: float) -> tuple[float, float]:
    """Return limits of an axis, with room in inches for a text beyond each end.

    low, high: the ends of the bars, of which 0 is between.
    width: of the axes, in inches.
    """
    unit = ((high - low) or 1) / max(width - 2 * room, width / 4)
    return low - room * unit, high + room * unit


def digits(shares: Iterable[float]) -> int:
    """Return how many decimals give the largest of shares 3 significant digits, at least 2."""
    largest = 100 * max(shares, default=1)
    return min(max(2, 2 - math.floor(math.log10(largest or 1))), 9)
