"""The pictures of `ketama plot`: what is in them, and that it can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from command import EXAMPLE, fits_schema, text
from needs import need_module

import ketama
from ketama.cli.app import run

matplotlib = need_module("matplotlib")

EIGHT = [(server.address, server.weight) for server in ketama.Continuum(str(EXAMPLE)).servers]
NINTH = ("10.0.1.9:11211", 600)
Servers = list[tuple[str, int]]


def many(count: int, weights: tuple[int, ...] = (600,)) -> Servers:
    """Return servers whose weights take turns."""
    return [(f"cache-{i}.example:11211", weights[i % len(weights)]) for i in range(count)]


LONG: Servers = [
    *((f"[2001:db8:85a3:8d3:1319:8a2e:370:{i}348]:11211", 600 + i) for i in range(1, 9)),
    *((f"/var/run/memcached/production/instances/shop/cache-{i}.sock", 600) for i in range(3)),
]


@pytest.fixture(autouse=True)
def _no_formulas() -> Iterator[None]:
    with matplotlib.rc_context({"text.parse_math": False}):
        yield


def shares(servers: Servers) -> Any:
    """Draw the shares of these servers; return the figure."""
    from ketama.cli.plot_shares import draw_shares

    return draw_shares(ketama.Continuum(servers), "a.servers")


def moves(before: Servers, after: Any) -> Any:
    """Draw what moves between these servers; return the figure."""
    from ketama.cli.moves import Moves
    from ketama.cli.plot_moves import draw_moves

    found = Moves(ketama.Continuum(before), ketama.Continuum(after))
    return draw_moves(found, ("/etc/a.servers", "b.servers"))


def texts(figure: Any) -> list[str]:
    """Return the texts of a figure that are written in rows and titles."""
    return [each.get_text() for each in figure.texts]


def bars(axes: Any) -> dict[tuple[int, str], float]:
    """Return the lengths of the bars: by row, and by colour and direction."""
    from ketama.cli.plot_sheet import COLLATERAL, LESS, MORE, MOVED

    names = {COLLATERAL: "collateral", LESS: "less", MORE: "more", MOVED: "moved"}
    found: dict[tuple[int, str], float] = {}
    for patch in (bar for container in axes.containers for bar in container):
        row = round(patch.get_y() + patch.get_height() / 2)
        name = names[matplotlib.colors.to_hex(patch.get_facecolor())]
        if name == "collateral":
            name += " lost" if patch.get_width() < 0 else " gained"
        if patch.get_width():
            found[row, name] = abs(patch.get_width()) / 100
    return found


def numbers(axes: Any) -> list[tuple[int, str]]:
    """Return the numbers at the ends of bars, with their rows."""
    return [(round(each.xy[1]), each.get_text()) for each in axes.texts]


def dots(axes: Any, label: str) -> list[float]:
    """Return where the dots of this kind are, as shares."""
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return [x / 100 for x in line.get_xdata()]


def test_shares() -> None:
    """Servers are sorted by deviation; each has its shares, and a bar as long as it says."""
    servers = ketama.Continuum(EIGHT).servers
    deviations = {
        server.address: server.share / (server.weight / 4300) - 1 for server in servers
    }
    ordered = sorted(servers, key=lambda server: -deviations[server.address])
    figure = shares(EIGHT)
    written = texts(figure)
    begin = written.index("server") + 1
    assert written[begin : begin + 8] == [server.address for server in ordered]
    begin = written.index("fair share") + 1
    assert written[begin : begin + 8] == [f"{s.weight / 43:.2f} %" for s in ordered]
    begin = written.index("keys") + 1
    assert written[begin : begin + 8] == [f"{100 * s.share:.2f} %" for s in ordered]
    (axes,) = figure.axes
    parts = [deviations[server.address] for server in ordered]
    assert numbers(axes) == [(i, f"{100 * part:+.1f} %") for i, part in enumerate(parts)]
    assert bars(axes) == pytest.approx(
        {(i, "more" if part > 0 else "less"): abs(part) for i, part in enumerate(parts)}
    )
    assert "a.servers:  8 servers, 1,264 points" in written
    assert (
        "deviation -10.9 % to +8.4 %, standard deviation 6.5 %; "
        "1 server more than 10 % off" in written
    )


def test_the_deviation_is_from_the_fair_shares(tmp_path: Path) -> None:
    """It is the same as that of `ketama show`, also where the mean deviation is not 0."""
    servers = [("a:1", 1000), ("b:1", 1000), ("c:1", 10), ("d:1", 10), ("e:1", 300)]
    path = tmp_path / "servers"
    path.write_text("".join(f"{address} {weight}\n" for address, weight in servers))
    (line,) = (line for line in texts(shares(servers)) if "standard" in line)
    assert (
        line.partition(";")[0].split()[-2:] == text("show", path).splitlines()[9].split()[-2:]
    )


def test_shares_that_are_exact() -> None:
    """A deviation of next to nothing has a short bar, as the axis has a percent at least."""
    (axes,) = shares([("a:1", 1)]).axes
    low, high = axes.get_xlim()
    assert low <= -1 < 1 <= high


def test_shares_of_many() -> None:
    """Of 400 servers both ends have rows, and all are in the histogram."""
    weights = (100, 600, 1000)
    servers = ketama.Continuum(many(400, weights)).servers
    total = sum(server.weight for server in servers)
    parts = [server.share * total / server.weight - 1 for server in servers]
    figure = shares(many(400, weights))
    rows, histogram = figure.axes
    ends = [*sorted(parts, reverse=True)[:12], *sorted(parts, reverse=True)[-12:]]
    assert [number for _, number in numbers(rows)] == [f"{100 * x:+.1f} %" for x in ends]
    assert "… 376 servers in between" in texts(figure)
    heights = {bar.get_x(): bar.get_height() for bar in histogram.containers[0]}
    assert sum(heights.values()) == 400
    assert sum(n for x, n in heights.items() if x < 0) == sum(part < 0 for part in parts)
    assert histogram.get_xlim() == rows.get_xlim()


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (EIGHT, [*EIGHT, NINTH], {NINTH[0]: "added"}),
        ([*EIGHT, NINTH], EIGHT, {NINTH[0]: "removed"}),
        (EIGHT, [*EIGHT[:7], (EIGHT[7][0], 101)], {EIGHT[7][0]: "weight 100 → 101"}),
        (EIGHT, [*EIGHT[:7], (EIGHT[7][0], 700)], {EIGHT[7][0]: "weight 100 → 700"}),
        (EIGHT, EIGHT[::-1], {}),
        (
            [("a:1", 6), ("a:1", 2), ("b:1", 6)],
            [("a:1", 6), ("b:1", 6)],
            {"a:1": "weight 6+2 → 6"},
        ),
        (
            EIGHT[:2],
            many(2),
            dict.fromkeys((EIGHT[0][0], EIGHT[1][0]), "removed")
            | dict.fromkeys((many(2)[0][0], many(2)[1][0]), "added"),
        ),
    ],
    ids=["add", "remove", "weight", "more", "order", "duplicate", "all"],
)
def test_moves(before: Servers, after: Servers, changes: dict[str, str]) -> None:
    """Changed servers come first; bars and dots are what the two rings say."""
    old, new = ketama.Continuum(before), ketama.Continuum(after)
    diff = old.diff(new)
    figure = moves(before, after)
    written = texts(figure)
    count = len({address for address, _ in before + after})
    begin = written.index("server") + 1
    rows = written[begin : begin + count]
    assert {*rows[: len(changes)]} == {*changes}
    assert {*rows} == {address for address, _ in before + after}
    if changes:
        begin = written.index("change") + 1
        shown = written[begin : begin + count]
        assert shown == [changes.get(address, "") for address in rows]

    def of(continuum: ketama.Continuum, address: str) -> float:
        return sum(each.share for each in continuum.servers if each.address == address)

    axes, moved = figure.axes[:2]
    assert dots(axes, "before") == pytest.approx([of(old, address) for address in rows])
    assert dots(axes, "after") == pytest.approx([of(new, address) for address in rows])
    weights = dict.fromkeys(rows, 0) | dict(after)
    total = sum(weights.values())
    assert dots(axes, "fair share") == pytest.approx([weights[a] / total for a in rows])
    begin = written.index("deviation after") + 1
    assert [float(text.split()[0]) for text in written[begin : begin + count] if text] == [
        pytest.approx(100 * (of(new, a) * total / weights[a] - 1), abs=0.051)
        for a in rows
        if weights[a]
    ]

    expected: dict[tuple[int, str], float] = {}
    in_all = 0.0
    for (start, end), share in diff.pairs.items():
        collateral = start not in changes and end not in changes
        in_all += share * collateral
        for address, name in (
            (start, "collateral lost" if collateral else "less"),
            (end, "collateral gained" if collateral else "more"),
        ):
            key = rows.index(address), name
            expected[key] = expected.get(key, 0) + share
    assert bars(moved) == pytest.approx(expected)
    summary = f"{100 * diff.moved:.2f} % of all keys move, {100 * in_all:.2f} % collateral"
    assert written[0] == summary


def test_a_renamed_server() -> None:
    """A server with another name has other points, so it is a changed one."""
    written = texts(moves(EIGHT, [(*EIGHT[0], "x"), *EIGHT[1:]]))
    assert written[written.index("change") + 1] == "renamed"
    assert any("1 renamed" in text for text in written)
    assert written[0].endswith(" of all keys move, 0.00 % collateral")


def test_a_readdressed_server() -> None:
    """A server that keeps its name at another address has one row, with both."""
    old: Servers = [(*EIGHT[0], "x"), *EIGHT[1:]]  # type: ignore[list-item]
    new: Servers = [("10.0.9.9:1", EIGHT[0][1], "x"), *EIGHT[1:]]  # type: ignore[list-item]
    written = texts(moves(old, [*new, NINTH]))
    begin = written.index("server") + 1
    assert f"{EIGHT[0][0]} → 10.0.9.9:1" in written[begin : begin + 2]
    begin = written.index("change") + 1
    assert sorted(written[begin : begin + 2]) == ["added", "readdressed"]
    assert any("1 added, 1 readdressed" in text for text in written)
    assert written[0] == texts(moves(old, [*old, NINTH]))[0]


def test_numbers_of_moves() -> None:
    """What each server loses and gains is written at its bars, and so are the largest moves."""
    diff = ketama.Continuum(EIGHT).diff(ketama.Continuum([*EIGHT, NINTH]))
    figure = moves(EIGHT, [*EIGHT, NINTH])
    written = texts(figure)
    assert written[0] == "12.70 % of all keys move, 1.22 % collateral"
    assert "b.servers:  9 servers, 1 added" in written
    _, moved, pairs = figure.axes
    gained = sum(share for (_, end), share in diff.pairs.items() if end == NINTH[0])
    assert numbers(moved)[0] == (0, f"{100 * gained:.2f} %")
    largest = list(diff.pairs.items())[:9]
    assert numbers(pairs) == [
        (i, f"{100 * share:.2f} %") for i, (_, share) in enumerate(largest)
    ]
    assert bars(pairs) == pytest.approx(
        {
            (i, "moved" if end == NINTH[0] else "collateral gained"): share
            for i, ((_, end), share) in enumerate(largest)
        }
    )
    begin = written.index("most keys move from") + 1
    assert written[begin : begin + 9] == [start for (start, _), _ in largest]
    begin = written.index("to") + 1
    assert written[begin : begin + 9] == [end for (_, end), _ in largest]
    rest = list(diff.pairs.values())[9:]
    assert written[-1] == f"… {len(rest)} more pairs: {100 * sum(rest):.2f} % of all keys"


def test_moves_of_many() -> None:
    """Of 401 servers the added one is the first, and the others are summed up."""
    before = many(400, (100, 600, 1000))
    figure = moves(before, [NINTH, *before])
    written = texts(figure)
    begin = written.index("server") + 1
    assert written[begin] == NINTH[0]
    shown = {*written[begin : begin + 19]}
    diff = ketama.Continuum(before).diff(ketama.Continuum([NINTH, *before]))
    lost = sum(share for (start, _), share in diff.pairs.items() if start not in shown)
    gained = sum(share for (_, end), share in diff.pairs.items() if end not in shown)
    assert (
        f"… 382 more servers: {100 * lost:.2f} % of all keys lost, {100 * gained:.2f} % gained"
        in written
    )


PICTURES: dict[str, tuple[Servers, Servers | None]] = {
    "3": (many(3), None),
    "400": (many(400, (1, 5, 9)), None),
    "long": (LONG, None),
    "starved": ([("a:1", 1), ("b:1", 9000), ("c:1", 9000)], None),
    "9 to 8": ([*EIGHT, NINTH], EIGHT),
    "8 to 8": (EIGHT, many(8)),
    "400 to 401": (many(400, (1, 5, 9)), many(401, (1, 5, 9))),
    "heavier": (LONG, [(LONG[0][0], 2**60), *LONG[1:]]),
    "nothing": (EIGHT, EIGHT),
}


@pytest.mark.parametrize("name", PICTURES)
def test_texts_do_not_overlap(name: str) -> None:
    """Every text is inside the picture, and clear of the others."""
    before, after = PICTURES[name]
    figure = shares(before) if after is None else moves(before, after)
    figure.draw_without_rendering()
    boxes = [(each.get_text(), each.get_window_extent()) for each in drawn(figure)]
    for shown, box in boxes:
        assert box.x0 >= 0, shown
        assert box.y0 >= 0, shown
        assert box.x1 <= figure.bbox.x1, shown
        assert box.y1 <= figure.bbox.y1, shown
    for (shown, box), (other, other_box) in combinations(boxes, 2):
        assert not box.overlaps(other_box), (shown, other)


def drawn(figure: Any) -> Iterator[Any]:
    """Yield the texts of a figure that are drawn, as ticks beyond an axis are not."""
    for legend in figure.legends:
        yield from legend.get_texts()
    found = [*figure.texts]
    for axes in figure.axes:
        found += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            found += [text for place, text in ticks if low <= place <= high]
    yield from (text for text in found if text.get_text())


def plot(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command in this process; return what it prints."""
    assert run(["plot", *map(str, arguments)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def test_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture is written in the format of its name; what it shows is printed, too."""
    new = tmp_path / "new.servers"
    new.write_bytes(EXAMPLE.read_bytes() + b"10.0.1.9:11211    600\n")
    picture = tmp_path / "x.png"
    said = text("plot", EXAMPLE, new, "-o", picture)
    assert said == f"{picture}: 12.70 % of all keys move, 1.22 % collateral\n"
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    picture = tmp_path / "X.SVG"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        said = plot(EXAMPLE, "-o", picture, capsys=capsys)
    assert said == f"{picture}: 8 servers, 1,264 points\n"
    assert picture.read_bytes().startswith(b"<?xml")
    assert {address for address, _ in EIGHT} <= {*re.findall(r">([^<]+)<", picture.read_text())}


def test_plot_of_odd_addresses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Formulas and scripts without glyphs are drawn as they are; --json has the moves."""
    odd = tmp_path / "odd.servers"
    odd.write_text("$\\frac{1}{$:1 5\n日本\u0301:1 5\n_x^2:1 1\nstarved 1\nx 100\n", "utf-8")
    picture = tmp_path / "x.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        shown = plot(odd, "-o", picture, "--json", capsys=capsys)
    assert fits_schema("plot", json.loads(shown))["new"] is None
    assert ">$\\frac{1}{$:1<" in picture.read_text("utf-8")
    shown = plot(odd, EXAMPLE, "-o", picture, "--json", capsys=capsys)
    assert fits_schema("plot", json.loads(shown))["diff"]["moved"] == 1


def test_plot_where_it_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is not there is 3, with its name."""
    picture = tmp_path / "missing" / "x.png"
    assert run(["plot", str(EXAMPLE), "-o", str(picture)]) == 3
    assert capsys.readouterr() == ("", f"ketama: {picture}: No such file or directory\n")


def test_a_bucket_map(tmp_path: Path) -> None:
    path, picture = tmp_path / "map.servers", tmp_path / "map.png"
    path.write_text("#ketama profile=buckets buckets=8\na:1 1 0-3\nb:1 1 4-7\n")
    assert text("plot", path, "-o", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
