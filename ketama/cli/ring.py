"""Draw the ring: each slice has the colour of its server."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from matplotlib.axes import Axes

    import ketama

SLICES = 7200  # of the ring: finer than the eye sees
PIXELS = 640  # width and height of the ring
OVERSAMPLING = 3  # the ring is drawn so many times larger, then averaged
HOLE = 0.62  # the inner radius; the outer one is 1


def owners(continuum: ketama.Continuum) -> list[str]:
    """Return the server in the middle of each slice of the ring."""
    from ketama._ketama import ffi, lib

    handle, addresses, _ = continuum._now
    return [
        addresses[lib.ketama_find_hash(handle, ((2 * i + 1) << 31) // SLICES, ffi.NULL)]
        for i in range(SLICES)
    ]


def palette_of(addresses: list[str]) -> dict[str, Any]:
    """Return a colour for each server; up to twenty are easy to tell apart."""
    import matplotlib as mpl

    distinct = list(dict.fromkeys(addresses))
    if len(distinct) <= 20:
        colours = mpl.colormaps["tab10" if len(distinct) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
        return dict(zip(distinct, colours, strict=False))
    # Servers that are neighbours in the file get colours that are far apart.
    golden = (math.sqrt(5) - 1) / 2
    turbo = mpl.colormaps["turbo"]
    return {address: turbo(i * golden % 1) for i, address in enumerate(distinct)}


def _ring_picture(colours: list[Any]) -> Any:
    """Return the pixels of the ring; its slices go clockwise from the top."""
    import numpy as np
    from matplotlib.colors import to_rgba_array

    size = PIXELS * OVERSAMPLING
    across = (np.arange(size) + 0.5) / (size / 2) - 1
    x, y = np.meshgrid(across, -across)
    slices = (np.arctan2(x, y) / (2 * math.pi) % 1 * SLICES).astype(int) % SLICES
    radius = np.hypot(x, y)
    pixels = to_rgba_array(colours)[slices]
    pixels[(radius > 1) | (radius < HOLE)] = (1, 1, 1, 0)
    return pixels.reshape(PIXELS, OVERSAMPLING, PIXELS, OVERSAMPLING, 4).mean(axis=(1, 3))


def draw_ring(ring: Axes, colours: list[Any], caption: str) -> None:
    """Draw the ring with these colours of its slices, and a caption in the middle."""
    ring.imshow(_ring_picture(colours), extent=(-1, 1, -1, 1), interpolation="antialiased")
    ring.set_axis_off()
    for x, y, text in ((0, 1.07, "0"), (1.07, 0, "¼"), (0, -1.07, "½"), (-1.07, 0, "¾")):
        ring.text(x, y, text, ha="center", va="center")
    ring.set_xlim(-1.15, 1.15)
    ring.set_ylim(-1.15, 1.15)
    ring.text(0, 0, caption, ha="center", va="center")
