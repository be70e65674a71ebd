"""Columns of the tables of experiments and of paired tests, and the table of experiments in each format."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from genreclf.comparison.comparison import Comparison, Pair
from genreclf.comparison.experiments import Experiment
from genreclf.escaping import printable
from genreclf.evaluation.metrics import METRICS, Metric, get_metric
from genreclf.reports.tables import (
    MISSING,
    Column,
    Table,
    csv_text,
    decimal,
    of_interval,
    of_value,
    percent,
    seconds,
    span,
)

if TYPE_CHECKING:
    from rich.table import Table as RichTable

LEVEL = 0.05
"""Corrected p value below which the difference between two experiments is reported as significant."""


def split_cell(experiment: Experiment) -> str:
    """Return the name of the split with its number of test tracks, and LEAKY if the split leaks."""
    mark = " (LEAKY)" if experiment.leaky else ""
    return f"{experiment.split}{mark}, {len(experiment.scores.track_ids)} tracks"


def name_cell(experiment: Experiment) -> str:
    """Return the name of an experiment with its marks, see `genreclf.comparison.experiments.Experiment.marks`."""
    return " ".join([experiment.name, *(f"({mark})" for mark in experiment.marks)])


def parameters(experiment: Experiment) -> str:
    """Return the number of parameters, or their range if runs differ, for example because some folds lack a genre."""
    counts = sorted({int(get_metric(run.metrics, "parameters")) for run in experiment.runs})
    return " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))


def most_parameters(experiment: Experiment) -> int:
    """Return the number of parameters of the largest network among the runs."""
    return max(int(get_metric(run.metrics, "parameters")) for run in experiment.runs)


def interval(experiment: Experiment) -> str:
    """Return the 95 % interval of the test accuracy, in %."""
    return span(experiment.interval.low, experiment.interval.high)


def _of_metric(metric: Metric) -> Column[Experiment]:
    title, text = (f"{metric.title}, tracks (%)", percent) if metric.is_share else (f"{metric.title}, tracks", decimal)
    return of_value(metric.key, title, lambda experiment: experiment.mean(f"test.track.{metric.key}"), text)


def _energy_wh(experiment: Experiment) -> float | None:
    kwh = experiment.mean("energy.kwh")
    return None if kwh is None else 1000 * kwh


def _three_digits(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3g}"


def columns_of(comparison: Comparison) -> tuple[Column[Experiment], ...]:
    """Return the columns of the table of experiments, including the energy if it was measured in any experiment."""
    return (*COLUMNS, ENERGY) if any(map(_energy_wh, comparison.experiments)) else COLUMNS


def _whole(value: float | None) -> str:
    return MISSING if value is None else f"{value:.0f}"


def _p_column(key: str, title: str, p: Callable[[Pair], float | None]) -> Column[Pair]:
    def text(pair: Pair, digits: int, missing: str) -> str:
        return missing if (value := p(pair)) is None else f"{value:.{digits}g}"

    return Column(key, lambda pair: text(pair, 6, ""), title, lambda pair: text(pair, 3, MISSING))


def _verdict(pair: Pair) -> str:
    """Return whether a difference is significant over tracks and artists, over only one of them, or not at all."""
    if pair.p_holm_artists is None:
        return "yes" if pair.p_holm < LEVEL else "no"
    found = [unit for unit, p in (("tracks", pair.p_holm), ("artists", pair.p_holm_artists)) if p < LEVEL]
    return ("no", f"{''.join(found)} only", "yes")[len(found)]


COLUMNS: tuple[Column[Experiment], ...] = (
    Column("experiment", lambda each: each.name, "experiment", name_cell, words=True),
    Column("pretrained", lambda each: each.pretrained),
    Column("pretraining_overlap", lambda each: get_metric(each.runs[0].metrics, "pretrained.overlap")),
    Column("refit", lambda each: "REFIT" in each.marks),
    Column("split", lambda each: each.split, "split", split_cell, words=True),
    Column("leaky", lambda each: each.leaky),
    Column("runs", lambda each: len(each.runs), "runs", lambda each: each.repeats, words=True),
    Column("seeds", lambda each: each.seeds),
    Column("splits", lambda each: len(each.split_hashes)),
    Column("test_tracks", lambda each: len(each.scores.track_ids)),
    of_value("accuracy", "test accuracy, tracks (%)", lambda each: each.scores.accuracy, percent),
    of_value("accuracy_sd", "SD over runs", lambda each: each.deviation, percent),
    *of_interval("ci95", "95 % interval", lambda each: (each.interval.low, each.interval.high)),
    of_value("ci95_method", "method", lambda each: each.interval.method, str),
    *of_interval("ci95_artists", "95 % interval, artists", lambda each: each.scores.artist_interval),
    of_value("artist_accuracy", "each artist once (%)", lambda each: each.artist_accuracy, percent),
    of_value("effective_n", "effective tracks", lambda each: each.effective_n, _whole),
    of_value("clip_accuracy", "test accuracy, clips (%)", lambda each: each.mean("test.clip.accuracy"), percent),
    *(_of_metric(metric) for metric in METRICS if metric.is_compared),
    of_value("val_accuracy", "validation accuracy, tracks (%)", lambda each: each.mean("val.track.accuracy"), percent),
    Column("parameters", most_parameters, "parameters", parameters),
    of_value("fit_s", "training (s per run)", lambda each: each.mean("timing.fit_s"), seconds),
)
"""Columns of the table of experiments."""

ENERGY = of_value("energy_wh", "training (Wh a run)", _energy_wh, _three_digits)
"""Column of the energy, which follows `COLUMNS` if the energy of any experiment was measured."""

PAIR_COLUMNS: tuple[Column[Pair], ...] = (
    Column("first", lambda pair: pair.first.name, "first", lambda pair: pair.first.title, words=True),
    Column("first_split", lambda pair: pair.first.split),
    Column("second", lambda pair: pair.second.name, "second", lambda pair: pair.second.title, words=True),
    Column("second_split", lambda pair: pair.second.split),
    Column("leaky", lambda pair: pair.first.leaky),
    Column("test_tracks", lambda pair: len(pair.first.scores.track_ids)),
    of_value("difference", "difference (points)", lambda pair: pair.test.difference, lambda by: f"{100 * by:+.1f}"),
    *of_interval("ci95", "95 % interval", lambda pair: (pair.test.low, pair.test.high)),
    of_value("first_better", "first better (tracks)", lambda pair: pair.test.first_better, str),
    of_value("second_better", "second better (tracks)", lambda pair: pair.test.second_better, str),
    of_value("test", "test", lambda pair: pair.test.method, str),
    _p_column("p", "p", lambda pair: pair.test.p),
    _p_column("p_holm", "p (Holm)", lambda pair: pair.p_holm),
    *of_interval("ci95_artists", "95 % interval, artists", lambda pair: pair.test.ci95_artists),
    _p_column("p_artists", "p, artists", lambda pair: pair.test.p_artists),
    _p_column("p_holm_artists", "p (Holm), artists", lambda pair: pair.p_holm_artists),
    Column("", _verdict, f"differ at {100 * LEVEL:.0f} %", _verdict),
)
"""Columns of the table of paired tests."""


def table_of(comparison: Comparison) -> Table:
    """Return the table of experiments that readers see."""
    return Table.of(columns_of(comparison), comparison.experiments)


def terminal_table(comparison: Comparison) -> "RichTable":
    """Return the table of experiments for the terminal, with LEAKY in red and other marks in yellow."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(title="Experiments, by validation accuracy", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("experiment\nsplit, test, runs", overflow="fold")
    for header in (
        "tracks % ±SD\n95 % interval\n... artists",
        "clips\n%",
        "macro\nF1",
        "val.\n%",
        "para-\nmeters",
        "train\ns/run",
    ):
        table.add_column(header, justify="right", no_wrap=True)
    for experiment in comparison.experiments:
        cells = {column.key: printable(column.text(experiment)) for column in COLUMNS if column.title}
        runs = "1 run" if cells["runs"] == "1" else cells["runs"]
        words = Text(f"{cells['experiment']}\n{cells['split']}, {runs}")
        words.stylize("bold", 0, len(cells["experiment"]))
        words.highlight_words(["LEAKY"], "bold red")
        words.highlight_words(experiment.marks, "bold yellow")
        spread = "" if experiment.deviation is None else f" ±{cells['accuracy_sd']}"
        accuracy = f"{cells['accuracy']}{spread}\n{cells['ci95_low']}\n{cells['ci95_artists_low']}"
        figures = (cells[key] for key in ("clip_accuracy", "f1_macro", "val_accuracy"))
        count = most_parameters(experiment)
        short = f"{count / 1e6:.2f} M" if count >= 1e6 else f"{count / 1e3:.1f} k"
        table.add_row(words, *map(Text, (accuracy, *figures, short, cells["fit_s"])))
    return table


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "markdown": lambda comparison: table_of(comparison).markdown() + "\n",
    "csv": lambda comparison: csv_text(columns_of(comparison), comparison.experiments),
    "latex": lambda comparison: table_of(comparison).latex(),
}
"""Functions that return the table of experiments as text, by name of the format."""
