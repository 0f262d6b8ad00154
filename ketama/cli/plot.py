"""`ketama plot`: the ring drawn, and what each server gets of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ketama.cli import source
from ketama.cli.app import file_argument, json_option
from ketama.cli.diff import diff_as_json
from ketama.cli.output import counted, deviation, percent, print_json, printable
from ketama.cli.ring import draw_ring, owners, palette_of
from ketama.cli.show import servers_as_json

if TYPE_CHECKING:
    from typing import Any

    from matplotlib.axes import Axes

    import ketama

BARS = 32  # more servers than that are not all drawn
STILL, LOST, GAINED, NEEDLESS = "#e4e4e4", "#c0392b", "#27864b", "#777777"
FORMATS = (".png", ".svg")
LABEL = 36  # characters of an address


@click.command(short_help="Draw the ring, and what each server gets of it.")
@file_argument()
@file_argument("new", required=False)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="PICTURE",
    type=click.Path(dir_okay=False),
    help="What to write: a .png or an .svg.",
)
@json_option
def plot(file: str, new: str | None, output: str, as_json: bool) -> None:
    r"""Draw the ring, and what each server gets of it.

    The ring has each arc in the colour of its server; the bars beside it are the servers'
    shares of the keys, with a mark where their weights would have them. With NEW, another
    server file: what moves from FILE to NEW, on the ring and for each server.

    \b
    Examples:
      ketama plot ketama.servers -o ring.png
      ketama plot ketama.servers new.servers -o friday.svg
    """
    if Path(output).suffix.lower() not in FORMATS:
        raise click.UsageError(f"{output!r} is no picture: it must end in .png or .svg")
    source.only_one_stdin(file, new)
    before = source.open_continuum(file)
    after = None if new is None else source.open_continuum(new)

    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["text.parse_math"] = False  # an address may have a $
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        if after is None:
            _draw_shares(before, source.label(file), output)
        else:
            names = source.label(file), source.label(str(new))
            _draw_moves(before, after, names, output)
    if as_json:
        print_json(
            {
                "file": source.label(file),
                "new": None if new is None else source.label(new),
                "output": output,
                "diff": None if after is None else diff_as_json(before.diff(after)),
            }
        )
    else:
        print(f"{printable(output)}: {_summary(before, after)}")


def _summary(before: ketama.Continuum, after: ketama.Continuum | None) -> str:
    if after is None:
        servers = before.servers
        points = sum(server.points for server in servers)
        return f"{counted(len(servers), 'server')}, {counted(points, 'point')}"
    return _moves_in_words(before.diff(after))


def _moves_in_words(found: ketama.Diff) -> str:
    moved = f"{percent(found.moved)} of the keys move"
    if not found.added and not found.removed:
        return moved  # all of it was asked for
    return f"{moved}, {percent(found.needless)} needlessly"


def _figure(addresses: list[str]) -> tuple[Any, Axes, Axes]:
    """Give a figure with room for a bar for each of these, its ring, and its bars."""
    from matplotlib.figure import Figure

    more = 0.1 * max(0, max(len(_label(address)) for address in addresses) - 20)
    height = max(5.2, 1.6 + 0.27 * len(addresses))
    figure = Figure(figsize=(12 + more, height), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=(5, 6 + more))
    return figure, halves[0].add_subplot(), halves[1].add_subplot()


def _rows(count: int, measure: list[float]) -> list[int]:
    """Give which servers get a bar: all, or those with the largest measure, in their order."""
    if count <= BARS:
        return list(range(count))
    largest = sorted(range(count), key=lambda i: measure[i], reverse=True)[:BARS]
    return sorted(largest)


def _label(address: str) -> str:
    """Cut a long address in its middle: its end tells it apart as well as its beginning."""
    text = printable(address)
    half = LABEL // 2
    return text if len(text) <= LABEL else f"{text[:half]}…{text[-half:]}"


def _share_label(share: float) -> str:
    """Give a share with two digits behind the point, or two that are not 0."""
    return percent(share) if share >= 0.0001 or not share else f"{100 * share:.2g} %"


def _prepare_bars(bars: Axes, labels: list[str], title: str, what: str) -> None:
    bars.set_yticks(range(len(labels)), labels)
    bars.set_ylim(len(labels) - 0.4, -0.6)
    bars.set_title(title, loc="left", fontsize="medium")
    bars.set_xlabel(what)
    bars.spines[["top", "right"]].set_visible(False)
    bars.tick_params(axis="y", length=0)


def _draw_shares(continuum: ketama.Continuum, name: str, output: str) -> None:
    servers = servers_as_json(continuum)
    shown = _rows(len(servers), [abs(server["deviation"]) for server in servers])
    figure, ring, bars = _figure([servers[i]["address"] for i in shown])
    palette = palette_of([server["address"] for server in servers])
    draw_ring(
        ring,
        [palette[owner] for owner in owners(continuum)],
        f"{counted(len(servers), 'server')}\n{_summary(continuum, None).partition(', ')[2]}",
    )
    rows = [servers[i] for i in shown]
    places = range(len(rows))
    bars.barh(
        places,
        [100 * row["share"] for row in rows],
        color=[palette[row["address"]] for row in rows],
        label="share of the keys",
    )
    due = [100 * row["weight_share"] for row in rows]
    bars.vlines(
        due,
        [place - 0.42 for place in places],
        [place + 0.42 for place in places],
        color="black",
        linewidth=2,
        label="share of the weights",
    )
    widest = max(max(100 * row["share"] for row in rows), *due)
    for place, row in enumerate(rows):
        end = max(100 * row["share"], due[place])
        text = f"{_share_label(row['share'])}  ({deviation(row['deviation'])})"
        bars.text(end + widest / 60, place, text, va="center", fontsize="small")
    bars.set_xlim(0, 1.3 * widest)
    title = "share of the keys, and how far it is off the weight's"
    if len(rows) < len(servers):
        title += f"\nthe {BARS} servers that are furthest off"
    _prepare_bars(bars, [_label(row["address"]) for row in rows], title, "% of the keys")
    figure.legend(
        handles=[bars.collections[0]],
        loc="outside lower right",
        frameon=False,
        fontsize="small",
    )
    figure.suptitle(printable(name))
    _save(figure, output)


def _draw_moves(
    before: ketama.Continuum, after: ketama.Continuum, names: tuple[str, str], output: str
) -> None:
    found = before.diff(after)
    came, left = set(found.added), set(found.removed)
    # For each server: lost and gained, each of it needed and needless.
    moves: dict[str, list[float]] = {
        server.address: [0.0, 0.0, 0.0, 0.0] for server in (*before.servers, *after.servers)
    }
    for (start, end), share in found.pairs.items():
        needless = start not in left and end not in came
        moves[start][int(needless)] += 100 * share
        moves[end][2 + int(needless)] += 100 * share
    addresses = list(moves)
    shown = _rows(len(addresses), [sum(moves[address]) for address in addresses])
    figure, ring, bars = _figure([addresses[i] for i in shown])

    pairs = zip(owners(before), owners(after), strict=True)
    draw_ring(
        ring,
        [
            STILL
            if old == new
            else GAINED
            if new in came
            else LOST
            if old in left
            else NEEDLESS
            for old, new in pairs
        ],
        _moves_in_words(found).replace(" of", "\nof").replace(", ", ",\n"),
    )
    rows = [addresses[i] for i in shown]
    places = range(len(rows))
    for part, (colour, sign) in enumerate(
        ((LOST, -1), (NEEDLESS, -1), (GAINED, 1), (NEEDLESS, 1))
    ):
        begin = [sign * moves[address][part - 1] if part % 2 else 0 for address in rows]
        bars.barh(
            places, [sign * moves[address][part] for address in rows], left=begin, color=colour
        )
    widest = max((max(m[0] + m[1], m[2] + m[3]) for m in moves.values()), default=0) or 1
    for place, address in enumerate(rows):
        lost, gained = sum(moves[address][:2]), sum(moves[address][2:])
        for amount, sign, side in ((lost, -1, "right"), (gained, 1, "left")):
            if amount:
                where = sign * (amount + widest / 60)
                text = _share_label(amount / 100).replace(" ", "\u2009")
                bars.text(where, place, text, va="center", ha=side, fontsize="small")
    bars.axvline(0, color="black", linewidth=0.8)
    most_lost = max(sum(amounts[:2]) for amounts in moves.values())
    most_gained = max(sum(amounts[2:]) for amounts in moves.values())
    bars.set_xlim(-most_lost - 0.3 * widest, most_gained + 0.3 * widest)
    marks = dict.fromkeys(came, " (new)") | dict.fromkeys(left, " (leaves)")
    title = "keys that each server loses and gains"
    if len(rows) < len(addresses):
        title += f"\nthe {BARS} servers with most of them"
    _prepare_bars(
        bars,
        [_label(address) + marks.get(address, "") for address in rows],
        title,
        "% of the keys",
    )
    from matplotlib.patches import Patch

    handles = []
    if came or left:
        handles = [
            Patch(color=LOST, label="lost" + ", on the ring by who leaves" * bool(left)),
            Patch(color=GAINED, label="gained" + ", on the ring by who is new" * bool(came)),
        ]
    handles.append(Patch(color=NEEDLESS, label="between servers that stay"))
    figure.legend(
        handles=handles, loc="outside lower right", ncols=3, frameon=False, fontsize="small"
    )
    figure.suptitle(f"from {printable(names[0])} to {printable(names[1])}")
    _save(figure, output)


def _save(figure: Any, output: str) -> None:
    figure.savefig(output, dpi=110)
