"""Legends below the axes of a plot, with long titles broken into lines."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from genreclf.plots.style import INK, VERMILION

TITLE_LINES = 4
"""Largest number of lines of a title in a legend; the end of the title, which may say LEAKY, is always shown."""


def wrapped(title: str, width: int = 34) -> str:
    """Break a title into lines for a legend, without the middle if it is very long, and escape each ``$``."""
    lines = textwrap.wrap(title, width)
    if len(lines) > TITLE_LINES:
        lines = [*lines[: TITLE_LINES - 1], f"...{title[3 - width :]}"]
    return "\n".join(lines).replace("$", r"\$")


def height_in(titles: Sequence[str], columns: int, width: int = 34) -> float:
    """Return the height in inches that a legend of `wrapped` titles needs."""
    return 0.27 * math.ceil((sum(wrapped(title, width).count("\n") + 1 for title in titles) + 1) / columns)


def below(columns: int, leaky: Sequence[bool]) -> dict[str, Any]:
    """Return arguments of ``Figure.legend`` for a legend below the axes.

    Args:
        columns: Number of columns of the legend.
        leaky: Whether each entry is that of a leaky split, which gives its title the color of a warning; one more entry
            may follow.
    """
    colors = [*(VERMILION if each else INK for each in leaky), INK]
    return {"loc": "outside lower center", "ncols": columns, "fontsize": 12, "frameon": False, "labelcolor": colors}
