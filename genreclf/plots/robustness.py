"""Plot of how changes of the test tracks affect the predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genreclf.evaluation.predictions import TrackPredictions
from genreclf.evaluation.robustness import Robustness
from genreclf.plots.style import BLUE, INK, ORANGE, new_figure, save, tidy


def draw_robustness(path: Path, results: Sequence[Robustness], before: TrackPredictions, title: str) -> None:
    """Draw the share of predictions that each change flips, and the drop in accuracy, with 95 % intervals."""
    figure = new_figure(12, 0.55 * len(results) + 2.6, title)
    rows = np.arange(len(results))
    accuracy = float((before.predicted == before.targets).mean())
    flips, drops = figure.subplots(1, 2, sharey=True)
    bars: dict[str, Any] = {"fmt": "none", "ecolor": INK, "elinewidth": 1.3, "capsize": 3}
    for axes, key, color in ((flips, "flips", BLUE), (drops, "drop", ORANGE)):
        values = 100 * np.array([getattr(each, key) for each in results])
        ends = [getattr(each, f"{key}_ci95_artists") or getattr(each, f"{key}_ci95") for each in results]
        axes.barh(rows, values, height=0.6, color=color)
        axes.errorbar(values, rows, xerr=np.abs(100 * np.array(ends).T - values), **bars)
        tidy(axes, grid_axis="x")
    flips.set_yticks(rows, [each.name.replace("_", " ") for each in results])
    flips.set_ylim(len(results) - 0.4, -0.6)
    flips.set_xlim(left=0)
    flips.set_xlabel("tracks whose prediction changes (%)", fontsize=13)
    drops.axvline(0, color=INK, linewidth=1)
    drops.set_xlabel(f"points below {100 * accuracy:.1f} % accuracy", fontsize=13)
    of_artists = any(each.flips_ci95_artists for each in results)
    unit = "artists" if of_artists else "tracks"
    flips.set_title(f"{len(before.targets)} test tracks; 95 % intervals over {unit}", loc="left", fontsize=13)
    save(figure, path)
