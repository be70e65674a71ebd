"""Fill the panels of a dashboard with the results of finished runs, read only from their directories."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import wandb_workspaces.reports.v2.interface as wr
from scipy.stats import spearmanr

from genreclf.comparison.dashboard import (
    CURVES,
    EPOCH,
    MODEL,
    OBJECTIVE,
    PER_GENRE,
    TRACKS,
    Dashboard,
    values_of,
    varied,
)
from genreclf.comparison.runs import FinishedRun
from genreclf.evaluation.metrics import confusion, get_metric
from genreclf.plots.dashboard import Bars, Coordinates, Counts, Lines, Panel, Words
from genreclf.training.loggers import TRACK_COLUMNS, track_rows

LISTED = 8
"""Number of rows shown of the table of test tracks."""


def panels_of(dashboard: Dashboard, runs: Sequence[FinishedRun]) -> dict[str, list[Panel]]:
    """Return the content of each panel of a dashboard, by section."""
    return {title: [_panel(panel, runs) for panel in panels] for title, panels in dashboard.sections().items()}


def _panel(panel: Any, runs: Sequence[FinishedRun]) -> Panel:
    """Return the content of one panel."""
    match panel:
        case wr.LinePlot(y=[str(key)]):
            curves = {
                model: [{row[EPOCH]: row[key] for row in run.history if key in row} for run in chosen]
                for model, chosen in _by_model(runs).items()
            }
            known = any(curve for group in curves.values() for curve in group)
            if known:
                return Lines(key, curves)
            if not any(run.history for run in runs):
                return Words(key, ["These runs have no epochs."])
            return Words(key, ["Not logged by these runs." if key in CURVES else "In the record of W&B alone."])
        case wr.BarPlot(metrics=[str(key)]):
            values = {model: [_summary(run, key) for run in chosen] for model, chosen in _by_model(runs).items()}
            return Bars(panel.title or key, _known(values))
        case wr.BarPlot():
            ends = {
                name: [_summary(run, str(key)) for key in panel.metrics or ()]
                for name, run in zip(_names(runs), runs, strict=True)
            }
            return Bars(panel.title or "", _known(ends))
        case wr.ParallelCoordinatesPlot():
            axes, drawn = {}, _with_objective(runs)
            for column in panel.columns or ():
                name, is_setting = str(column.display_name), isinstance(column.metric, wr.Config)
                axes[name] = [
                    _word(values_of(run.config).get(name) if is_setting else _summary(run, name)) for run in drawn
                ]
            objectives = [float(_summary(run, OBJECTIVE)) for run in drawn]
            title = panel.title or ""
            return Coordinates(title, axes, objectives) if drawn else Words(title, ["No run has an objective."])
        case wr.ParameterImportancePlot():
            return Bars("Rank correlation with objective", _correlations(runs))
        case wr.CustomChart():
            # Show the last run, as W&B does: a matrix of several runs would mix their tests.
            return Counts(f"Test tracks, {_names(runs)[-1]}", list(runs[-1].tracks.genres), confusion(runs[-1].tracks))
        case wr.WeavePanelSummaryTable() if panel.table_name == TRACKS:
            rows = [[_word(cell) for cell in row] for row in track_rows(runs[-1].tracks)[:LISTED]]
            return Words(TRACKS, ["  ".join(f"{cell:<14}" for cell in row) for row in (TRACK_COLUMNS, *rows)])
        case _:
            return Words(str(getattr(panel, "table_name", "")), ["Pictures, in the record of W&B alone."])


def _names(runs: Sequence[FinishedRun]) -> list[str]:
    """Return for each run the shortest end of its path that no other run has."""
    paths = [run.path.resolve().parts for run in runs]

    def name(path: tuple[str, ...]) -> str:
        ends = (path[start:] for start in range(len(path) - 1, 0, -1))
        alone = (end for end in ends if sum(other[-len(end) :] == end for other in paths) == 1)
        return "/".join(next(alone, path))

    return [name(path) for path in paths]


def _by_model(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(str(values_of(run.config).get(MODEL, "")).rpartition(".")[2], []).append(run)
    return groups


def _summary(run: FinishedRun, key: str) -> Any:
    """Return a metric of a run by its key in W&B; None if the run lacks it."""
    place, _, end = key.rpartition("/")
    if place.startswith(PER_GENRE):  # The name of a genre may contain slashes and dots.
        scores = get_metric(run.metrics, "test.per_genre") or {}
        return scores.get(place.removeprefix(PER_GENRE), {}).get(end)
    if end in ("low", "high"):
        interval = get_metric(run.metrics, place.replace("/", "."))
        return None if interval is None else interval[end == "high"]
    return get_metric(run.metrics, key.replace("/", "."))


def _with_objective(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Return the runs that have an objective; refits, for example, have none."""
    return [run for run in runs if _summary(run, OBJECTIVE) is not None]


def _known(values: Mapping[str, Sequence[Any]]) -> dict[str, list[float]]:
    kept = {name: [float(value) for value in group if value is not None] for name, group in values.items()}
    return {name: group for name, group in kept.items() if group}


def _correlations(runs: Sequence[FinishedRun]) -> dict[str, list[float]]:
    """Return Spearman's rank correlation between each numeric setting and the objective, where both vary."""
    configs = [run.config for run in _with_objective(runs)]
    objective = np.array([_summary(run, OBJECTIVE) for run in _with_objective(runs)])
    found = {}
    for key in sorted(varied(configs)):
        values = [values_of(config)[key] for config in configs]
        if all(type(value) in (int, float) for value in values) and len(set(values)) > 1 and np.ptp(objective):
            found[key] = [float(spearmanr(values, objective).statistic)]
    return found


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).removeprefix("genreclf.models.")
