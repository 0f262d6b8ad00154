"""Write docs/figures.md and its plots from the stored results; measures nothing.

What a benchmark has left no results of is left out of the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import fleets
import results

DOCS = Path(__file__).resolve().parents[1] / "docs"
# (what, number of servers, bytes per key) -> nanoseconds per key, or as the name says
Figures = dict[tuple[str, int, int], float]

OTHERS = {
    "uhashring get_node": "uhashring 2.5",
    "PyPI ketama get_server": "PyPI's ketama 0.1.1",
    "libmc get_host_by_key": "libmc 1.4.17",
    "hashlib.md5": "hashlib.md5 alone",
}
LINES = OTHERS | {
    "get_server": "get_server",
    "lookup": "lookup",
    "C: find": "ketama_find, in C",
    "group_by_server of 100": "group_by_server, 100 keys",
    "lookup_many of 100": "lookup_many, 100 keys",
    "indexes of a million packed": "indexes, packed keys",
    "C: find_many": "ketama_find_many, in C",
}
INTRO = """# Figures

`make bench` measures; `python benchmarks/report.py` writes this page from what it has stored in
`benchmarks/results/`. Each figure is the best of several passes, in which all that is compared
takes turns: other load on the machine can only add time. Each section names its machine.
Where it does not name libketama's version, it was measured before 1.0, with images of twice the
size.
"""


def four_digits(value: float) -> str:
    """Return a figure as text, with four digits, or all before the point if these are more."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def goals(f: Figures) -> Iterable[tuple[str, str, float, float]]:
    """Yield what is compared, both figures, their ratio, and the goal."""

    def ratio(
        name: str, ours: float, theirs: float, goal: float, unit: str = "ns"
    ) -> tuple[str, str, float, float]:
        return name, f"{four_digits(ours)} / {four_digits(theirs)} {unit}", ours / theirs, goal

    pypi = f["PyPI ketama get_server", 8, 20]
    yield ratio("`get_server` / PyPI's ketama", f["get_server", 8, 20], pypi, 0.5)
    yield ratio("`lookup` / PyPI's ketama", f["lookup", 8, 20], pypi, 0.5)
    yield ratio(
        "`lookup_many` of 100, per key / a loop of PyPI's ketama",
        f["lookup_many of 100", 8, 20],
        pypi,
        0.25,
    )
    group = f["group_by_server of 100", 8, 20]
    yield ratio(
        "`group_by_server` of 100, per key / a loop over PyPI's ketama",
        group,
        f["PyPI ketama grouped in a loop", 8, 20],
        0.4,
    )
    yield ratio(
        "`group_by_server` of 100, per key / a loop over uhashring",
        group,
        f["uhashring grouped in a loop", 8, 20],
        0.1,
    )
    yield ratio(
        "`indexes` of a million packed keys, per key / `hashlib.md5(key).digest()`",
        f["indexes of a million packed", 8, 20],
        f["hashlib.md5", 100, 20],
        0.1,
    )
    yield ratio("in C: a lookup / MD5 alone", f["C: find", 8, 20], f["C: md5", 8, 20], 1.1)
    yield ratio(
        "in C: a lookup / the MD5's first word alone",
        f["C: find", 8, 20],
        f["C: hash", 8, 20],
        1.1,
    )
    yield ratio(
        "in C: a lookup in a batch of 64 / a single one",
        f["C: find_many", 8, 20],
        f["C: find", 8, 20],
        0.3,
    )
    yield ratio(
        "in C: a lookup at 10,000 servers / at 8",
        f["C: find", 10_000, 20],
        f["C: find", 8, 20],
        1.2,
    )
    yield ratio(
        "in C: in a batch of 64, at 10,000 servers / at 8",
        f["C: find_many", 10_000, 20],
        f["C: find_many", 8, 20],
        1.5,
    )
    for servers, part in ((100, 50), (1_000, 200)):
        yield ratio(
            f"build at {servers:,} servers / uhashring's",
            f["build", servers, 0] / 1e6,
            f["build uhashring", servers, 0] / 1e6,
            1 / part,
            "ms",
        )
    yield ratio(
        "private memory of a further worker, 1,000 servers / uhashring's",
        f["private bytes: libketama", 1_000, 0] / 1024,
        f["private bytes: uhashring", 1_000, 0] / 1024,
        1 / 50,
        "KiB",
    )


def threads(f: Figures) -> Iterable[tuple[str, float]]:
    """Yield the ratio of lookups per second of two threads to that of one."""
    for what, _, _ in list(f):
        if what.startswith("one thread: "):
            name = what.removeprefix("one thread: ")
            yield name, f[what, 100, 20] / f[f"two threads: {name}", 100, 20]


def grid(head: Iterable[object], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return a table as lines of Markdown: text to the left, figures to the right."""
    heads = [str(cell) for cell in head]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *([*map(str, row)] for row in rows)]
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    ]


def number(value: float | None, digits: int = 0) -> str:
    """Return a figure as text, or an empty one for None."""
    return "" if value is None else f"{value:,.{digits}f}"


def show(name: str, alt: str, figure: Any) -> list[str]:
    """Save a plot; return the lines of Markdown that show it."""
    figure.savefig(DOCS / name, dpi=90)
    return [f"![{alt}]({name})", ""]


def subplots(rows: int, columns: int, **options: Any) -> tuple[Any, Any]:
    """Return a figure of matplotlib, which needs no display, and its axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, **options)


def read_lookups() -> tuple[str, Figures]:
    """Return the machine, and the figures of lookups, builds, threads and memory."""
    machine, rows = results.load("lookups")
    return machine, {(what, int(n), int(length)): float(v) for what, n, length, v in rows}


# ---- lookups


def lookups() -> list[str]:
    """Return the section on lookups in libketama's own dialect."""
    machine, f = read_lookups()
    lengths = [*fleets.LENGTHS, fleets.MIXED]
    lines = ["## Lookups", "", f"{machine}. Nanoseconds per key.", ""]
    lines += show(
        "figures-lookups.png", "Nanoseconds per key, of lookups here and in peers", plot(f)
    )
    lines += ["By the number of servers, keys of 20 bytes:", ""]
    peers = (*LINES.items(), ("pymemcache rendezvous get_node", "rendezvous"))
    rows = [(label, [f.get((what, n, 20)) for n in fleets.FLEETS]) for what, label in peers]
    kept = [
        (label, *map(number, cells))
        for label, cells in rows
        if len(cells) - cells.count(None) > 1
    ]
    lines += grid(["", *(f"{n:,}" for n in fleets.FLEETS)], kept)
    lines += ["", "By the length of the key in bytes, 100 servers:", ""]
    rows = [(label, [f.get((what, 100, n)) for n in lengths]) for what, label in LINES.items()]
    kept = [
        (label, *map(number, cells))
        for label, cells in rows
        if len(cells) - cells.count(None) > 2
    ]
    lines += grid(["", *(n or "mix" for n in lengths)], kept)
    lines += ["", "What is compared, and the goals:", ""]
    return [*lines, *grid(["", "measured", "ratio", "goal", ""], verdicts(f)), ""]


def verdicts(f: Figures) -> Iterable[tuple[str, ...]]:
    """Yield the rows of the table of goals."""
    for name, measured, ratio, goal in goals(f):
        aim = f"1/{1 / goal:.0f}" if goal < 0.1 else f"{goal:g}"
        got = f"1/{1 / ratio:.0f}" if goal < 0.1 else f"{ratio:.2f}"
        yield name, measured, got, f"≤ {aim}", "met" if ratio <= goal else "missed"
    for name, factor in threads(f):
        verdict = "met" if factor >= 1.7 else "missed"
        yield f"two threads / one: {name}", "", f"{factor:.2f}", "≥ 1.7", verdict


def plot(f: Figures) -> Any:
    """Plot nanoseconds per key by key length and by number of servers."""
    figure, axes = subplots(1, 2, figsize=(13, 6), sharey=True)
    for colour, (what, label) in enumerate(LINES.items()):
        style = {
            "color": f"C{colour}" if colour < 10 else "black",
            "marker": "o",
            "linestyle": "--" if what in OTHERS else ":" if "C: " in what else "-",
        }
        for axis, xs, key in (
            (axes[0], fleets.LENGTHS, lambda x, what=what: (what, 100, x)),
            (axes[1], fleets.FLEETS, lambda x, what=what: (what, x, 20)),
        ):
            points = [(x, f[key(x)]) for x in xs if key(x) in f]
            if len(points) > 1:
                axis.plot(*zip(*points, strict=True), label=label, **style)
    axes[0].set(
        xlabel="bytes in a key (100 servers)", ylabel="nanoseconds per key", xscale="log"
    )
    axes[0].set_xticks(fleets.LENGTHS, ["" if n == 55 else str(n) for n in fleets.LENGTHS])
    axes[1].set(xlabel="servers (keys of 20 bytes)", xscale="log")
    axes[1].set_xticks(fleets.FLEETS, [f"{servers:,}" for servers in fleets.FLEETS])
    for axis in axes:
        axis.set_yscale("log")
        axis.grid(visible=True, which="both", alpha=0.25)
        axis.minorticks_off()
    ticks = [10, 20, 50, 100, 200, 500, 1000, 2000]
    axes[0].set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    handles = {
        text: handle
        for axis in axes
        for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="center right", frameon=False)
    figure.tight_layout(rect=(0, 0, 0.8, 1))
    return figure


# ---- profiles


def profiles() -> list[str]:
    """Return the section on the profiles, and the clients that they answer like."""
    machine, rows = results.load("profiles")
    _, peers = results.load("peers")
    lines = [
        "## Profiles",
        "",
        f"{machine}. Nanoseconds per key of 20 bytes, eight servers, in C:",
    ]
    lines += [
        "the key's hash alone, the search for a hash alone, single lookups, batches of 64.",
        "",
    ]
    lines += show("figures-profiles.png", "Lookups of each profile", plot_profiles(rows))
    head = ["profile", "key hash", "hash", "search", "single", "single / hash", "batch"]
    lines += grid(
        head,
        (
            (
                f"`{name}`",
                key_hash,
                hashed,
                search,
                single,
                f"{float(single) / float(hashed):.2f}",
                batch,
            )
            for name, key_hash, hashed, search, single, batch in rows
        ),
    )
    lines += ["", "Beside the clients themselves; in Python unless it says C:", ""]
    head = ["the client itself", "its lookup", "ours", "ours / its"]
    compared = ((*row, f"{float(row[2]) / float(row[1]):.2f}") for row in peers)
    return [*lines, *grid(head, compared), ""]


def plot_profiles(rows: results.Rows) -> Any:
    """Plot hash, single and batch lookup of each profile, with its default hash of keys."""
    defaults = {row[0]: row for row in reversed(rows)}
    shown = [defaults[name] for name in dict.fromkeys(row[0] for row in rows)]
    figure, axis = subplots(1, 1, figsize=(11, 7))
    for column, label, marker in (
        (2, "hash alone", "|"),
        (4, "single", "o"),
        (5, "in a batch", "s"),
    ):
        axis.plot([float(row[column]) for row in shown], range(len(shown)), marker, label=label)
    axis.set_yticks(range(len(shown)), [f"{row[0]}, {row[1]}" for row in shown])
    axis.invert_yaxis()
    axis.set(xscale="log", xlabel="nanoseconds per key")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.grid(visible=True, which="both", alpha=0.25)
    axis.legend(frameon=False)
    figure.tight_layout()
    return figure


# ---- clients


def label(servers: str, round_trip: str) -> str:
    """Return what a column is called."""
    return f"{servers} servers" + (
        f", {1e3 * float(round_trip):g} ms" if float(round_trip) else ""
    )


def clients() -> list[str]:
    """Return the section on clients, theirs and ours."""
    machine, rows = results.load("clients")
    figures = {(name, call, n, trip): float(us) for name, call, n, trip, us in rows}
    networks = [*dict.fromkeys((n, trip) for _, _, n, trip in figures)]
    calls = [*dict.fromkeys(call for _, call, _, _ in figures)]
    names = [*dict.fromkeys(name for name, *_ in figures)]
    lines = [
        "## Clients",
        "",
        f"{machine}. Microseconds per call, keys of 20 bytes, values of 100,",
    ]
    lines += [
        "100 keys in a batch; medians; on loopback, or through a forwarder that adds a round"
    ]
    lines += ["trip of 0.5 ms and its own work, see the floor.", ""]
    picture = plot_clients(figures, networks, calls, names)
    lines += show("figures-clients.png", "Microseconds per call of each client", picture)
    for call in calls:
        table = (
            (name, *(number(figures.get((name, call, *n))) for n in networks)) for name in names
        )
        lines += [*grid([f"`{call}`", *(label(*n) for n in networks)], table), ""]
    lines += ["A `get` of one key on loopback, in microseconds:", ""]
    lines += grid(["", "microseconds"], results.load("single")[1])
    lines += [
        "",
        "What an excluded server costs a lookup in Python, of 20, in nanoseconds per key:",
        "",
    ]
    excluding = ((f"`{name}`", *rest) for name, *rest in results.load("excluding")[1])
    return [*lines, *grid(["", "none excluded", "one"], excluding), ""]


def plot_clients(
    figures: dict[tuple[str, str, str, str], float],
    networks: list[tuple[str, str]],
    calls: list[str],
    names: list[str],
) -> Any:
    """Plot the microseconds per call of each client."""
    figure, axes = subplots(1, len(calls), figsize=(13, 5), sharey=True)
    for axis, call in zip(axes, calls, strict=True):
        for number_, where in enumerate(networks):
            axis.plot(
                [figures.get((name, call, *where)) for name in names],
                range(len(names)),
                "os"[number_ // 2],
                color=f"C{number_}",
                label=label(*where),
            )
        axis.set(title=call, xscale="log", xlabel="microseconds per call")
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.grid(visible=True, which="both", alpha=0.25)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    return figure


# ---- balance

BY_CHANCE = ("rendezvous", "jump", "AnchorHash")


def balance() -> list[str]:
    """Return the section on how evenly methods spread keys."""
    machine, rows = results.load("balance")
    lines = [
        "## Balance",
        "",
        f"{machine}. Shares of all keys, in percent. Worst: how far a server's",
        "share is above its fair one. For each change (a server joins, one leaves, one gets",
        "twice its weight): what moves, and what of it is needless, that is, between servers",
        "that did not change. A lookup includes an MD5 of the key, of 20 bytes. The map has",
        "65,536 buckets, Maglev's table 65,537 slots. The worst shares of rendezvous, jump and",
        "AnchorHash are those of 4 million keys, for rendezvous and 1,000 servers of 262,144:",
        "most of it is chance.",
        "",
    ]
    picture = plot_balance(rows)
    lines += show("figures-balance.png", "Worst share, and needless moves", picture)
    head = ["", "worst", "join", "needless", "leave", "needless", "double weight", "needless"]
    head += ["lookup, ns", "bytes"]
    for weights in ("equal", "random"):
        for servers in ("4", "8", "100", "1000"):
            table = [
                (row[0], *map(_part, row[3:-2]), number(float(row[-2])), f"{int(row[-1]):,}")
                for row in rows
                if row[1:3] == [weights, servers]
            ]
            lines += [f"{int(servers):,} servers, {weights} weights:", "", *grid(head, table)]
            lines.append("")
    return lines


def _part(cell: str) -> str:
    """Return a percentage with two digits; nothing for what a method cannot do."""
    return "" if cell == "-" else f"{float(cell):.2f}"


def plot_balance(rows: results.Rows) -> Any:
    """Plot the worst share, and what changes move in vain, by the number of servers."""
    figure, axes = subplots(1, 2, figsize=(13, 5))
    sizes = ["4", "8", "100", "1000"]
    for name in dict.fromkeys(row[0] for row in rows):
        found = {row[2]: row for row in rows if row[:2] == [name, "random"]}
        if not found:
            continue
        worst = [float(found[size][3]) for size in sizes]
        needless = [sum(float(found[size][n]) for n in (5, 7, 9)) / 3 for size in sizes]
        # Two of them are on one line.
        style = "o--" if name in BY_CHANCE else "o-"
        axes[1].plot(sizes, needless, style, label=name)
        if name not in BY_CHANCE:
            axes[0].plot(sizes, worst, "o-", color=axes[1].lines[-1].get_color())
    axes[0].set(title="worst share over the fair one, %", xlabel="servers, random weights")
    axes[1].set(title="needless moves of a change, % of all keys", xlabel="servers")
    for axis in axes:
        axis.grid(visible=True, alpha=0.25)
    axes[1].legend(frameon=False)
    figure.tight_layout()
    return figure


# ---- what is done once


def sharing() -> list[str]:
    """Return the section on building, attaching and rolling."""
    machine, rows = results.load("sharing")
    lines = [
        "## Building, attaching, rolling",
        "",
        f"{machine}. In C; medians in microseconds.",
        "",
    ]
    head = ["servers", "build", "build, publish", "attach", "refresh, unchanged"]
    head += ["`ketama_roll`, `ketama_smoke`", "image, KB", "KB per server"]
    table = []
    for n, refresh, roll, attach, build, publish, size in (
        row for row in rows if row[0] != "due"
    ):
        kilobytes = float(size) / 1e3
        cells = [number(float(cell)) for cell in (build, publish)]
        cells += [attach, refresh, roll, number(kilobytes, 1), f"{kilobytes / float(n):.2f}"]
        table.append([f"{int(n):,}", *cells])
    (due,) = (row[1] for row in rows if row[0] == "due")
    return [*lines, *grid(head, table), "", f"`ketama_due()` adds {due} ns to a lookup.", ""]


def memory() -> list[str]:
    """Return the section on memory."""
    machine, f = read_lookups()
    lines = [
        "## Memory",
        "",
        f"{machine}. Private memory of one more worker process, in KiB.",
        "",
    ]
    names = {what: n for what, n, _ in f if what.startswith("private bytes: ")}
    rows = (
        (what.removeprefix("private bytes: "), f"{n:,}", number(f[what, n, 0] / 1024))
        for what, n in names.items()
    )
    return [*lines, *grid(["", "servers", "KiB"], rows), ""]


def command() -> list[str]:
    """Return the section on the command."""
    machine, starts = results.load("start")
    _, streams = results.load("streams")
    lines = ["## The command", "", f"{machine}.", ""]
    lines += grid(["to start", "ms"], ((f"`{name}`", ms) for name, ms in starts))
    rows = ((f"`{name}`", s, number(float(keys)), mib) for name, s, keys, mib in streams)
    return [
        *lines,
        "",
        *grid(["keys of 20 bytes, 8 servers", "s", "keys per second", "MiB"], rows),
        "",
    ]


def imports() -> list[str]:
    """Return the section on imports."""
    machine, rows = results.load("imports")
    return ["## Imports", "", f"{machine}.", "", *grid(["a process that runs", "ms"], rows), ""]


SECTIONS: dict[str, Callable[[], list[str]]] = {
    "lookups": lookups,
    "profiles": profiles,
    "balance": balance,
    "clients": clients,
    "sharing": sharing,
    "private": memory,
    "start": command,
    "imports": imports,
}


def main() -> None:
    """Write the page."""
    lines = []
    for name, section in SECTIONS.items():
        stored = "lookups" if name == "private" else name
        if (results.FOLDER / f"{stored}.tsv").exists():
            lines += section()
    (DOCS / "figures.md").write_text("\n".join([INTRO, *lines]).rstrip() + "\n")


if __name__ == "__main__":
    main()
