"""Results of a run for readers: ``report.md``, and the table in the terminal at the end of the run."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genreclf.evaluation.intervals import wilson_interval
from genreclf.evaluation.leaks import interval_words, leaky_warning, seen_before, seen_rows
from genreclf.evaluation.metrics import METRICS, Metric, best_epoch, get_metric, number
from genreclf.evaluation.predictions import TrackPredictions
from genreclf.evaluation.provenance import pretrained_note, pretrained_words, refit_note, refit_words
from genreclf.reports.errors import artist_table, confusion_table
from genreclf.reports.rendering import render
from genreclf.reports.tables import MISSING, Table, decimal, percent
from genreclf.reports.titles import part_name, run_title
from genreclf.run_directory import atomic_write_text

if TYPE_CHECKING:
    from rich.table import Table as RichTable

FIGURES = {
    "curves.png": "Loss and accuracy over the epochs",
    "confusion.png": "Confusion matrix, number of test tracks",
    "confusion_normalized.png": "Confusion matrix, % of each true genre",
    "genre_scores.png": "Precision, recall and F1 of each genre",
    "genres.png": "Log-mel spectrogram of a track of each genre",
    "reliability.png": "Accuracy of predictions by their probability, with and without temperature scaling",
    "risk_coverage.png": "Share of wrong predictions among the most confident tracks",
}


def write_report(
    path: Path,
    *,
    metrics: Mapping[str, Any],
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    tracks: TrackPredictions,
    warnings: Sequence[str],
    artists: Mapping[str, str] | None = None,
) -> None:
    """Write the report of a run in Markdown; values that are missing in the arguments are shown as ``n/a``.

    Args:
        path: Path of the file to write; the report shows the plots in the folder ``figures`` next to it.
        metrics: Metrics of the run, as in ``metrics.json``, with ``best_epoch`` if known.
        config: Resolved configuration; a group is named by its ``name``, or otherwise by its ``_target_``.
        environment: Environment of the run: ``command``, ``device``, ``precision``, ``git`` and ``versions``.
        history: One row per epoch, see `genreclf.plots.run.draw_all`.
        tracks: Predictions for the test tracks.
        warnings: Warnings for the reader, such as tracks that were left out.
        artists: Artist of each track, see `genreclf.datasets.identity.artist_groups`; None if no artists are known.
    """
    command = environment.get("command")
    text = render(
        "run.md",
        title=run_title(metrics, config, tracks.track_ids),
        leaky=bool(get_metric(metrics, "split.leaky")),
        leaky_warning=leaky_warning(metrics),
        pretrained=pretrained_note(metrics),
        refit=refit_note(metrics),
        answer=answer(metrics),
        results=_results(metrics),
        baseline=_baseline(metrics),
        commonest=np.bincount(tracks.targets).max() / len(tracks.targets) if len(tracks.targets) else None,
        validation=get_metric(metrics, "val.track.accuracy"),
        seen=seen_rows(metrics),
        warnings=warnings,
        genres=genre_table(metrics),
        confusions=confusion_table(tracks),
        artists=artist_table(tracks, artists),
        figures={name: words for name, words in FIGURES.items() if (path.parent / "figures" / name).is_file()},
        command=command if isinstance(command, str) else shlex.join(map(str, command or ())),
        settings=_making(metrics, config, environment, history),
    )
    atomic_write_text(path, text)


def summary_table(metrics: Mapping[str, Any]) -> "RichTable":
    """Return a terminal table of the results in ``metrics.json``, LEAKY in red and missing values as ``n/a``."""
    from rich.table import Table as RichTable
    from rich.text import Text

    split = Text(str(get_metric(metrics, "split.name") or MISSING))
    if get_metric(metrics, "split.leaky"):
        split.append(f"  LEAKY: {seen_before(metrics) or 'not to be compared with other splits'}", style="bold red")
    table = RichTable(show_header=False, title="Test", title_style="bold")
    table.add_column(style="cyan")
    table.add_column()
    table.add_row("split", split)
    table.add_row("accuracy, tracks", Text(answer(metrics), style="bold"))
    for label, text in (
        *([("REFIT", words)] if (words := refit_words(metrics)) else []),
        *([("PRETRAINED", words)] if (words := pretrained_words(metrics)) else []),
        *seen_rows(metrics),
        *([("for comparison", words)] if (words := _baseline(metrics)) else []),
        ("accuracy, clips", _percent_of(metrics, "test.clip.accuracy")),
        *((f"{metric.title}, tracks", _cell(metric, metrics, "track")) for metric in METRICS),
        ("parameters", _count(metrics, "parameters")),
        ("time", _times(metrics)),
    ):
        table.add_row(label, Text(text))
    return table


def answer(metrics: Mapping[str, Any]) -> str:
    """Return the test result in one sentence."""
    if get_metric(metrics, "test.track.accuracy") is None:
        return "Nothing was tested."
    return (
        f"{_percent_of(metrics, 'test.track.accuracy')} of {_count(metrics, 'test.track.n')} test tracks right, "
        f"95 % interval {interval_words(get_metric(metrics, 'test.track') or {})}."
    )


def _baseline(metrics: Mapping[str, Any]) -> str:
    """Return the result of the run that the report compares with, in words; empty if there is none."""
    if not (found := metrics.get("compare_with")):
        return ""
    validation = get_metric(found, "val.track.accuracy")
    of_validation = "" if validation is None else f" Validation tracks: {_share(validation)}."
    return f"{found['title']}, run {found['run']}: {answer(found)}{of_validation}"


def _results(metrics: Mapping[str, Any]) -> Table:
    rows = [
        ("accuracy", _percent_of(metrics, "test.track.accuracy"), _percent_of(metrics, "test.clip.accuracy")),
        ("95 % interval of accuracy", _range(get_metric(metrics, "test.track.accuracy_ci95")), ""),
        *_artist_rows(metrics),
        *((metric.title, _cell(metric, metrics, "track"), _cell(metric, metrics, "clip", "")) for metric in METRICS),
        *_calibration_rows(metrics),
        ("loss (nats)", _plain(metrics, "test.track.loss"), _plain(metrics, "test.clip.loss")),
        ("number", _count(metrics, "test.track.n"), _count(metrics, "test.clip.n")),
    ]
    return Table(header=("test", "tracks", "clips"), cells=rows)


def _calibration_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the rows of the calibration error after temperature scaling; empty if there are no temperatures."""
    temperature = get_metric(metrics, "calibration.temperature")
    if temperature is None:
        return []
    track, clip = (_plain(metrics, f"test.{unit}.calibrated.calibration_error") for unit in ("track", "clip"))
    return [
        ("... calibrated", track, clip),
        ("temperature", f"{temperature['track']:.2f}", f"{temperature['clip']:.2f}"),
    ]


def _artist_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the rows of the accuracy over the artists of the test tracks; empty if no artists are known."""
    track = get_metric(metrics, "test.track") or {}
    if not track.get("accuracy_ci95_artists"):
        return []
    effective = track["effective_n"]
    return [
        (f"95 % interval over {track['artists']} artists", _range(track["accuracy_ci95_artists"]), ""),
        ("accuracy, each artist counting once", _share(track["artist_accuracy"]), ""),
        ("effective number of tracks", MISSING if effective is None else f"{effective:.0f}", ""),
    ]


def genre_table(metrics: Mapping[str, Any]) -> Table | None:
    """Return the scores of each genre, best F1 first, with intervals of the recall; None if there are no scores."""
    scores: Mapping[str, Mapping[str, float]] = get_metric(metrics, "test.per_genre") or {}
    if not scores:
        return None
    rows = []
    for genre in sorted(scores, key=lambda genre: (not scores[genre]["n"], -scores[genre]["f1"], genre)):
        score = scores[genre]
        interval = wilson_interval(round(score["recall"] * score["n"]), int(score["n"]))
        cells = (_share(score["precision"]), _share(score["recall"]), _range(interval), decimal(score["f1"]))
        rows.append((genre, *(cells if score["n"] else [""] * len(cells)), str(int(score["n"]))))
    return Table(header=("genre", "precision", "recall", "95 % interval of recall", "F1", "tracks"), cells=rows)


def _making(
    metrics: Mapping[str, Any],
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> Table:
    best = best_epoch(history, metrics)
    at_best = [number(row, "val/track_accuracy") for row in history if row.get("epoch") == best]
    tested = MISSING if best is None else str(best)
    if at_best and not math.isnan(at_best[0]):
        tested += f" ({_share(at_best[0])} of the validation tracks right)"
    groups = ("model", "encoder", "data", "features", "loss", "optimizer", "scheduler", "augmentation", "callbacks")
    rows = [
        *((group, _settings(config, group)) for group in groups if config.get(group)),
        ("split", f"{_text(get_metric(metrics, 'split.name'))}, hash {_text(get_metric(metrics, 'split.hash'))}"),
        *_ensemble_rows(metrics),
        *_probe_rows(metrics),
        ("seed", _text(get_metric(metrics, "seed"))),
        ("parameters", _count(metrics, "parameters")),
        ("epochs trained", _count(metrics, "epochs")),
        ("epoch tested, counted as in history.csv", tested),
        ("time", _times(metrics)),
        ("device", _text(environment.get("device"))),
        ("precision in training", _text(environment.get("precision"))),
        ("git", _text(environment.get("git"))),
        ("versions", _text(environment.get("versions"))),
    ]
    return Table(header=("what", "value"), cells=rows, words=2)


def _ensemble_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the row with the runs of an ensemble and their weights; empty for any other run."""
    if not (found := metrics.get("ensemble")):
        return []
    runs = zip(found["runs"], found["weights"], strict=True)
    return [("mean of the probabilities of", ", ".join(f"{name} (weight {weight:.3f})" for name, weight in runs))]


def _probe_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows with the layer of a probe, the weights of the layers, and the chosen settings, if known."""
    probe = metrics.get("probe")
    if not isinstance(probe, Mapping):
        return []
    rows = [("layer of the encoder", _text(probe.get("layer")))]
    if weights := probe.get("layer_weights"):
        rows.append(("weights of the layers", ", ".join(f"{name} {share:.3f}" for name, share in weights.items())))
    if chosen := probe.get("chosen"):
        settings = f"lr {chosen['lr']:.3g}, weight_decay {chosen['weight_decay']:.3g}"
        rows.append(("chosen on validation", f"{settings}, of {len(probe['search'])} (`probe.search` in metrics.json)"))
    return rows


def _settings(config: Mapping[str, Any], group: str) -> str:
    """Return the name of the class in a group and its simple settings, such as ``AdamW (lr 0.001)``."""
    part = config.get(group)
    if not isinstance(part, Mapping):
        return _text(part)
    if all(isinstance(value, Mapping) for value in part.values()):  # The group has several classes.
        return ", ".join(_settings(part, key) for key in part) or "none"
    name = part_name(config, group)
    settings = {key: value for key, value in part.items() if key not in ("name", "_target_") and value is not None}
    words = ", ".join(f"{key} {value}" for key, value in settings.items() if not isinstance(value, Mapping | list))
    if name == MISSING:
        return words or "none"
    return f"{name} ({words})" if words else name


def _share(value: float | None) -> str:
    return MISSING if value is None else f"{percent(value)} %"


def _range(interval: Sequence[float] | None) -> str:
    return MISSING if interval is None else f"{percent(interval[0])}-{percent(interval[1])} %"


def _cell(metric: Metric, metrics: Mapping[str, Any], unit: str, missing: str = MISSING) -> str:
    """Return the text that readers see for a metric of the unit ``track`` or ``clip``."""
    value = get_metric(metrics, f"test.{unit}.{metric.key}")
    return missing if value is None else (_share if metric.is_share else decimal)(value)


def _percent_of(metrics: Mapping[str, Any], dotted: str) -> str:
    return _share(get_metric(metrics, dotted))


def _plain(metrics: Mapping[str, Any], dotted: str) -> str:
    return decimal(get_metric(metrics, dotted))


def _count(metrics: Mapping[str, Any], dotted: str) -> str:
    value = get_metric(metrics, dotted)
    return MISSING if value is None else f"{value:,}"


def _times(metrics: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {get_metric(metrics, f'timing.{name}_s'):.1f} s"
        for name in ("prepare", "fit", "test")
        if get_metric(metrics, f"timing.{name}_s") is not None
    ]
    speed = get_metric(metrics, "timing.clips_per_s")
    return ", ".join(parts + ([f"{speed:,.0f} clips/s"] if speed else [])) or MISSING


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or MISSING
    return MISSING if value is None or value == "" else str(value)
