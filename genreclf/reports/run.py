"""What a run found, told to a reader: ``report.md`` and the table at the end in the terminal."""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genreclf.evaluation.leaks import apart_rows, apart_section, leaky_warning, seen_before
from genreclf.evaluation.metrics import best_epoch, confusion, number, wilson_interval
from genreclf.evaluation.predictions import TrackPredictions
from genreclf.run_directory import atomic_write_text

if TYPE_CHECKING:
    from rich.table import Table

MISSING = "n/a"
CONFUSIONS_SHOWN = 10

FIGURES = {
    "curves.png": "Loss and accuracy over the epochs",
    "confusion.png": "Confusion matrix, number of test tracks",
    "confusion_normalized.png": "Confusion matrix, per cent of each true genre",
    "genre_scores.png": "Precision, recall and F1 of each genre",
}

LIMITS = (
    "The interval is Wilson's (1927) for a proportion. It says how far the accuracy of this one trained model could "
    "lie from the figure above had other tracks of the same kind been drawn for the test. It holds neither the chance "
    "in training (repeat with other seeds: `-m seed=1,2,3`), nor the choice of the split, nor faults in the labels; "
    "and it takes tracks as independent, so with several tracks of one artist it is too narrow. Two models tested on "
    "the same tracks are to be compared track by track, not by whether their intervals overlap."
)


def write_report(
    path: Path,
    *,
    metrics: Mapping[str, Any],
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    tracks: TrackPredictions,
    warnings: Sequence[str],
) -> None:
    """Write the report of a run in Markdown; what is missing in the arguments reads ``n/a``.

    Args:
        path: The file to make or to replace; figures are looked for in ``figures`` beside it.
        metrics: The run's metrics, as in ``metrics.json``, with ``best_epoch`` if known.
        config: The resolved configuration; its groups carry ``name`` or ``_target_``.
        environment: ``command``, ``device``, ``precision``, ``git`` and ``versions``.
        history: A row an epoch, see `genreclf.plots.run.draw_all`.
        tracks: Predictions of the test.
        warnings: What the reader should know, such as tracks left out.
    """
    leaky = bool(_find(metrics, "split.leaky"))
    sections = [
        f"# {run_title(metrics, config)}{' (LEAKY)' if leaky else ''}",
        answer(metrics),
        f"> [!WARNING]\n> {leaky_warning(metrics)}" if leaky else "",
        _results(metrics, tracks),
        apart_section(metrics),
        _notices(warnings),
        genre_section(metrics),
        _confusions(tracks),
        _figures(path.parent),
        _making(metrics, config, environment, history),
        f"## What the interval means\n\n{LIMITS}",
    ]
    atomic_write_text(path, "\n\n".join(section for section in sections if section) + "\n")


def summary_table(metrics: Mapping[str, Any]) -> "Table":
    """Return the results of a run for the terminal, LEAKY in red where the split leaks.

    Args:
        metrics: The run's metrics, as in ``metrics.json``; what is missing reads ``n/a``.
    """
    from rich.table import Table
    from rich.text import Text

    split = Text(str(_find(metrics, "split.name") or MISSING))
    if _find(metrics, "split.leaky"):
        split.append(f"  LEAKY: {seen_before(metrics) or 'not to be compared with other splits'}", style="bold red")
    table = Table(show_header=False, title="Test", title_style="bold")
    table.add_column(style="cyan")
    table.add_column()
    table.add_row("split", split)
    table.add_row("accuracy, tracks", Text(answer(metrics), style="bold"))
    for label, text in (
        *apart_rows(metrics),
        ("accuracy, clips", _per_cent(metrics, "test.clip.accuracy")),
        ("macro F1, tracks", _plain(metrics, "test.track.f1_macro")),
        ("top-3 accuracy, tracks", _per_cent(metrics, "test.track.top3_accuracy")),
        ("calibration error, tracks", _plain(metrics, "test.track.calibration_error")),
        ("parameters", _count(metrics, "parameters")),
        ("time", _times(metrics)),
    ):
        table.add_row(label, Text(text))
    return table


def answer(metrics: Mapping[str, Any]) -> str:
    """Return the result in one sentence."""
    if _find(metrics, "test.track.accuracy") is None:
        return "Nothing was tested."
    return (
        f"{_per_cent(metrics, 'test.track.accuracy')} of {_count(metrics, 'test.track.n')} test tracks right, "
        f"95 % interval {_interval(metrics)}."
    )


def run_title(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return "model on source, split name", for reports and figures.

    Args:
        metrics: The run's metrics.
        config: The resolved configuration; its groups carry ``name`` or ``_target_``.
    """
    split = _find(metrics, "split.name") or _name(config, "split")
    return f"{_name(config, 'model')} on {_name(config, 'data')}, split {split}"


def _results(metrics: Mapping[str, Any], tracks: TrackPredictions) -> str:
    rows = [
        ("accuracy", _per_cent(metrics, "test.track.accuracy"), _per_cent(metrics, "test.clip.accuracy")),
        ("95 % interval of accuracy", _interval(metrics), ""),
        ("macro F1", _plain(metrics, "test.track.f1_macro"), _plain(metrics, "test.clip.f1_macro")),
        ("top-3 accuracy", _per_cent(metrics, "test.track.top3_accuracy"), ""),
        ("expected calibration error, 15 bins", _plain(metrics, "test.track.calibration_error"), ""),
        ("loss (nats)", _plain(metrics, "test.track.loss"), _plain(metrics, "test.clip.loss")),
        ("number", _count(metrics, "test.track.n"), _count(metrics, "test.clip.n")),
    ]
    text = markdown_table(("test", "tracks", "clips"), rows)
    if len(tracks.targets):
        commonest = np.bincount(tracks.targets).max() / len(tracks.targets)
        text += (
            "\n\nA track gets the mean of its clips' probabilities. Always guessing the commonest genre of the test "
            f"would be right for {100 * commonest:.1f} %."
        )
    validation = _find(metrics, "val.track.accuracy")
    if validation is not None:
        text += f" On the validation tracks, the tested epoch was right for {100 * validation:.1f} %."
    return f"## Results\n\n{text}"


def _notices(warnings: Sequence[str]) -> str:
    lines = [f"- {' '.join(str(notice).split())}".replace("<", "&lt;") for notice in warnings]
    return "\n".join(["## To know", "", *lines]) if lines else ""


def genre_section(metrics: Mapping[str, Any]) -> str:
    """Return the scores of each genre in Markdown, best F1 first, with intervals; empty where there are none."""
    scores: Mapping[str, Mapping[str, float]] = _find(metrics, "test.per_genre") or {}
    if not scores:
        return ""
    rows = []
    for genre in sorted(scores, key=lambda genre: (not scores[genre]["n"], -scores[genre]["f1"], genre)):
        score = scores[genre]
        interval = wilson_interval(round(score["recall"] * score["n"]), int(score["n"]))
        cells = (_share(score["precision"]), _share(score["recall"]), _range(interval), _decimal(score["f1"]))
        rows.append((genre, *(cells if score["n"] else [""] * len(cells)), str(int(score["n"]))))
    table = markdown_table(("genre", "precision", "recall", "95 % interval of recall", "F1", "tracks"), rows)
    return f"## Genres\n\nBest F1 first.\n\n{table}"


def _confusions(tracks: TrackPredictions) -> str:
    counts = confusion(tracks)
    true_tracks = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    wrong = sorted(zip(*np.nonzero(counts), strict=True), key=lambda cell: (-counts[cell], cell))[:CONFUSIONS_SHOWN]
    if not wrong:
        return ""
    rows = [
        (tracks.genres[true], tracks.genres[given], str(counts[true, given]), str(true_tracks[true]))
        for true, given in wrong
    ]
    return f"## Most frequent confusions\n\n{markdown_table(('true', 'predicted', 'tracks', 'of'), rows, words=2)}"


def _figures(directory: Path) -> str:
    found = [
        f"![{words}](figures/{name})" for name, words in FIGURES.items() if (directory / "figures" / name).is_file()
    ]
    return "\n\n".join(["## Figures", *found]) if found else ""


def _making(
    metrics: Mapping[str, Any],
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> str:
    best = best_epoch(history, metrics)
    at_best = [number(row, "val/track_accuracy") for row in history if row.get("epoch") == best]
    tested = MISSING if best is None else str(best)
    if at_best and not math.isnan(at_best[0]):
        tested += f" ({_share(at_best[0])} of the validation tracks right)"
    groups = ("model", "data", "features", "loss", "optimizer", "scheduler", "regularization")
    rows = [
        *((group, _settings(config, group)) for group in groups if config.get(group)),
        ("split", f"{_text(_find(metrics, 'split.name'))}, hash {_text(_find(metrics, 'split.hash'))}"),
        ("seed", _text(_find(metrics, "seed"))),
        ("parameters", _count(metrics, "parameters")),
        ("epochs trained", _count(metrics, "epochs")),
        ("epoch tested, counted as in history.csv", tested),
        ("time", _times(metrics)),
        ("device", _text(environment.get("device"))),
        ("precision in training", _text(environment.get("precision"))),
        ("git", _text(environment.get("git"))),
        ("versions", _text(environment.get("versions"))),
    ]
    command = environment.get("command")
    command = command if isinstance(command, str) else shlex.join(map(str, command or ()))
    repeat = f"```bash\n{command}\n```\n\n" if command else ""
    table = markdown_table(("what", "value"), rows, words=2)
    return f"## How it was made\n\n{repeat}{table}\n\nAll settings are in `config.yaml`."


def _find(tree: Mapping[str, Any], dotted: str) -> Any:
    """Return what lies at a path like ``test.track.n``, None if it is not there."""
    value: Any = tree
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _settings(config: Mapping[str, Any], group: str) -> str:
    """Return the name of what was chosen and its short settings, such as ``AdamW (lr 0.001)``."""
    part = config.get(group)
    if not isinstance(part, Mapping):
        return _text(part)
    name = _name(config, group)
    settings = {key: value for key, value in part.items() if key not in ("name", "_target_") and value is not None}
    words = ", ".join(f"{key} {value}" for key, value in settings.items() if not isinstance(value, Mapping | list))
    if name == MISSING:
        return words or "none"
    return f"{name} ({words})" if words else name


def _name(config: Mapping[str, Any], group: str) -> str:
    part = config.get(group)
    if isinstance(part, Mapping):
        part = part.get("name") or str(part.get("_target_") or MISSING).rpartition(".")[-1]
    return _text(part)


def _share(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.1f} %"


def _decimal(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _range(interval: Sequence[float] | None) -> str:
    return MISSING if interval is None else f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f} %"


def _per_cent(metrics: Mapping[str, Any], dotted: str) -> str:
    return _share(_find(metrics, dotted))


def _plain(metrics: Mapping[str, Any], dotted: str) -> str:
    return _decimal(_find(metrics, dotted))


def _interval(metrics: Mapping[str, Any]) -> str:
    return _range(_find(metrics, "test.track.accuracy_ci95"))


def _count(metrics: Mapping[str, Any], dotted: str) -> str:
    value = _find(metrics, dotted)
    return MISSING if value is None else f"{value:,}"


def _times(metrics: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {_find(metrics, f'timing.{name}_s'):.1f} s"
        for name in ("prepare", "fit", "test")
        if _find(metrics, f"timing.{name}_s") is not None
    ]
    speed = _find(metrics, "timing.clips_per_s")
    return ", ".join(parts + ([] if speed is None else [f"{speed:,.0f} clips/s"])) or MISSING


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or MISSING
    return MISSING if value is None or value == "" else str(value)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a Markdown table, whose columns after the first `words` hold figures and are set to the right."""
    lines = [
        [cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in row] for row in (header, *rows)
    ]
    lines.insert(1, ["---"] * words + ["---:"] * (len(header) - words))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
