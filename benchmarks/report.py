"""Make the tables and the plot; run as a program, remake them from figures.tsv."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import fleet

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


def goals(f: Figures) -> Iterable[tuple[str, str, float, float]]:
    """Yield what is compared, both figures, their ratio, and the goal."""

    def ratio(
        name: str, ours: float, theirs: float, goal: float, unit: str = "ns"
    ) -> tuple[str, str, float, float]:
        return name, f"{ours:,.4g} / {theirs:,.4g} {unit}", ours / theirs, goal

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
        1.5,
    )
    yield ratio(
        "in C: in a batch of 64, at 10,000 servers / at 8",
        f["C: find_many", 10_000, 20],
        f["C: find_many", 8, 20],
        2,
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


def machine() -> str:
    """Return a description of this machine."""
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    vectors = [name for name in ("avx512f", "avx2", "sse2") if f" {name} " in text]
    processor = found.group(1) if found else platform.machine()
    return (
        f"{processor} ({', '.join(vectors[:1])}), {os.cpu_count()} cores, "
        f"CPython {platform.python_version()}, {platform.system()}"
    )


def table(f: Figures) -> str:
    """Return the tables as lines of Markdown."""
    lines = [f"`make bench` on {machine()}; best of several passes.", ""]
    lines += ["| | measured | ratio | goal | |", "|---|---|---|---|---|"]
    for name, measured, ratio, goal in goals(f):
        aim = f"1/{1 / goal:.0f}" if goal < 0.1 else f"{goal:g}"
        got = f"1/{1 / ratio:.0f}" if goal < 0.1 else f"{ratio:.2f}"
        verdict = "met" if ratio <= goal else "missed"
        lines.append(f"| {name} | {measured} | {got} | ≤ {aim} | {verdict} |")
    for name, factor in threads(f):
        verdict = "met" if factor >= 1.7 else "missed"
        lines.append(f"| two threads / one: {name} | | {factor:.2f} | ≥ 1.7 | {verdict} |")

    lengths = [*fleet.LENGTHS, fleet.MIXED]
    lines += ["", "Nanoseconds per key, by key length in bytes, 100 servers:", ""]
    lines += ["| | " + " | ".join(str(n or "mix") for n in lengths) + " |"]
    lines += ["|---" * (len(lengths) + 1) + "|"]
    for what, label in LINES.items():
        cells = [f.get((what, 100, length)) for length in lengths]
        if sum(cell is not None for cell in cells) > 2:
            lines.append(row(label, cells))
    lines += ["", "By the number of servers, keys of 20 bytes:", ""]
    lines += ["| | " + " | ".join(f"{n:,}" for n in fleet.FLEETS) + " |"]
    lines += ["|---" * (len(fleet.FLEETS) + 1) + "|"]
    for what, label in (*LINES.items(), ("pymemcache rendezvous get_node", "rendezvous")):
        cells = [f.get((what, servers, 20)) for servers in fleet.FLEETS]
        if sum(cell is not None for cell in cells) > 1:
            lines.append(row(label, cells))
    return "\n".join(lines) + "\n"


def row(label: str, cells: list[float | None]) -> str:
    """Return a row of a table."""
    return f"| {label} | " + " | ".join("" if c is None else f"{c:,.0f}" for c in cells) + " |"


def plot(f: Figures, path: Path) -> None:
    """Plot nanoseconds per key by key length and by number of servers."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(13, 6), sharey=True)
    colours = plt.get_cmap("tab20")
    lengths = [*fleet.LENGTHS]
    for number, (what, label) in enumerate(LINES.items()):
        style = {
            "color": colours(number),
            "marker": "o",
            "linestyle": "--" if what in OTHERS else ":" if "C: " in what else "-",
        }
        for axis, xs, key in (
            (axes[0], lengths, lambda x, what=what: (what, 100, x)),
            (axes[1], fleet.FLEETS, lambda x, what=what: (what, x, 20)),
        ):
            points = [(x, f[key(x)]) for x in xs if key(x) in f]
            if len(points) > 1:
                axis.plot(*zip(*points, strict=True), label=label, **style)
    axes[0].set(xlabel="bytes in a key (100 servers)", ylabel="nanoseconds a key", xscale="log")
    axes[0].set_xticks(lengths, ["" if length == 55 else str(length) for length in lengths])
    axes[1].set(xlabel="servers (keys of 20 bytes)", xscale="log")
    axes[1].set_xticks(fleet.FLEETS, [f"{servers:,}" for servers in fleet.FLEETS])
    for axis in axes:
        axis.set_yscale("log")
        axis.grid(visible=True, which="both", alpha=0.25)
        axis.minorticks_off()
    ticks = [10, 20, 50, 100, 200, 500, 1000, 2000]
    axes[0].set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    figure.suptitle("Finding a key's server")
    handles = {
        text: handle
        for axis in axes
        for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="center right", frameon=False)
    figure.tight_layout(rect=(0, 0, 0.8, 1))
    figure.savefig(path, dpi=110)


def write(figures: Figures, folder: Path) -> None:
    """Write the figures, the tables and the plot."""
    lines = ["what\tservers\tbytes in a key\tvalue"]
    for (what, servers, length), value in sorted(figures.items()):
        lines.append(f"{what}\t{servers}\t{length}\t{value:.5g}")
    (folder / "figures.tsv").write_text("\n".join(lines) + "\n")
    (folder / "table.md").write_text(table(figures))
    plot(figures, folder / "lookups.png")


def read(folder: Path) -> Figures:
    """Read the figures back."""
    lines = (folder / "figures.tsv").read_text().splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    return {(what, int(servers), int(length)): float(v) for what, servers, length, v in rows}


if __name__ == "__main__":
    results = Path(__file__).with_name("results")
    write(read(results), results)
