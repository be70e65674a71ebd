"""The table of experiments, for a terminal, Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from genreclf.comparison.comparison import Comparison
from genreclf.comparison.experiments import Experiment
from genreclf.comparison.runs import figure
from genreclf.escaping import csv_cell, printable
from genreclf.evaluation.metrics import rounded
from genreclf.reports.run import markdown_table

if TYPE_CHECKING:
    from rich.table import Table

MISSING = "n/a"

HEADER = (
    "experiment",
    "split",
    "runs",
    "test accuracy, tracks (%)",
    "SD over runs",
    "95 % interval",
    "method",
    "test accuracy, clips (%)",
    "macro F1, tracks",
    "validation accuracy, tracks (%)",
    "parameters",
    "training (s a run)",
)
WORDS = 3
"""Columns of `HEADER` that hold words."""

CSV_HEADER = (
    "experiment",
    "split",
    "leaky",
    "runs",
    "seeds",
    "splits",
    "test_tracks",
    "accuracy",
    "accuracy_sd",
    "ci95_low",
    "ci95_high",
    "ci95_method",
    "clip_accuracy",
    "f1_macro",
    "val_accuracy",
    "parameters",
    "fit_s",
)

PAIR_CSV_HEADER = (
    "first",
    "first_split",
    "second",
    "second_split",
    "leaky",
    "test_tracks",
    "difference",
    "ci95_low",
    "ci95_high",
    "first_better",
    "second_better",
    "test",
    "p",
    "p_holm",
)


def cells(experiment: Experiment) -> list[str]:
    """Return the row of an experiment under `HEADER`."""
    interval = experiment.interval
    return [
        experiment.name,
        split_cell(experiment),
        experiment.repeats,
        percent(experiment.scores.accuracy),
        percent(experiment.deviation),
        span(interval.low, interval.high),
        interval.method,
        percent(experiment.mean("test.clip.accuracy")),
        decimal(experiment.mean("test.track.f1_macro")),
        percent(experiment.mean("val.track.accuracy")),
        parameters(experiment),
        seconds(experiment.mean("timing.fit_s")),
    ]


def split_cell(experiment: Experiment) -> str:
    """Return the split with its number of test tracks, and LEAKY where it leaks."""
    mark = " (LEAKY)" if experiment.leaky else ""
    return f"{experiment.split}{mark}, {len(experiment.scores.track_ids)} tracks"


def terminal_table(comparison: Comparison) -> "Table":
    """Return the table for the terminal, LEAKY in red."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Experiments, by validation accuracy", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("experiment\nsplit, test, runs", overflow="fold")
    for header in ("tracks % ±SD\n95 % interval", "clips\n%", "macro\nF1", "val.\n%", "para-\nmeters", "train\ns/run"):
        table.add_column(header, justify="right", no_wrap=True)
    for experiment in comparison.experiments:
        name, split, runs, accuracy, deviation, interval, _, clips, f1, validation, _, fit_s = cells(experiment)
        name, split = printable(name), printable(split)
        words = Text(f"{name}\n{split}, {'1 run' if runs == '1' else runs}")
        words.stylize("bold", 0, len(name))
        words.highlight_words(["LEAKY"], "bold red")
        spread = accuracy if experiment.deviation is None else f"{accuracy} ±{deviation}"
        count = _short_count(max(figure(run.metrics, "parameters") for run in experiment.runs))
        table.add_row(words, *map(Text, (f"{spread}\n{interval}", clips, f1, validation, count, fit_s)))
    return table


def markdown(comparison: Comparison) -> str:
    """Return the table in Markdown."""
    return markdown_table(HEADER, map(cells, comparison.experiments), words=WORDS) + "\n"


def csv_text(comparison: Comparison) -> str:
    """Return the table under `CSV_HEADER`: accuracies as fractions with 6 decimals, empty where there is none."""
    return _csv(CSV_HEADER, [_raw(experiment) for experiment in comparison.experiments])


def pairs_csv_text(comparison: Comparison) -> str:
    """Return the paired tests under `PAIR_CSV_HEADER`."""
    rows = []
    for pair in comparison.pairs:
        first, second, test = pair.first, pair.second, pair.test
        tracks = len(first.scores.track_ids)
        names = (first.name, first.split, second.name, second.split, first.leaky, tracks)
        counts = (test.first_better, test.second_better, test.method)
        figures = rounded([*names, test.difference, test.low, test.high, *counts])
        rows.append([*figures, f"{test.p:.6g}", f"{pair.p_holm:.6g}"])
    return _csv(PAIR_CSV_HEADER, rows)


def latex(comparison: Comparison) -> str:
    r"""Return the table as a ``tabular`` for the package booktabs, LEAKY in bold."""
    columns = "l" * WORDS + "r" * (len(HEADER) - WORDS)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row(HEADER), r"\midrule"]
    rows = (_latex_row(cells(experiment)) for experiment in comparison.experiments)
    lines += [row.replace("LEAKY", r"\textbf{LEAKY}") for row in rows]
    return "\n".join(["% Needs the package booktabs.", *lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


FORMATS: dict[str, Callable[[Comparison], str]] = {"markdown": markdown, "csv": csv_text, "latex": latex}
"""The table as text, by the name of its format."""


def percent(value: float | None) -> str:
    """Return a fraction in per cent with one decimal."""
    return MISSING if value is None else f"{100 * value:.1f}"


def decimal(value: float | None) -> str:
    """Return a figure with three decimals."""
    return MISSING if value is None else f"{value:.3f}"


def span(low: float, high: float) -> str:
    """Return an interval of fractions in per cent."""
    return f"{100 * low:.1f} to {100 * high:.1f}"


def seconds(value: float | None) -> str:
    """Return a time, to the tenth of a second below a minute."""
    return MISSING if value is None else f"{value:.1f}" if value < 60 else f"{value:,.0f}"


def parameters(experiment: Experiment) -> str:
    """Return the number of weights; least and most where runs differ, as with genres that not all folds hold."""
    counts = sorted({int(figure(run.metrics, "parameters")) for run in experiment.runs})
    return " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))


def _short_count(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count >= 1e6 else f"{count / 1e3:.1f} k"


def _raw(experiment: Experiment) -> list[Any]:
    interval = experiment.interval
    values = [
        experiment.name,
        experiment.split,
        experiment.leaky,
        len(experiment.runs),
        experiment.seeds,
        len(experiment.split_hashes),
        len(experiment.scores.track_ids),
        experiment.scores.accuracy,
        experiment.deviation,
        interval.low,
        interval.high,
        interval.method,
        experiment.mean("test.clip.accuracy"),
        experiment.mean("test.track.f1_macro"),
        experiment.mean("val.track.accuracy"),
        max(figure(run.metrics, "parameters") for run in experiment.runs),
        experiment.mean("timing.fit_s"),
    ]
    row: list[Any] = rounded(values)
    return row


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(map(csv_cell, row) for row in rows)
    return text.getvalue()


LATEX_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def _latex_row(words: Sequence[str]) -> str:
    escaped = ("".join(LATEX_SIGNS.get(sign, sign) for sign in word) for word in words)
    return " & ".join(escaped) + r" \\"
