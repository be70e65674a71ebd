"""Plot of a dashboard: its sections below each other, with one small plot per panel."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genreclf.plots.run import heatmap
from genreclf.plots.style import COLORS, INK, new_figure, save, tidy
from genreclf.plots.sweep import axis_positions, draw_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
"""Number of places for panels in a row."""


@dataclass(frozen=True, eq=False)
class Lines:
    """A metric over the epochs: the mean of each group of runs, with a band from the lowest to the highest run."""

    title: str
    """Title of the panel."""
    groups: Mapping[str, Sequence[Mapping[float, float]]]
    """Runs of each group, by name; each run maps epochs to values."""

    def draw(self, axes: "Axes") -> None:
        """Draw the content of the panel."""
        for color, (name, runs) in zip(_colors(len(self.groups)), self.groups.items(), strict=True):
            epochs = sorted({epoch for run in runs for epoch in run})
            values = [[run[epoch] for run in runs if epoch in run] for epoch in epochs]
            axes.plot(epochs, [np.mean(each) for each in values], color=color, label=name, marker=".", linewidth=1.6)
            lows, highs = [min(each) for each in values], [max(each) for each in values]
            axes.fill_between(epochs, lows, highs, color=color, alpha=0.2, linewidth=0)
        axes.set_xlabel("epoch", fontsize=10)
        axes.legend(fontsize=9, frameon=False)
        tidy(axes, "both")


@dataclass(frozen=True, eq=False)
class Bars:
    """One bar per name: the mean of the values, with a line from the lowest to the highest value."""

    title: str
    """Title of the panel."""
    values: Mapping[str, Sequence[float]]
    """Values of each bar, by name."""

    def draw(self, axes: "Axes") -> None:
        """Draw the content of the panel."""
        means = [float(np.mean(values)) for values in self.values.values()]
        ends = [
            [
                max(0.0, mean - min(values)),
                max(0.0, max(values) - mean),
            ]  # Rounding may move the mean of equal values past them.
            for mean, values in zip(means, self.values.values(), strict=True)
        ]
        places = np.arange(len(means))
        axes.barh(places, means, color=_colors(len(means)), height=0.6)
        if means:
            axes.errorbar(means, places, xerr=np.array(ends).T, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
        axes.set_yticks(places, [*self.values], fontsize=10, parse_math=False)
        axes.invert_yaxis()
        if all(0 <= each <= 1 for values in self.values.values() for each in values):
            axes.set_xlim(0, 1)
        tidy(axes, "x")
        axes.tick_params(labelsize=9)


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Parallel coordinates: one line per run, which is darker for lower objectives."""

    title: str
    """Title of the panel."""
    axes: Mapping[str, Sequence[str]]
    """Values of the runs as text, by name of the axis."""
    objectives: Sequence[float]
    """Objectives of the runs."""

    def draw(self, axes: "Axes") -> None:
        """Draw the content of the panel."""
        from matplotlib import colormaps
        from matplotlib.colors import Normalize

        scale = Normalize(min(self.objectives), max(*self.objectives, min(self.objectives) + 1e-9))
        heights = []
        for place, values in enumerate(self.axes.values()):
            positions, ticks = axis_positions([textwrap.shorten(value, 24, placeholder="...") for value in values])
            heights.append(positions)
            draw_axis(axes, place, ticks)
        for run, objective in enumerate(self.objectives):
            line = [positions[run] for positions in heights]
            axes.plot(range(len(line)), line, color=colormaps["viridis"](scale(objective)), linewidth=1.6)
        names = [name.replace("/", "/\n").replace(".", ".\n") for name in self.axes]
        axes.set_xticks(range(len(names)), names, fontsize=8, parse_math=False)
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.margins(x=0.15, y=0.1)


@dataclass(frozen=True, eq=False)
class Counts:
    """A confusion matrix."""

    title: str
    """Title of the panel."""
    genres: Sequence[str]
    """Names of the rows and columns."""
    counts: NDArray[np.int64]
    """Number of tracks, true genre by predicted genre, shape ``(genre, genre)``."""

    def draw(self, axes: "Axes") -> None:
        """Draw the content of the panel."""
        heatmap(axes, self.counts, self.genres, font=min(9.0, 90 / len(self.genres)))


@dataclass(frozen=True, eq=False)
class Words:
    """Lines of text."""

    title: str
    """Title of the panel."""
    lines: Sequence[str]
    """Lines of text, from top to bottom."""

    def draw(self, axes: "Axes") -> None:
        """Draw the content of the panel."""
        axes.axis("off")
        style: dict[str, Any] = {"family": "monospace", "fontsize": 8, "color": INK, "parse_math": False}
        axes.text(0, 1, "\n".join(self.lines), va="top", transform=axes.transAxes, **style)


Panel = Lines | Bars | Coordinates | Counts | Words
"""Content of a panel."""


def draw_dashboard(path: Path, title: str, sections: Mapping[str, Sequence[Panel]]) -> None:
    """Draw the panels of each section of a dashboard in rows of `COLUMNS` places.

    Args:
        path: Path of the PNG file to write.
        title: Title of the plot, see `genreclf.plots.style.marked`.
        sections: Panels of each section, by its title.
    """
    rows_of = {name: _rows(panels) for name, panels in sections.items()}
    heights = [0.5 + 3.4 * len(rows) for rows in rows_of.values()]
    figure = new_figure(5.2 * COLUMNS, sum(heights) + 1, title)
    parts = figure.subfigures(len(sections), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (name, rows) in zip(parts, rows_of.items(), strict=True):
        part.suptitle(name, x=0.01, ha="left", fontsize=14, fontweight="bold", color=INK)
        grid = part.add_gridspec(len(rows), COLUMNS)
        for row, panels in enumerate(rows):
            for place, panel in panels.items():
                axes = part.add_subplot(grid[row, place : place + _width(panel)])
                panel.draw(axes)
                axes.set_title(panel.title, loc="left", fontsize=11, parse_math=False)
    save(figure, path)


def _width(panel: Panel) -> int:
    """Return the number of places that a panel takes in a row."""
    if isinstance(panel, Coordinates):
        return COLUMNS if len(panel.axes) > 5 else 2
    is_table = isinstance(panel, Words) and len(panel.lines) > 1
    return 2 if is_table or isinstance(panel, Counts) else 1


def _rows(panels: Sequence[Panel]) -> list[dict[int, Panel]]:
    """Return the panels of each row by the index of their first place."""
    rows: list[dict[int, Panel]] = [{}]
    place = 0
    for panel in panels:
        if place + _width(panel) > COLUMNS:
            rows.append({})
            place = 0
        rows[-1][place] = panel
        place += _width(panel)
    return rows


def _colors(number: int) -> list[str]:
    return ([*COLORS] * math.ceil(number / len(COLORS)))[:number]
