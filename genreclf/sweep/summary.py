"""Summary of a sweep: ``sweep.md``, ``sweep.csv``, plots, a comparison of runs, and lines for the terminal."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genreclf.errors import UserError
from genreclf.escaping import say
from genreclf.reports.tables import Column, Table, csv_text, of_interval, of_value, percent
from genreclf.run_directory import RunBusy, atomic_write_text
from genreclf.sweep.job import read_object
from genreclf.sweep.process import CRASHED
from genreclf.sweep.rows import FAILED, FINISHED, UNFINISHED, Row, axes_of, read_rows, without_replaced

NAMED = 20
"""Maximum number of failed jobs, and of jobs left to other processes, that the terminal names."""


def report(sweep_dir: Path, *, may_be_idle: bool = False) -> int:
    """Write the summary of a sweep and print it.

    Args:
        sweep_dir: Directory of the sweep.
        may_be_idle: Whether the last call of the sweep command may have reached no job.

    Returns:
        Exit code of the command: 0 if all jobs of the last call are finished and the summary is written,
        `RunBusy.exit_code` if all other jobs are left to other processes, `UserError.exit_code` if every failed job
        failed with an error that the user can correct, else `CRASHED`.

    Raises:
        UserError: The last call reached no job, and `may_be_idle` is False.
    """
    rows = read_rows(sweep_dir)
    if not (may_be_idle or any(row.in_last_call for row in rows)):
        raise UserError("The sweep has no jobs: a range or glob in its settings has no values.")
    if not rows:
        return 0
    try:
        page = write_summary(sweep_dir, rows)
    except (OSError, UserError) as error:
        say(f"The summary of {sweep_dir} cannot be written ({error}).")
        page = None
    now = [row for row in rows if row.in_last_call]
    failed = [row for row in now if row.status == FAILED]
    print(counted(now or rows))
    for row in failed[:NAMED]:
        say(f"Failed: {row.name}: {row.reason}")
    if len(failed) > NAMED:
        print(f"...and {len(failed) - NAMED} more.", file=sys.stderr)
    left = [row for row in now if row.status == UNFINISHED]
    if left:
        say(f"Left to other processes: {', '.join(row.name for row in left[:NAMED])}{', ...' * (len(left) > NAMED)}.")
    if failed or left:
        print(advice([*failed, *left]), file=sys.stderr)
    if page:
        say(f"Summary: {page}", sys.stdout)
    if not failed:
        return CRASHED if not page else RunBusy.exit_code if left else 0
    return UserError.exit_code if {row.exit_code for row in failed} == {UserError.exit_code} else CRASHED


def write_summary(sweep_dir: Path, rows: Sequence[Row]) -> Path:
    """Write all files of the summary and print the table of finished experiments.

    Returns:
        Path of the summary page, ``sweep.md``.
    """
    from genreclf.reports.rendering import render

    columns = job_columns(sweep_dir, rows)
    atomic_write_text(sweep_dir / "sweep.csv", csv_text(columns, rows))
    results: dict[str, Any] = {"experiments": None, "best": (), "warnings": (), "plot": None, "layers": None}
    results |= {"choices": (), "then": "", "curves": {}}
    if any(row.status == FINISHED for row in rows):
        results |= _results(sweep_dir, rows)
    page = sweep_dir / "sweep.md"
    text = render(
        "sweep.md",
        name=sweep_dir.resolve().name,
        command=shlex.join(read_object(sweep_dir / "sweep.json").get("command", [])),
        counts=counted(rows),
        jobs=Table.of(columns, rows),
        failed=(failed := [row for row in rows if row.status == FAILED]),
        advice=advice(failed),
        **results,
    )
    atomic_write_text(page, text)
    return page


def advice(rows: Sequence[Row]) -> str:
    """Return a sentence that says what to do about jobs that are not finished."""
    if all(row.exit_code == UserError.exit_code for row in rows):
        return "Correct what is named above first; the same command then repeats only the unfinished jobs."
    return "Run the same command again to repeat only the unfinished jobs."


def counted(rows: Sequence[Row]) -> str:
    """Return a sentence with the number of jobs of each status."""
    states = [row.status for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{len(rows)} job{'s' if len(rows) != 1 else ''}: {counts}."


def _results(sweep_dir: Path, rows: Sequence[Row]) -> dict[str, Any]:
    """Compare the finished jobs, print the table, and return the variables of the template of ``sweep.md``."""
    from rich.console import Console

    from genreclf.comparison.comparison import compare
    from genreclf.comparison.report import write_comparison
    from genreclf.comparison.sections import first_of_each_split
    from genreclf.comparison.tables import table_of, terminal_table
    from genreclf.plots.sweep import JobLine, draw_axes
    from genreclf.sweep.choice import accuracy_words, choice_table, choose, command_of, outer_folds, tested
    from genreclf.sweep.curve import LABELS, curves_of, draw, left_out
    from genreclf.sweep.curve import table_of as curve_table

    comparison = compare([row.path for row in rows if row.status == FINISHED])
    write_comparison(sweep_dir / "comparison", comparison)
    Console().print(terminal_table(comparison))
    kept = without_replaced(rows)
    choices = choose(kept)
    best = [choice.sentence for choice in choices] or first_of_each_split(comparison)
    if (outer := tested(choices, kept)) is not None:
        best.append(f"Nested cross-validation over {outer_folds(outer)}: {accuracy_words(outer)}.")
    if choices and (gone := len(rows) - len(kept)):
        best.append(f"Left out of the choice, as the last command replaced them: {gone} earlier job{'s' * (gone > 1)}.")
    for sentence in best:
        say(sentence, sys.stdout)
    then = command_of(choices[0], sweep_dir) if len(choices) == 1 and outer is None else ""
    if then:
        say(f"Train and test what was chosen:\n  {then}", sys.stdout)
    title = f"Sweep {sweep_dir.resolve().name}"
    curves = {}
    for key, words in LABELS.items():
        if found := curves_of(comparison, key):
            picture = f"figures/{key.partition('.')[2]}.png"
            draw(sweep_dir / picture, found, key, f"Learning curve, sweep {sweep_dir.resolve().name}")
            lacks = key if left_out(comparison, key) else ""
            curves[picture] = (f"Accuracy against the number of {words}", curve_table(found, key), lacks)
    rows = [row for row in rows if row.objective is not None]
    lines = [
        JobLine(
            varies=row.varies,
            objective=row.objective or 0.0,
            leaky=bool(row.leaky),
            marks=row.marks,
        )
        for row in rows
    ]
    plot = "figures/axes.png"
    drawn = draw_axes(sweep_dir / plot, axes_of(rows), lines, title)
    return {
        "choices": [(choice.outer, choice_table(choice)) for choice in choices],
        "then": then,
        "curves": curves,
        "experiments": table_of(comparison),
        "best": best,
        "warnings": comparison.warnings,
        "plot": plot if drawn else None,
        "layers": "comparison/figures/layers.png" if (sweep_dir / "comparison/figures/layers.png").exists() else None,
    }


def job_columns(sweep_dir: Path, rows: Sequence[Row]) -> list[Column[Row]]:
    """Return the columns of the table of jobs, including one for each key that varies."""

    def share(value: float | None) -> str:
        return "" if value is None else percent(value)

    def axis(key: str) -> Column[Row]:
        return Column(key, lambda row: row.varies.get(key, ""), key, lambda row: row.varies.get(key, ""), words=True)

    return [
        Column("job", lambda row: row.path.relative_to(sweep_dir).as_posix()),
        *map(axis, axes_of(rows)),
        Column(
            "status",
            lambda row: row.status,
            "status",
            lambda row: ", ".join([row.status, *["LEAKY"] * bool(row.leaky), *row.marks]),
            words=True,
        ),
        Column("reason", lambda row: row.reason),
        of_value("objective", "validation accuracy, tracks (%)", lambda row: row.objective, share),
        of_value("test_accuracy", "test accuracy, tracks (%)", lambda row: row.accuracy, share),
        *of_interval("ci95", "95 % interval", lambda row: row.ci95, missing=""),
        *of_interval("ci95_artists", "95 % interval, artists", lambda row: row.ci95_artists, missing=""),
        Column("leaky", lambda row: row.leaky),
        Column("pretrained", lambda row: row.pretrained),
        Column("refit", lambda row: "REFIT" in row.marks),
        of_value(
            "wall_s", "time (s)", lambda row: row.wall_s, lambda wall_s: "" if wall_s is None else f"{wall_s:.1f}"
        ),
        Column("in_last_call", lambda row: row.in_last_call),
        Column("overrides", lambda row: shlex.join(row.overrides)),
    ]
