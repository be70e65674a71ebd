"""Plot of a learning curve: accuracy on test tracks against the size of the training set."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genreclf.plots.legends import below, height_in, wrapped
from genreclf.plots.style import COLORS, INK, new_figure, save, tidy

APART = 0.08
"""Smallest distance of labeled sizes, as a part of the axis."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """A point of a learning curve: the size of the training set and the accuracy reached with it."""

    size: float
    """Number of training tracks, or of training artists per genre."""
    accuracy: float
    """Accuracy on test tracks, from 0 to 1, averaged over seeds."""
    ci95: tuple[float, float]
    """95 % interval of the accuracy over tracks."""
    ci95_artists: tuple[float, float] | None
    """95 % interval of the accuracy over artists and seeds; None if no artists are known."""


def draw_learning_curve(
    path: Path,
    lines: Sequence[tuple[str, Sequence[CurvePoint]]],
    label: str,
    title: str,
) -> None:
    """Draw accuracies over a log scale of sizes, with bars for intervals over tracks and bands for those over artists.

    Args:
        path: Path of the PNG file to write.
        lines: Name of each line, and its points in order of increasing size.
        label: Label of the axis of sizes.
        title: Title of the plot, see `genreclf.plots.style.marked`.
    """
    names = [name for name, _ in lines]
    figure = new_figure(9.5, 6.0 + height_in(names, 2), title)
    axes = figure.subplots()
    axes.set_xscale("log")
    drawn: list[Any] = []
    for index, (_, points) in enumerate(lines):
        color = COLORS[index % len(COLORS)]
        sizes = np.array([point.size for point in points])
        accuracy = 100 * np.array([point.accuracy for point in points])
        bars = np.abs(100 * np.array([point.ci95 for point in points]).T - accuracy)
        # Shift the lines sideways, so that their bars can be told apart.
        beside = sizes * 1.02 ** (index - (len(lines) - 1) / 2)
        look: dict[str, Any] = {"color": color, "marker": "o", "linewidth": 2, "elinewidth": 1.3, "capsize": 3}
        drawn.append(axes.errorbar(beside, accuracy, yerr=bars, **look))
        bands = [(size, point.ci95_artists) for size, point in zip(beside, points, strict=True) if point.ci95_artists]
        if bands:
            ends = 100 * np.array([band for _, band in bands]).T
            axes.fill_between([size for size, _ in bands], *ends, color=color, alpha=0.15, linewidth=0)
    ticks = _ticks({point.size for _, points in lines for point in points})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in np.round(ticks, 1)])
    axes.minorticks_off()
    axes.set_xlabel(label, fontsize=13, color=INK)
    axes.set_ylabel("accuracy on test tracks (%)", fontsize=13, color=INK)
    axes.set_title("bars: 95 % intervals over tracks; bands: over artists and seeds", loc="left", fontsize=12)
    tidy(axes, "both")
    figure.legend(drawn, [wrapped(name) for name in names], **below(2, [False] * len(names)))
    save(figure, path)


def _ticks(sizes: Collection[float]) -> list[float]:
    """Return the sizes to label, without those whose labels would overlap the one before."""
    ticks: list[float] = []
    apart = (max(sizes) / min(sizes)) ** APART
    for size in sorted(sizes):
        if not ticks or size >= ticks[-1] * apart:
            ticks.append(size)
    return ticks
