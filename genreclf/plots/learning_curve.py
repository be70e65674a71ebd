"""Plot of a learning curve: accuracy on test tracks against the size of the training set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genreclf.plots.style import COLORS, INK, new_figure, save, tidy


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
    figure = new_figure(9.5, 6.2, title)
    axes = figure.subplots()
    axes.set_xscale("log")
    for index, (name, points) in enumerate(lines):
        color = COLORS[index % len(COLORS)]
        sizes = np.array([point.size for point in points])
        accuracy = 100 * np.array([point.accuracy for point in points])
        bars = np.abs(100 * np.array([point.ci95 for point in points]).T - accuracy)
        # Shift the lines sideways, so that their bars can be told apart.
        beside = sizes * 1.02 ** (index - (len(lines) - 1) / 2)
        axes.errorbar(
            beside, accuracy, yerr=bars, color=color, marker="o", linewidth=2, elinewidth=1.3, capsize=3, label=name
        )
        bands = [(size, point.ci95_artists) for size, point in zip(beside, points, strict=True) if point.ci95_artists]
        if bands:
            ends = 100 * np.array([band for _, band in bands]).T
            axes.fill_between([size for size, _ in bands], *ends, color=color, alpha=0.15, linewidth=0)
    ticks = sorted({point.size for _, points in lines for point in points})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in np.round(ticks, 1)])
    axes.minorticks_off()
    axes.set_xlabel(label, fontsize=13, color=INK)
    axes.set_ylabel("accuracy on test tracks (%)", fontsize=13, color=INK)
    axes.set_title("bars: 95 % intervals over tracks; bands: over artists and seeds", loc="left", fontsize=12)
    tidy(axes, "both")
    legend = axes.legend(fontsize=12, frameon=False, loc="lower right")
    for text in legend.get_texts():
        text.set_parse_math(False)
    save(figure, path)
