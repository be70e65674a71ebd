"""The style of all plots: resolution, ink, grid, colors, and one color a genre.

Plots are drawn through matplotlib's objects, never pyplot: no window, no shared state. Colors are those of M. Okabe and
K. Ito, "Color universal design" (2008), those of genres begin with P. Tol's "muted" scheme, "Colour schemes" (SRON
technical note, 2021); both can be told apart by readers of every color vision.
"""

import textwrap
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genreclf.run_directory import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 130
"""Twice the pixels of a common screen."""

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILION, SKY, BROWN = "#D55E00", "#56B4E9", "#8C6D00"
INK, GRAY, EDGE, FAINT = "#333333", "#777777", "#999999", "#DDDDDD"

OTHERS = "#BBBBBB"
"""Color of genres that are shown together."""

GTZAN_COLORS = {
    "blues": "#332288",
    "classical": "#88CCEE",
    "country": "#44AA99",
    "disco": "#E69F00",
    "hiphop": "#117733",
    "jazz": "#999933",
    "metal": "#882255",
    "pop": "#DDCC77",
    "reggae": "#AA4499",
    "rock": "#CC6677",
}
PALETTE = (
    *GTZAN_COLORS.values(),
    *("#0072B2", "#D62728", "#8C564B", "#9467BD", "#17BECF", "#F7A6C1", "#A6D854", "#1B1B1B", "#FFD92F", "#6B8EAE"),
)
"""Colors of genres; the first ten are those of GTZAN's."""


def genre_colors(weights: Mapping[str, float]) -> dict[str, str]:
    """Return the color of each genre, the same in every plot.

    GTZAN's genres have fixed colors; any other genre has one that follows from its name, or the next free one. With
    more genres than `PALETTE` has colors, only the weightiest genre of a color has it; the others are `OTHERS`.

    Args:
        weights: How much each genre of a model matters in this plot.
    """
    colors = {genre: GTZAN_COLORS[genre] for genre in weights if genre in GTZAN_COLORS}
    for genre in sorted(weights.keys() - colors.keys()):
        start, taken = zlib.crc32(genre.encode()) % len(PALETTE), set(colors.values())
        ring = PALETTE[start:] + PALETTE[:start]
        colors[genre] = next((color for color in ring if color not in taken), ring[0])
    shown: dict[str, str] = {}
    for genre in sorted(weights, key=lambda genre: (-weights[genre], genre)):
        shown.setdefault(colors[genre], genre)
    return {genre: colors[genre] if shown[colors[genre]] == genre else OTHERS for genre in weights}


def new_figure(width_in: float, height_in: float, title: str, *, leaky: bool = False) -> "Figure":
    """Return an empty figure of a size in inches under its title, which says LEAKY if `leaky`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12)
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    words = textwrap.fill(f"LEAKY SPLIT: {title}" if leaky else title, width=int(7.5 * width_in))
    color = VERMILION if leaky else INK
    figure.suptitle(words, fontsize=15, fontweight="bold", color=color, parse_math=False)
    return figure


def tidy(axes: "Axes", grid_axis: Any) -> None:
    """Draw a faint grid along ``x``, ``y`` or ``both`` and no frame."""
    axes.grid(axis=grid_axis, color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(EDGE)
    axes.tick_params(colors=INK, labelsize=12)


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG, whole or not at all."""
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", pil_kwargs={"compress_level": 3})
