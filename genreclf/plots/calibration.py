"""Plots of the confidence of a model: reliability, and the errors among its most confident predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genreclf.evaluation.calibration import risk, tempered
from genreclf.evaluation.intervals import wilson_interval
from genreclf.evaluation.metrics import calibration_error, get_metric, logarithms, reliability
from genreclf.evaluation.predictions import ClipPredictions, TrackPredictions
from genreclf.plots.style import BLUE, EDGE, GRAY, INK, ORANGE, new_figure, save, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_reliability(path: Path, clips: ClipPredictions, metrics: Mapping[str, Any], title: str) -> None:
    """Draw accuracy against confidence for tracks and for clips, with and without temperature scaling."""
    tracks = clips.per_track()
    figure = new_figure(12, 6.4, title)
    for axes, unit, logs, targets in zip(
        figure.subplots(1, 2),
        ("track", "clip"),
        (logarithms(tracks.probabilities), clips.log_probabilities),
        (tracks.targets, clips.targets[clips.track]),
        strict=True,
    ):
        axes.plot([0, 100], [0, 100], color=EDGE, linewidth=1.2, linestyle=(0, (4, 3)))
        _reliability(axes, tempered(logs, 1.0), targets, "as computed", GRAY)
        temperature = get_metric(metrics, f"calibration.temperature.{unit}")
        if temperature is not None:
            label = f"temperature {temperature:.2f}"
            _reliability(axes, tempered(logs, temperature), targets, label, BLUE if unit == "track" else ORANGE)
        axes.set_title(f"Test {unit}s ({len(targets):,})", loc="left", fontsize=14)
        axes.set_xlabel("probability of the predicted genre (%)", fontsize=13)
        axes.set_ylabel("accuracy (%)", fontsize=13)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        tidy(axes, grid_axis="both")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=12, frameon=False)
    save(figure, path)


def draw_risk(path: Path, tracks: TrackPredictions, title: str) -> None:
    """Draw the share of wrong predictions among the most confident tracks, with its 95 % Wilson interval."""
    wrong = risk(tracks)
    n = np.arange(1, len(wrong) + 1)
    coverage = 100 * n / len(wrong)
    low, high = 100 * np.array([wilson_interval(round(w * k), k) for w, k in zip(wrong, n.tolist(), strict=True)]).T
    figure = new_figure(8.5, 6, title)
    axes = figure.subplots()
    axes.fill_between(coverage, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95 % interval over tracks")
    axes.plot(coverage, 100 * wrong, color=BLUE, linewidth=2, label="wrong")
    axes.axhline(100 * wrong[-1], color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="all tracks")
    axes.set_title("Errors among the most confident tracks", loc="left", fontsize=14)
    axes.set_xlabel("tracks kept, most confident first (%)", fontsize=13)
    axes.set_ylabel("errors among them (%)", fontsize=13)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    tidy(axes, grid_axis="both")
    axes.legend(loc="upper left", fontsize=12, frameon=False)
    save(figure, path)


def _reliability(
    axes: "Axes", probabilities: NDArray[np.float64], targets: NDArray[np.int64], label: str, color: str
) -> None:
    """Draw one point per confidence bin, larger for bins with more predictions."""
    confidence, accuracy, n = reliability(probabilities, targets)
    known = n > 0
    words = f"{label}: calibration error {calibration_error(probabilities, targets):.3f}"
    axes.plot(100 * confidence[known], 100 * accuracy[known], color=color, linewidth=1.5, label=words)
    axes.scatter(100 * confidence[known], 100 * accuracy[known], s=20 + 300 * n[known] / n.sum(), color=color, zorder=3)
