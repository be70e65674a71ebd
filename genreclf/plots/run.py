"""Plots of a run: learning curves, confusion matrices, scores by genre."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genreclf.evaluation.intervals import wilson_interval
from genreclf.evaluation.metrics import best_epoch, confusion, genre_scores, number
from genreclf.evaluation.predictions import ClipPredictions, TrackPredictions
from genreclf.evaluation.provenance import marks_of
from genreclf.plots.calibration import draw_reliability, draw_risk
from genreclf.plots.style import BLUE, EDGE, FAINT, GRAY, INK, ORANGE, SKY, VERMILION, marked, new_figure, save, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERED_GENRES = 30
"""With more genres than this, a confusion matrix shows only colors and no numbers."""


def draw_all(
    directory: Path,
    history_rows: Sequence[Mapping[str, Any]],
    clips: ClipPredictions,
    metrics: Mapping[str, Any],
    title: str,
) -> list[Path]:
    """Draw the learning curves, confusion matrices, scores by genre, reliability diagram and risk-coverage curve.

    Args:
        directory: Folder of the plots; created if it does not exist.
        history_rows: One row per epoch with ``epoch``, ``train/loss``, ``train/accuracy``, ``val/loss``,
            ``val/clip_accuracy``, ``val/track_accuracy`` and ``val/track_loss``; metrics may be missing.
        clips: Predictions for the test clips.
        metrics: Metrics of the run. If ``split.leaky`` is true, every title starts with LEAKY SPLIT; see also
            `genreclf.evaluation.provenance.marks_of` and `genreclf.evaluation.metrics.best_epoch`.
        title: Title with the model, the dataset and the split.

    Returns:
        Paths of the plots, without ``curves.png`` if no epoch was trained.
    """
    title = marked(title, leaky=bool(metrics.get("split", {}).get("leaky")), marks=marks_of(metrics))
    tracks, paths = clips.per_track(), []
    if history_rows:
        paths.append(directory / "curves.png")
        draw_curves(paths[-1], history_rows, best_epoch(history_rows, metrics), title)
    for name, normalized in (("confusion.png", False), ("confusion_normalized.png", True)):
        paths.append(directory / name)
        draw_confusion(paths[-1], tracks, title, normalized=normalized)
    paths.append(directory / "genre_scores.png")
    draw_genre_scores(paths[-1], tracks, title)
    paths += [directory / "reliability.png", directory / "risk_coverage.png"]
    draw_reliability(paths[-2], clips, metrics, title)
    draw_risk(paths[-1], tracks, title)
    return paths


def draw_curves(path: Path, history_rows: Sequence[Mapping[str, Any]], best: int | None, title: str) -> None:
    """Draw loss and accuracy over the epochs, and mark the epoch `best` of the tested checkpoint; see `draw_all`."""
    figure = new_figure(12, 5.6, title)
    loss, accuracy = figure.subplots(1, 2)
    _lines(loss, history_rows, ("train/loss", "val/loss", "val/track_loss"), 1, best)
    loss.set_title("Loss", loc="left", fontsize=14)
    loss.set_ylabel("loss", fontsize=13)
    _lines(accuracy, history_rows, ("train/accuracy", "val/clip_accuracy", "val/track_accuracy"), 100, best)
    accuracy.set_title("Accuracy", loc="left", fontsize=14)
    accuracy.set_ylabel("accuracy (%)", fontsize=13)
    accuracy.set_ylim(0, 100)
    handles: dict[str, Any] = {}
    for axes in (loss, accuracy):
        handles |= {label: line for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, fontsize=12, frameon=False)
    save(figure, path)


def draw_confusion(path: Path, tracks: TrackPredictions, title: str, *, normalized: bool = False) -> None:
    """Draw the confusion matrix in counts or in % of each true genre, correct in blue and wrong in orange."""
    counts = confusion(tracks)
    genres = len(tracks.genres)
    side_in = min(max(0.72 * genres, 4.0), 18.0)
    figure = new_figure(side_in + 2.4, side_in + 2.2, title)
    axes = figure.subplots()
    heatmap(axes, counts, tracks.genres, font=min(13.0, 0.6 * 72 * side_in / genres), normalized=normalized)
    axes.set_xlabel("predicted genre", fontsize=13)
    axes.set_ylabel("true genre (test tracks)", fontsize=13)
    n, hits = int(counts.sum()), int(np.trace(counts))
    what = "Share of each true genre (%)" if normalized else "Number of tracks"
    axes.set_title(f"{what}; {hits} of {n} right ({100 * hits / max(n, 1):.1f} %)", loc="left", fontsize=13)
    save(figure, path)


def heatmap(
    axes: "Axes", counts: NDArray[np.int64], genres: Sequence[str], *, font: float, normalized: bool = False
) -> None:
    """Draw a confusion matrix with correct predictions in blue and wrong predictions in orange.

    Args:
        axes: Axes to draw on.
        counts: Counts of true genre by predicted genre, shape ``(genre, genre)``.
        genres: Names of the genres.
        font: Font size in points.
        normalized: Whether to show percentages of each true genre instead of counts.
    """
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm, rgb_to_hsv

    of_genre = counts.sum(axis=1)
    values = 100 * counts / np.maximum(of_genre, 1)[:, None] if normalized else counts.astype(np.float64)
    scale = PowerNorm(0.6, vmin=0, vmax=100 if normalized else max(counts.max(), 1))  # small errors stay visible
    right, wrong = (LinearSegmentedColormap.from_list("", ["#FFFFFF", color]) for color in (BLUE, VERMILION))
    diagonal = np.eye(len(genres), dtype=bool)[..., None]
    colors = np.where(diagonal, right(scale(values)), wrong(scale(values)))
    axes.imshow(colors, interpolation="nearest")
    for row, column in zip(*np.nonzero(counts), strict=True) if len(genres) <= NUMBERED_GENRES else ():
        _, saturation, _ = rgb_to_hsv(colors[row, column, :3])
        ink = "white" if saturation > 0.74 else INK
        axes.text(column, row, f"{values[row, column]:.0f}", ha="center", va="center", fontsize=font, color=ink)
    for row in np.flatnonzero(of_genre == 0):
        axes.axhspan(row - 0.5, row + 0.5, facecolor="#F2F2F2", zorder=3)
        middle = (len(genres) - 1) / 2
        axes.text(middle, float(row), "no test tracks", ha="center", va="center", fontsize=font, color=GRAY)
    edges = np.arange(len(genres) - 1) + 0.5
    axes.hlines(edges, -0.5, len(genres) - 0.5, color=FAINT, linewidth=0.8)
    axes.vlines(edges, -0.5, len(genres) - 0.5, color=FAINT, linewidth=0.8)
    axes.set_xticks(range(len(genres)), genres, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    labels = [f"{genre} ({n})" for genre, n in zip(genres, of_genre, strict=True)]
    axes.set_yticks(range(len(genres)), labels, parse_math=False)
    axes.tick_params(length=0, labelsize=font, labelcolor=INK)
    axes.spines[:].set_color(EDGE)


def draw_genre_scores(path: Path, tracks: TrackPredictions, title: str) -> None:
    """Draw precision, recall with its 95 % Wilson interval, and F1 of each genre, with the best F1 on top."""
    scores = genre_scores(tracks)
    order = sorted(scores, key=lambda genre: (scores[genre]["n"] == 0, -scores[genre]["f1"], genre))
    right = dict(zip(tracks.genres, np.diag(confusion(tracks)), strict=True))
    height_in = min(max(0.72 * len(order), 2.4), 30.0)
    font = min(13.0, 0.6 * 72 * height_in / len(order))
    figure = new_figure(10.5, height_in + 2.2, title)
    axes = figure.subplots()
    rows = np.arange(len(order))
    for offset, score, color in ((-0.27, "precision", BLUE), (0, "recall", SKY), (0.27, "f1", ORANGE)):
        values = [100 * scores[genre][score] for genre in order]
        axes.barh(rows + offset, values, height=0.25, color=color, label=score.replace("f1", "F1"))
    known = [genre for genre in order if scores[genre]["n"]]
    recalls = np.array([100 * scores[genre]["recall"] for genre in known])
    ends = 100 * np.array([wilson_interval(int(right[genre]), int(scores[genre]["n"])) for genre in known]).T
    bars: dict[str, Any] = {"fmt": "none", "ecolor": INK, "elinewidth": 1.3, "capsize": 3, "clip_on": False}
    axes.errorbar(recalls, rows[: len(known)], xerr=np.abs(ends - recalls), label="95 % interval of recall", **bars)
    for row in rows[len(known) :]:
        axes.text(1, row, "no test tracks", va="center", fontsize=font, color=GRAY)
    axes.set_yticks(rows, [f"{genre} ({scores[genre]['n']})" for genre in order], parse_math=False)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_title("Scores by genre, best F1 first", loc="left", fontsize=13)
    axes.set_xlabel("score (%)", fontsize=13)
    axes.set_ylabel("genre (test tracks)", fontsize=13)
    tidy(axes, grid_axis="x")
    axes.tick_params(axis="y", labelsize=font, length=0)
    figure.legend(loc="outside lower center", ncols=4, fontsize=12, frameon=False)
    save(figure, path)


def _lines(
    axes: "Axes", rows: Sequence[Mapping[str, Any]], keys: tuple[str, str, str], scale: float, best: int | None
) -> None:
    """Draw three columns of the history: training clips, validation clips and validation tracks."""
    from matplotlib.ticker import MaxNLocator

    epochs = np.array([number(row, "epoch") for row in rows])
    marker = "o" if len(rows) <= 30 else None
    styles = (("training clips", GRAY), ("validation clips", ORANGE), ("validation tracks", BLUE))
    for key, (label, color) in zip(keys, styles, strict=True):
        values = scale * np.array([number(row, key) for row in rows])
        known = np.isfinite(values)
        if not known.any():
            continue
        axes.plot(epochs[known], values[known], color=color, label=label, marker=marker, markersize=4, linewidth=2)
        at_best = known & (epochs == best)
        axes.plot(epochs[at_best], values[at_best], "o", color=color, markersize=9, markeredgecolor="white", zorder=3)
    if best is not None:
        axes.axvline(best, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1, label=f"tested: epoch {best}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    axes.set_xlabel("epoch", fontsize=13)
    tidy(axes, grid_axis="both")
