"""Learning curves of a sweep: accuracy against the number of training tracks, or of training artists per genre."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from genreclf.comparison.comparison import Comparison
from genreclf.comparison.experiments import Experiment
from genreclf.comparison.naming import split_names
from genreclf.config.identity import WHOLE_TRAINING_SET, digest, within
from genreclf.datasets.identity import artist_groups
from genreclf.evaluation.metrics import get_metric
from genreclf.plots.learning_curve import CurvePoint, draw_learning_curve
from genreclf.plots.style import marked
from genreclf.reports.tables import MISSING, Column, Table, of_interval, of_value, percent

FRACTION, ARTISTS = WHOLE_TRAINING_SET
LABELS = {FRACTION: "training tracks", ARTISTS: "training artists of each genre, at most"}
"""Keys that a learning curve may vary, and the label of the x-axis for each."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Point:
    """Point of a learning curve: runs with training sets of the same size."""

    line: str
    """Name of the curve: that of the recipe, with the split if the curves are of several, and LEAKY if it leaks."""
    setting: float
    """Value of the varied key."""
    tracks: float
    """Mean number of training tracks."""
    artists: float | None
    """Mean number of artists of the training tracks; None if they are not known for every run."""
    experiment: Experiment
    """Experiment that holds the runs."""


def curves_of(comparison: Comparison, key: str) -> list[list[Point]]:
    """Return the points of each curve over a key, sorted by value; empty if the key does not vary."""
    (other,) = WHOLE_TRAINING_SET.keys() - {key}
    curves = [sorted(points, key=lambda point: point[0]) for points, _ in _lines(comparison, key)]
    names = _names([[experiment for _, experiment in curve] for curve in curves], other)
    return [
        [_point(experiment, name, setting) for setting, experiment in curve]
        for name, curve in zip(names, curves, strict=True)
    ]


def left_out(comparison: Comparison, key: str) -> bool:
    """Return whether a curve over a key lacks runs with null, as they do not record which number this amounts to."""
    return any(without for _, without in _lines(comparison, key))


def _lines(comparison: Comparison, key: str) -> list[tuple[list[tuple[float, Experiment]], list[Experiment]]]:
    """Return for each curve over a key the value and experiment of each point, and the experiments with null."""
    lines: dict[str, tuple[list[tuple[float, Experiment]], list[Experiment]]] = defaultdict(lambda: ([], []))
    for experiment in comparison.experiments:
        settings = {**WHOLE_TRAINING_SET, **experiment.settings}
        setting = settings.pop(key)
        points, without = lines[digest(settings)]
        if setting is None:
            without.append(experiment)
        else:
            points.append((float(setting), experiment))
    return [line for line in lines.values() if len(line[0]) > 1]


def _names(curves: Sequence[Sequence[Experiment]], other: str) -> list[str]:
    """Return the names of curves; where the value of the `other` key reduces the training set, it is part of the name.

    Args:
        curves: Experiments of each curve.
        other: Key of `WHOLE_TRAINING_SET` that is the same in all experiments of a curve.
    """
    splits = split_names(
        [
            (
                str(get_metric(curve[0].runs[0].metrics, "split.name")),
                {
                    name: value
                    for name, value in curve[0].settings.items()
                    if within(name, ("split",)) and name not in WHOLE_TRAINING_SET
                },
            )
            for curve in curves
        ]
    )
    names = []
    for curve, split in zip(curves, splits, strict=True):
        reduced = curve[0].settings.get(other)
        name = curve[0].name if reduced is None else f"{curve[0].name} {other.partition('.')[2]}={reduced}"
        leaky = " (LEAKY)" if any(experiment.leaky for experiment in curve) else ""
        names.append((f"{name}, {split}" if len(set(splits)) > 1 else name) + leaky)
    return names


def _point(experiment: Experiment, line: str, setting: float) -> Point:
    known = [artist_groups(run.train, run.artists) for run in experiment.runs]
    groups = [len(set(artists.values())) for artists in known if artists is not None]
    return Point(
        line=line,
        setting=setting,
        tracks=fmean(len(run.train) for run in experiment.runs),
        artists=fmean(groups) if len(groups) == len(experiment.runs) else None,
        experiment=experiment,
    )


def draw(path: Path, curves: Sequence[Sequence[Point]], key: str, title: str) -> None:
    """Draw the learning curves into a PNG file."""
    lines = [(curve[0].line, [_drawn(point, key) for point in curve]) for curve in curves]
    experiments = [point.experiment for curve in curves for point in curve]
    leaky = any(experiment.leaky for experiment in experiments)
    marks = list(dict.fromkeys(mark for experiment in experiments for mark in experiment.marks))
    draw_learning_curve(path, lines, LABELS[key], marked(title, leaky=leaky, marks=marks))


def _drawn(point: Point, key: str) -> CurvePoint:
    scores, interval = point.experiment.scores, point.experiment.interval
    return CurvePoint(
        size=point.tracks if key == FRACTION else point.setting,
        accuracy=scores.accuracy,
        ci95=(interval.low, interval.high),
        ci95_artists=scores.artist_interval,
    )


def table_of(curves: Sequence[Sequence[Point]], key: str) -> Table:
    """Return a table of the points of all curves, for reports."""

    def whole(value: float | None) -> str:
        return MISSING if value is None else f"{value:.0f}"

    columns: list[Column[Point]] = [
        Column("", lambda point: point, "experiment", lambda point: point.line, words=True),
        of_value("", key, lambda point: point.setting, lambda value: f"{value:g}"),
        of_value("", "training tracks", lambda point: point.tracks, whole),
        of_value("", "their artists", lambda point: point.artists, whole),
        Column("", lambda point: point, "runs", lambda point: str(len(point.experiment.runs))),
        of_value("", "test accuracy, tracks (%)", lambda point: point.experiment.scores.accuracy, percent),
        of_value("", "SD over runs", lambda point: point.experiment.deviation, percent),
        *of_interval(
            "", "95 % interval", lambda point: (point.experiment.interval.low, point.experiment.interval.high)
        ),
        *of_interval("", "95 % interval, artists", lambda point: point.experiment.scores.artist_interval),
    ]
    return Table.of(columns, [point for curve in curves for point in curve])
