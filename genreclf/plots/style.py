"""Style of all plots: resolution, text color, grid, color palette, and one color per genre.

Plots are drawn with the object interface of matplotlib instead of pyplot, so there are no windows and no shared state.
The color palette is by M. Okabe and K. Ito, "Color universal design" (2008). The colors of the GTZAN genres are mostly
from the "muted" scheme of P. Tol, "Colour schemes" (SRON technical note, 2021). Both remain distinguishable with
color vision deficiencies.
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
"""Resolution of the plots in pixels per inch."""

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILION, SKY, BROWN = "#D55E00", "#56B4E9", "#8C6D00"
COLORS = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, BROWN)
"""Colors of compared items, in order of use."""

INK, GRAY, EDGE, FAINT = "#333333", "#777777", "#999999", "#DDDDDD"

OTHERS = "#BBBBBB"
"""Color of all genres without a color of their own in a plot."""

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
    # Other top genres of the Free Music Archive.
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
"""Colors chosen by hand, by the lower-case name of the genre with letters and digits only."""

LEAKY = "LEAKY SPLIT"
"""Beginning of the title of a plot with results on a leaky split."""

SHOWN_GENRES = 20
"""Largest number of genres with a color of their own in a plot."""


def genre_color(genre: str) -> str:
    """Return the color of a genre, which depends only on its name and is the same in every plot and on the page.

    Genres without an entry in `GENRE_COLORS` get a hue and one of three lightnesses from a checksum of the name.
    """
    name = "".join(filter(str.isalnum, genre.casefold()))
    if name in GENRE_COLORS:
        return GENRE_COLORS[name]
    lightness, hue = divmod(zlib.crc32(name.encode()) % (3 * 360), 360)
    rgb = colorsys.hls_to_rgb(hue / 360, (0.35, 0.5, 0.65)[lightness], 0.55)
    return "#" + "".join(f"{round(255 * part):02X}" for part in rgb)


def genre_colors(weights: Mapping[str, float]) -> dict[str, str]:
    """Return the color of each genre in a plot: `OTHERS` for all but the `SHOWN_GENRES` of highest weight.

    Args:
        weights: Importance of each genre in the plot, such as its probability.
    """
    shown = sorted(weights, key=lambda genre: (-weights[genre], genre))[:SHOWN_GENRES]
    return {genre: genre_color(genre) if genre in shown else OTHERS for genre in weights}


def marked(title: str, *, leaky: bool, marks: Sequence[str] = ()) -> str:
    """Return a title that starts with `LEAKY`, if the split is leaky, and the given marks.

    Args:
        title: Title without marks.
        leaky: Whether the split leaks.
        marks: Further marks, see `genreclf.evaluation.provenance.marks_of`.
    """
    before = ", ".join([LEAKY] * leaky + [*marks])
    return f"{before}: {title}" if before else title


def new_figure(width_in: float, height_in: float, title: str) -> "Figure":
    """Return an empty figure of the given size in inches, with a title in red if it was `marked` as leaky."""
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
    """Draw a faint grid along ``x``, ``y`` or ``both``, and remove the top and right spines."""
    axes.grid(axis=grid_axis, color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(EDGE)
    axes.tick_params(colors=INK, labelsize=12)


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG file atomically."""
    warnings.filterwarnings("ignore", "Glyph .* missing from font")  # Names in other scripts are drawn as boxes.
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", pil_kwargs={"compress_level": 3})
