"""The style of all plots: resolution, ink, grid, colors, and one color a genre.

Plots are drawn through matplotlib's objects, never pyplot: no window, no shared state. Colors are those of M. Okabe and
K. Ito, "Color universal design" (2008), those of GTZAN's genres mostly of P. Tol's "muted" scheme, "Colour schemes"
(SRON technical note, 2021); both can be told apart by readers of every color vision.
"""

import colorsys
import textwrap
import warnings
import zlib
from collections.abc import Mapping, Sequence
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
COLORS = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, BROWN)
"""Of what is compared, one after the other."""

INK, GRAY, EDGE, FAINT = "#333333", "#777777", "#999999", "#DDDDDD"

OTHERS = "#BBBBBB"
"""Color of genres that are shown together."""

GENRE_COLORS = {
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
    # The others of the Free Music Archive's top genres.
    "electronic": "#0072B2",
    "experimental": "#8C564B",
    "folk": "#7CB342",
    "instrumental": "#6B8EAE",
    "international": "#D62728",
    "easylistening": "#F7A6C1",
    "oldtimehistoric": "#8C6D00",
    "soulrnb": "#9467BD",
    "spoken": "#17BECF",
    # Ballroom dances.
    "chachacha": "#AA4499",
    "jive": "#E69F00",
    "quickstep": "#332288",
    "rumba": "#CC6677",
    "samba": "#44AA99",
    "tango": "#882255",
    "viennesewaltz": "#88CCEE",
    "waltz": "#999933",
}
"""Colors chosen by hand, by the letters and digits of a genre's name in lower case."""

LEAKY = "LEAKY SPLIT"
"""What the title of a leaky figure begins with."""

SHOWN_GENRES = 20
"""A plot shows at most so many genres in colors of their own."""


def genre_color(genre: str) -> str:
    """Return the color of a genre, which depends on its name alone: the same in every plot and on the page.

    Genres without an entry in `GENRE_COLORS` get a hue and one of three lightnesses from a checksum of the name.
    """
    name = "".join(filter(str.isalnum, genre.casefold()))
    if name in GENRE_COLORS:
        return GENRE_COLORS[name]
    lightness, hue = divmod(zlib.crc32(name.encode()) % (3 * 360), 360)
    rgb = colorsys.hls_to_rgb(hue / 360, (0.35, 0.5, 0.65)[lightness], 0.55)
    return "#" + "".join(f"{round(255 * part):02X}" for part in rgb)


def genre_colors(weights: Mapping[str, float]) -> dict[str, str]:
    """Return the color of each genre in a plot: `genre_color` of the `SHOWN_GENRES` weightiest, `OTHERS` of the rest.

    Args:
        weights: How much each genre of a model matters in this plot.
    """
    shown = sorted(weights, key=lambda genre: (-weights[genre], genre))[:SHOWN_GENRES]
    return {genre: genre_color(genre) if genre in shown else OTHERS for genre in weights}


def marked(title: str, *, leaky: bool, marks: Sequence[str] = ()) -> str:
    """Return a title behind what it must not be read without: LEAKY, and what `marks_of` returns."""
    before = ", ".join([LEAKY] * leaky + [*marks])
    return f"{before}: {title}" if before else title


def new_figure(width_in: float, height_in: float, title: str) -> "Figure":
    """Return an empty figure of a size in inches under its title, which is red if it is `marked` as leaky."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12)
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    words = textwrap.fill(title, width=int(7.5 * width_in))
    color = VERMILION if title.startswith(LEAKY) else INK
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
    warnings.filterwarnings("ignore", "Glyph .* missing from font")  # Of names in other scripts, drawn as boxes.
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", pil_kwargs={"compress_level": 3})
