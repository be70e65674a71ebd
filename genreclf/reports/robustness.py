"""Write the robustness of a run for readers: a CSV table and ``report.md``."""

from collections.abc import Mapping, Sequence
from typing import Any

from genreclf.evaluation.leaks import leaky_warning
from genreclf.evaluation.predictions import TrackPredictions
from genreclf.evaluation.provenance import marks_of, pretrained_name, pretrained_note, refit_note
from genreclf.evaluation.robustness import Robustness
from genreclf.reports.tables import Column, Table, csv_text, of_interval, of_value, percent
from genreclf.run_directory import RunDirectory, atomic_write_text

COLUMNS: tuple[Column[Robustness], ...] = (
    Column("change", lambda row: row.name, "change", lambda row: row.name, words=True),
    Column("tracks", lambda row: row.n, "tracks", lambda row: str(row.n)),
    of_value("flips", "flips (%)", lambda row: row.flips, percent),
    *of_interval("flips_ci95", "95 %, tracks", lambda row: row.flips_ci95),
    *of_interval("flips_ci95_artists", "95 %, artists", lambda row: row.flips_ci95_artists),
    of_value("accuracy", "right (%)", lambda row: row.accuracy, percent),
    of_value("drop", "drop (points)", lambda row: row.drop, percent),
    *of_interval("drop_ci95", "95 %, tracks", lambda row: row.drop_ci95),
    *of_interval("drop_ci95_artists", "95 %, artists", lambda row: row.drop_ci95_artists),
)
"""Columns of the table of robustness, whose rows are changes of the music; the CSV table has marks as well."""


def robustness_table(results: Sequence[Robustness]) -> Table:
    """Return the table of robustness, with one row per change of the music."""
    return Table.of(COLUMNS, results)


def write_tables(
    run: RunDirectory,
    results: Sequence[Robustness],
    before: TrackPredictions,
    *,
    title: str,
    metrics: Mapping[str, Any],
) -> None:
    """Write ``robustness.csv`` and ``report.md``.

    Args:
        run: Run directory to write to.
        results: Effect of each change of the music.
        before: Predictions for the unchanged test tracks.
        title: Title of the report.
        metrics: Split and origin of the network, as in ``metrics.json``.
    """
    leaky = metrics["split"]["leaky"]
    marks: tuple[Column[Robustness], ...] = (
        Column("leaky", lambda _: leaky),
        Column("pretrained", lambda _: pretrained_name(metrics)),
        Column("refit", lambda _: "REFIT" in marks_of(metrics)),
    )
    atomic_write_text(run.path / "robustness.csv", csv_text((*COLUMNS, *marks), results))
    right = float((before.predicted == before.targets).mean())
    lines: list[Any] = [
        f"# {title}",
        *[f"> [!WARNING]\n> {leaky_warning(metrics)}"] * leaky,
        *filter(None, [pretrained_note(metrics), refit_note(metrics)]),
        f"Without changes, {100 * right:.1f} % of {len(before.targets)} test tracks are right. Flips are tracks whose "
        "predicted genre changes, and the drop is the accuracy lost by the change. Intervals are 95 %.",
        robustness_table(results).markdown(),
        "![Flips and drops](figures/robustness.png)",
        "The settings of each change are in `config.yaml`, its predictions in `predictions/`.",
    ]
    atomic_write_text(run.report, "\n\n".join(lines) + "\n")
