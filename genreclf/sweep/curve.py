"""Learning curves of a sweep: accuracy against the number of training tracks, or of training artists of each genre."""

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
"""The keys that a curve may vary, and the label of its axis."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Point:
    """A point of a learning curve: runs with training sets of one size."""

    line: str
    """Name of what was trained."""
    setting: float
    """The value of the key."""
    tracks: float
    """Mean number of training tracks."""
    artists: float | None
    """Mean number of their artists; None where none are known."""
    experiment: Experiment
    """The runs."""


def points_of(comparison: Comparison, key: str) -> list[Point]:
    """Return the points of the curves over a key, line by line, by rising size; none where it does not vary."""
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
    """Draw the curves into a PNG."""
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
    """Return the points as a table for readers."""

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
