"""Plot of a sweep: one axis per varied setting, and the accuracy that each job reached."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genreclf.plots.style import EDGE, INK, marked, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECADES = 1.5
"""Axes of positive numbers that span more powers of ten than this are logarithmic."""

APART = 0.06
"""Fraction of an axis over which jobs with the same value are spread, so that their lines can be told apart."""


LONG_NUMBER = re.compile(r"-?\d*\.\d{4,}(e-?\d+)?")
"""Pattern of a number with many decimals, such as a value sampled by a search; it is shown with three digits."""


@dataclass(frozen=True, kw_only=True)
class JobLine:
    """A finished job of a sweep."""

    varies: Mapping[str, str]
    """Values of the varied settings in this job, by dotted key."""
    objective: float
    """Accuracy on validation tracks, from 0 to 1."""
    leaky: bool
    """Whether the split leaks."""
    marks: Sequence[str] = ()
    """Further marks in front of the title, see `genreclf.evaluation.provenance.marks_of`."""


def draw_axes(path: Path, keys: Sequence[str], jobs: Sequence[JobLine], title: str) -> bool:
    """Draw parallel coordinates with one line per finished job, colored by accuracy on validation tracks.

    Returns:
        Whether a plot was drawn, which takes at least two jobs and one varied setting.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    if len(jobs) < 2 or not keys:
        return False
    accuracy = np.array([100 * job.objective for job in jobs])
    low, high = accuracy.min(), accuracy.max()
    heights = np.full((len(keys) + 1, len(jobs)), 0.5)
    heights[-1] = (accuracy - low) / (high - low) if high > low else 0.5
    leaky, marks = any(job.leaky for job in jobs), list(dict.fromkeys(mark for job in jobs for mark in job.marks))
    figure = new_figure(max(6.0, 2.2 * (len(keys) + 1)), 6.0, marked(title, leaky=leaky, marks=marks))
    axes = figure.subplots()
    for place, key in enumerate(keys):
        positions, ticks = axis_positions([job.varies.get(key, "") for job in jobs])
        order = np.argsort(np.argsort(accuracy, kind="stable"), kind="stable")
        heights[place] = positions + (APART * (order / (len(jobs) - 1) - 0.5) if len(ticks) < len(jobs) else 0.0)
        draw_axis(axes, place, ticks)
    draw_axis(axes, len(keys), {f"{value:.1f}": at for value, at in ((low, 0.0), (high, 1.0))} if high > low else {})
    colors, scale = colormaps["viridis"], Normalize(low, high if high > low else low + 1)
    for index in np.argsort(accuracy, kind="stable"):
        points, codes = [(0.0, heights[0, index])], [Curve.MOVETO]
        for place in range(len(keys)):
            here, there = heights[place, index], heights[place + 1, index]
            points += [(place + 0.5, here), (place + 0.5, there), (place + 1.0, there)]
            codes += [Curve.CURVE4] * 3
        dashes = "--" if jobs[index].leaky else "-"
        axes.add_patch(
            PathPatch(
                Curve(points, codes),
                fill=False,
                linestyle=dashes,
                linewidth=1.8,
                edgecolor=colors(scale(accuracy[index])),
            )
        )
    axes.set_xlim(-0.3, len(keys) + 0.15)
    axes.set_ylim(-0.08, 1.08)
    names = [key.replace(".", ".\n") for key in keys]
    axes.set_xticks(range(len(keys) + 1), [*names, "validation\ntracks (%)"], fontsize=11, color=INK)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(ScalarMappable(scale, colors), ax=axes, label="accuracy on validation tracks (%)", fraction=0.04)
    save(figure, path)
    return True


def draw_axis(axes: "Axes", place: int, ticks: dict[str, float]) -> None:
    """Draw one vertical axis of parallel coordinates at position `place`, with ticks given by label and height."""
    axes.axvline(place, color=EDGE, linewidth=1.0, zorder=0)
    for word, height in ticks.items():
        axes.annotate(
            f"{float(word):.3g}" if LONG_NUMBER.fullmatch(word) else word,
            (place, height),
            xytext=(-5, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=11,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
            zorder=5,
            parse_math=False,
        )


def axis_positions(values: Sequence[str]) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Return where the values of a setting lie on an axis, numbers to scale and text evenly spaced.

    Args:
        values: Value of the setting in each job, as text.

    Returns:
        Positions from 0 to 1, shape ``(job,)``, and the positions of the ticks by label.
    """
    words = list(dict.fromkeys(values))
    try:
        numbers = np.array([float(word) for word in words])
        measured = bool(np.isfinite(numbers).all()) and len(words) > 1
    except ValueError:
        measured = False
    if measured:
        if (numbers > 0).all() and np.log10(numbers.max() / numbers.min()) > DECADES:
            numbers = np.log10(numbers)
        at = (numbers - numbers.min()) / (numbers.max() - numbers.min()) if np.ptp(numbers) else 0 * numbers + 0.5
    else:
        words.sort()
        at = np.linspace(0, 1, len(words)) if len(words) > 1 else np.array([0.5])
    place = dict(zip(words, map(float, at), strict=True))
    shown = place
    if measured and len(words) > 8:
        by_height = sorted(place, key=lambda word: place[word])
        shown = {word: place[word] for word in (by_height[0], by_height[len(words) // 2], by_height[-1])}
    return np.array([place[value] for value in values]), shown
