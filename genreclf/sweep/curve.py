"""Learning curves of a sweep: accuracy against the number of training tracks, or of training artists per genre."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from genreclf.comparison.comparison import Comparison
from genreclf.comparison.experiments import Experiment
from genreclf.config.identity import WHOLE_TRAINING_SET, digest
from genreclf.datasets.identity import artist_groups
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
    """Name of the curve, which is the name of the experiment."""
    setting: float
    """Value of the varied key."""
    tracks: float
    """Mean number of training tracks."""
    artists: float | None
    """Mean number of artists of the training tracks; None if they are not known for every run."""
    experiment: Experiment
    """Experiment that holds the runs."""


def points_of(comparison: Comparison, key: str) -> list[Point]:
    """Return the points of all curves over a key, sorted by curve and value; empty if the key does not vary."""
    (other,) = WHOLE_TRAINING_SET.keys() - {key}
    whole = WHOLE_TRAINING_SET[other]
    lines: dict[str, list[Point]] = defaultdict(list)
    for experiment in comparison.experiments:
        settings = {**WHOLE_TRAINING_SET, **experiment.settings}
        if (setting := settings.pop(key)) is not None:
            beside = "" if settings[other] == whole else f" {other.partition('.')[2]}={settings[other]}"
            lines[digest(settings)].append(_point(experiment, experiment.name + beside, float(setting)))
    curves = [sorted(points, key=lambda point: point.setting) for points in lines.values() if len(points) > 1]
    return [point for points in curves for point in points]


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


def draw(path: Path, points: Sequence[Point], key: str, title: str) -> None:
    """Draw the learning curves into a PNG file."""
    lines: dict[str, list[CurvePoint]] = defaultdict(list)
    for point in points:
        scores, interval = point.experiment.scores, point.experiment.interval
        lines[point.line].append(
            CurvePoint(
                size=point.tracks if key == FRACTION else point.setting,
                accuracy=scores.accuracy,
                ci95=(interval.low, interval.high),
                ci95_artists=scores.artist_interval,
            )
        )
    leaky = any(point.experiment.leaky for point in points)
    marks = list(dict.fromkeys(mark for point in points for mark in point.experiment.marks))
    draw_learning_curve(path, lines, LABELS[key], marked(title, leaky=leaky, marks=marks))


def table_of(points: Sequence[Point], key: str) -> Table:
    """Return a table of the points, for reports."""

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
    return Table.of(columns, points)
