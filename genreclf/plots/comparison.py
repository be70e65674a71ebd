"""Plots that compare experiments; an experiment has the same color and line style in all plots.

If there are more experiments than colors, line patterns and marker shapes tell experiments of one color apart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genreclf.evaluation.metrics import number
from genreclf.plots.legends import below, height_in, wrapped
from genreclf.plots.run import heatmap
from genreclf.plots.style import COLORS, INK, VERMILION, new_figure, save, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
MARKS = ("o", "s", "^", "D")

BESIDE = 1.035
"""Factor by which markers with the same number of parameters are shifted apart, so that none hides another."""

TILES = 3
"""Number of confusion matrices per row of the figure."""

CURVES = {
    "Accuracy (%)": (100.0, ("train/accuracy",), ("val/track_accuracy", "val/clip_accuracy")),
    "Loss": (1.0, ("train/loss",), ("val/track_loss", "val/loss")),
}
"""Rows of panels: scale factor, training columns, and validation columns; the first available column is drawn."""


class Share(NamedTuple):
    """A share of test tracks with its 95 % interval, all from 0 to 1."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False, kw_only=True)
class ExperimentPlot:
    """Data of an experiment for the plots."""

    title: str
    """Title of the experiment in legends."""
    leaky: bool
    """Whether the split leaks."""
    accuracy: Share
    """Share of the test tracks that were classified correctly."""
    recalls: Mapping[str, Share]
    """Share of the test tracks of each genre that were classified correctly."""
    parameters: int
    """Number of parameters of the network."""
    genres: Sequence[str]
    """Names of the rows and columns of `confusion`."""
    confusion: NDArray[np.int64]
    """Confusion matrix summed over all runs, true genre by predicted genre, shape ``(genre, genre)``."""
    histories: Sequence[Sequence[Mapping[str, float]]]
    """One history per run, each with one row of logged metrics per epoch."""


class Style(NamedTuple):
    """Color, line pattern and marker of an experiment."""

    color: str
    dashes: Any
    mark: str


def style_of(index: int) -> Style:
    """Return the style of the experiment with the given index."""
    round_ = index // len(COLORS)
    return Style(COLORS[index % len(COLORS)], DASHES[round_ % len(DASHES)], MARKS[round_ % len(MARKS)])


def draw_all(directory: Path, experiments: Sequence[ExperimentPlot]) -> list[Path]:
    """Draw all plots of a comparison, without ``curves.png`` if no run has a history, and return the files."""
    paths = []
    if any(history for experiment in experiments for history in experiment.histories):
        paths.append(directory / "curves.png")
        draw_curves(paths[-1], experiments)
    for name, draw in (
        ("accuracy_parameters.png", draw_accuracy_parameters),
        ("genre_recall.png", draw_genre_recall),
        ("confusion.png", draw_confusions),
    ):
        paths.append(directory / name)
        draw(paths[-1], experiments)
    return paths


def draw_curves(path: Path, experiments: Sequence[ExperimentPlot]) -> None:
    """Draw accuracy and loss over the epochs of all runs: training, validation, and both.

    A thick line is the mean over the runs, for the epochs that all runs reached; thin lines are single runs.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    shown = [(index, each) for index, each in enumerate(experiments) if any(each.histories)]
    figure = new_figure(17, 10.5 + height_in([each.title for _, each in shown], 3), "Learning curves")
    panels = figure.subplots(2, 3, sharex=True, sharey="row")
    for row, (what, (scale, training, validation)) in zip(panels, CURVES.items(), strict=True):
        for axes, name in zip(row, ("Training", "Validation", "Both"), strict=True):
            for index, experiment in shown:
                if name != "Validation":
                    _curve(axes, experiment, training, scale, style_of(index), faded=name == "Both")
                if name != "Training":
                    _curve(axes, experiment, validation, scale, style_of(index), faded=False)
            axes.set_title(f"{name}: {what.partition(' (')[0].lower()}", loc="left", fontsize=14)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
            tidy(axes, grid_axis="both")
        row[0].set_ylabel(what.lower(), fontsize=13)
    for axes in panels[1]:
        axes.set_xlabel("epoch", fontsize=13)
    panels[0][0].set_ylim(0, 100)
    lines = [_line(index) for index, _ in shown]
    names = [wrapped(each.title) for _, each in shown]
    lines.append(Line2D([], [], color=INK, alpha=0.35, linewidth=2))
    figure.legend(lines, [*names, "pale lines in Both: training"], **below(3, [each.leaky for _, each in shown]))
    save(figure, path)


def draw_confusions(path: Path, experiments: Sequence[ExperimentPlot]) -> None:
    """Draw the confusion matrix of each experiment, summed over its runs, in % of each true genre."""
    columns = min(TILES, len(experiments))
    rows = math.ceil(len(experiments) / columns)
    figure = new_figure(6.2 * columns, 6.3 * rows + 0.6, "Confusion matrices (% of each true genre)")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, experiment in zip(panels, experiments, strict=False):
        font = min(10.0, 0.5 * 72 * 4.6 / len(experiment.genres))
        heatmap(axes, experiment.confusion, experiment.genres, font=font, normalized=True)
        words = f"{wrapped(experiment.title, 44)}\n{100 * experiment.accuracy.value:.1f} % of tracks"
        color = VERMILION if experiment.leaky else INK
        axes.set_title(words, loc="left", fontsize=12, color=color, parse_math=False)
    for axes in panels[len(experiments) :]:
        axes.set_visible(False)
    figure.supxlabel("predicted genre", fontsize=13)
    figure.supylabel("true genre (test tracks of all runs)", fontsize=13)
    save(figure, path)


def draw_genre_recall(path: Path, experiments: Sequence[ExperimentPlot]) -> None:
    """Draw the recall of each genre in each experiment, with 95 % intervals."""
    genres = sorted({genre for experiment in experiments for genre in experiment.genres})
    height = 0.8 / len(experiments)
    size_in = len(genres) * max(0.5, 0.16 * len(experiments) + 0.15)
    figure = new_figure(11, size_in + 2 + height_in([each.title for each in experiments], 2), "Recall by genre")
    axes = figure.subplots()
    for index, experiment in enumerate(experiments):
        offset = (index + 0.5) * height - 0.4
        for row, genre in enumerate(genres):
            if (recall := experiment.recalls.get(genre)) is None:
                continue
            axes.barh(row + offset, 100 * recall.value, height=0.9 * height, **_bar(index))
            axes.errorbar(
                100 * recall.value,
                row + offset,
                xerr=ends_of(recall),
                fmt="none",
                ecolor=INK,
                elinewidth=0.9,
                clip_on=False,
            )
    axes.set_yticks(range(len(genres)), genres, parse_math=False)
    axes.set_ylim(len(genres) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("recall on test tracks (%), with 95 % interval", fontsize=13)
    tidy(axes, grid_axis="x")
    axes.tick_params(axis="y", length=0)
    _legend(figure, experiments, bars=True)
    save(figure, path)


def draw_accuracy_parameters(path: Path, experiments: Sequence[ExperimentPlot]) -> None:
    """Draw test accuracy with its 95 % interval against the number of parameters; hollow markers are LEAKY."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    figure = new_figure(11, 6.2 + height_in([each.title for each in experiments], 2), "Accuracy against parameters")
    axes = figure.subplots()
    counts = [each.parameters for each in experiments]
    for index, experiment in enumerate(experiments):
        place = counts[index] * BESIDE ** (counts[:index].count(counts[index]) - (counts.count(counts[index]) - 1) / 2)
        look: dict[str, Any] = {"color": style_of(index).color, "fmt": style_of(index).mark, "markersize": 9}
        look |= {"capsize": 3, "markerfacecolor": _fill(experiment, index)}
        axes.errorbar(place, 100 * experiment.accuracy.value, yerr=ends_of(experiment.accuracy), **look)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.3, high * 1.3)
    axes.set_ylim(0, 100)
    decades = np.log10(high / low) + 2 * np.log10(1.3)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 4 else (1,)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("number of parameters", fontsize=13)
    axes.set_ylabel("accuracy on test tracks (%), with 95 % interval", fontsize=13)
    tidy(axes, grid_axis="both")
    _legend(figure, experiments, bars=False)
    save(figure, path)


def _curve(
    axes: "Axes", experiment: ExperimentPlot, columns: Sequence[str], scale: float, style: Style, *, faded: bool
) -> None:
    rows = [row for history in experiment.histories for row in history]
    column = next((name for name in columns if any(name in row for row in rows)), columns[0])
    known = [
        {int(row["epoch"]): scale * number(row, column) for row in history if math.isfinite(number(row, column))}
        for history in experiment.histories
    ]
    alpha = 0.35 if faded else 1.0
    curves = [curve for curve in known if curve]
    for curve in curves if len(curves) > 1 else ():
        axes.plot(list(curve), list(curve.values()), color=style.color, linewidth=0.7, alpha=0.35 * alpha)
    common = sorted(set.intersection(*map(set, curves))) if curves else []
    mean = [np.mean([curve[epoch] for curve in curves]) for epoch in common]
    mark = style.mark if len(common) <= 2 else None
    axes.plot(common, mean, color=style.color, linestyle=style.dashes, linewidth=2.2, alpha=alpha, marker=mark)


def ends_of(share: Share) -> list[list[float]]:
    """Return the distances of both ends of an interval from the share, in percentage points, shape ``(end, 1)``."""
    return [[max(0.0, 100 * (share.value - share.low))], [max(0.0, 100 * (share.high - share.value))]]


def _legend(figure: Any, experiments: Sequence[ExperimentPlot], *, bars: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for index, experiment in enumerate(experiments):
        style = style_of(index)
        if bars:
            handles.append(Patch(**_bar(index)))
        else:
            look: dict[str, Any] = {"linestyle": "", "color": style.color, "markersize": 9}
            handles.append(Line2D([], [], marker=style.mark, markerfacecolor=_fill(experiment, index), **look))
    figure.legend(
        handles, [wrapped(each.title) for each in experiments], **below(2, [each.leaky for each in experiments])
    )


def _line(index: int) -> Any:
    from matplotlib.lines import Line2D

    style = style_of(index)
    return Line2D([], [], color=style.color, linestyle=style.dashes, linewidth=2.2)


def _bar(index: int) -> dict[str, Any]:
    hatch = ("", "///", "...", "xxx")[index // len(COLORS) % 4]
    return {"facecolor": style_of(index).color, "hatch": hatch, "edgecolor": "white", "linewidth": 0.0}


def _fill(experiment: ExperimentPlot, index: int) -> str:
    return "white" if experiment.leaky else style_of(index).color
