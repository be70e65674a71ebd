"""What a sweep came to: `sweep.md`, `sweep.csv`, its picture and comparison, and a few lines for the terminal."""

import csv
import io
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genreclf.errors import UserError
from genreclf.escaping import csv_cell, say
from genreclf.run_directory import atomic_write_text
from genreclf.sweep.job import CRASHED, read_object
from genreclf.sweep.rows import FAILED, FINISHED, Row, axes_of, read_rows

NAMED = 20
"""So many failed jobs are named in the terminal."""


def report(sweep_dir: Path, *, may_be_idle: bool = False) -> int:
    """Write the summary of a sweep and show it.

    Args:
        sweep_dir: The sweep's directory.
        may_be_idle: Whether its last call need not have come to any job.

    Returns:
        What the command should end with: 0 if all jobs of its last call are finished and the summary is written,
        `UserError.exit_code` if each of the others failed with a sentence about something that a user can mend, else
        `CRASHED`.

    Raises:
        UserError: The last call has no job.
    """
    rows = read_rows(sweep_dir)
    if not (may_be_idle or any(row.in_last_call for row in rows)):
        raise UserError("The sweep has no job: a range or a glob of its keys holds no value.")
    if not rows:
        return 0
    try:
        page = write_summary(sweep_dir, rows)
    except (OSError, UserError) as error:
        say(f"The summary of {sweep_dir} cannot be written ({error}).")
        page = None
    now = [row for row in rows if row.in_last_call]
    failed = [row for row in now if row.status == FAILED]
    print(counted(now))
    for row in failed[:NAMED]:
        say(f"Failed: {row.name}: {row.reason}")
    if len(failed) > NAMED:
        print(f"...and {len(failed) - NAMED} more.", file=sys.stderr)
    if failed:
        print("The same command does again only what is not finished.", file=sys.stderr)
    if page:
        print(f"Summary: {page}")
    if not failed:
        return 0 if page else CRASHED
    return UserError.exit_code if {row.exit_code for row in failed} == {UserError.exit_code} else CRASHED


def write_summary(sweep_dir: Path, rows: Sequence[Row]) -> Path:
    """Write all files of the summary and show the table of finished experiments.

    Returns:
        The page, ``sweep.md``.
    """
    atomic_write_text(sweep_dir / "sweep.csv", csv_text(sweep_dir, rows))
    parts = [f"# Sweep {sweep_dir.resolve().name}", f"    {_command(sweep_dir)}", counted(rows)]
    if any(row.status == FINISHED for row in rows):
        parts += _results(sweep_dir, rows)
    parts += ["## Jobs", _table(rows)]
    if failed := [row for row in rows if row.status == FAILED]:
        points = "\n".join(f"- {row.name} (`{row.path.name}`): {row.reason}" for row in failed)
        parts += ["## Failed", points.replace("<", "&lt;"), "The same command does again only what is not finished."]
    page = sweep_dir / "sweep.md"
    atomic_write_text(page, "\n\n".join(parts) + "\n")
    return page


def counted(rows: Sequence[Row]) -> str:
    """Say how many jobs there are of each status."""
    states = [row.status for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{len(rows)} job{'s' if len(rows) != 1 else ''}: {counts}."


def _results(sweep_dir: Path, rows: Sequence[Row]) -> list[str]:
    """Compare the finished jobs; show the table and return it with the best by validation and the picture."""
    from rich.console import Console

    from genreclf.comparison.comparison import compare
    from genreclf.comparison.report import write_comparison
    from genreclf.comparison.sections import first_of_each_split
    from genreclf.comparison.tables import markdown, terminal_table
    from genreclf.plots.sweep import JobLine, draw_axes

    comparison = compare([row.path for row in rows if row.status == FINISHED])
    write_comparison(sweep_dir / "comparison", comparison)
    Console().print(terminal_table(comparison))
    best = first_of_each_split(comparison)
    for sentence in best:
        say(sentence, sys.stdout)
    parts = ["## Experiments, by validation accuracy", *best, markdown(comparison).rstrip()]
    parts.append(
        "Seeds and folds of one setting are one experiment; tests and pictures: [comparison](comparison/comparison.md)."
    )
    parts += [f"- {notice}" for notice in comparison.warnings]
    rows = [row for row in rows if row.objective is not None]
    lines = [JobLine(varies=row.varies, objective=row.objective or 0.0, leaky=bool(row.leaky)) for row in rows]
    if draw_axes(sweep_dir / "figures" / "axes.png", axes_of(rows), lines, f"Sweep {sweep_dir.resolve().name}"):
        parts.append("![What the jobs vary, and the accuracy on validation tracks that each led to](figures/axes.png)")
    return parts


def csv_text(sweep_dir: Path, rows: Sequence[Row]) -> str:
    """Return a row a job, with a column for each key that varies; accuracies as fractions."""
    axes = axes_of(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = ("objective", "test_accuracy", "ci95_low", "ci95_high", "leaky", "wall_s", "in_last_call")
    writer.writerow(["job", *map(csv_cell, axes), "status", "reason", *figures, "overrides"])
    for row in rows:
        low, high = row.ci95 or (None, None)
        values: list[Any] = [row.objective, row.accuracy, low, high, row.leaky, row.wall_s, row.in_last_call]
        varied = [row.varies.get(key, "") for key in axes]
        job = row.path.relative_to(sweep_dir).as_posix()
        cells = [job, *varied, row.status, row.reason, *values, shlex.join(row.overrides)]
        writer.writerow(map(csv_cell, cells))
    return text.getvalue()


def _table(rows: Sequence[Row]) -> str:
    from genreclf.reports.run import markdown_table

    axes = axes_of(rows)
    header = [
        *axes,
        "status",
        "validation accuracy, tracks (%)",
        "test accuracy, tracks (%)",
        "95 % interval",
        "time (s)",
    ]
    return markdown_table(header, [_cells(row, axes) for row in rows], words=len(axes) + 1)


def _cells(row: Row, axes: Sequence[str]) -> list[str]:
    def percent(value: float | None) -> str:
        return "" if value is None else f"{100 * value:.1f}"

    status = f"{row.status}, LEAKY" if row.leaky else row.status
    interval = f"{percent(row.ci95[0])} to {percent(row.ci95[1])}" if row.ci95 else ""
    time = "" if row.wall_s is None else f"{row.wall_s:.1f}"
    varied = [row.varies.get(key, "") for key in axes]
    return [*varied, status, percent(row.objective), percent(row.accuracy), interval, time]


def _command(sweep_dir: Path) -> str:
    """Return what was typed, less what the door added."""
    words = read_object(sweep_dir / "sweep.json").get("command", [])
    ours = ("hydra.sweep.dir=outputs/sweeps/", "hydra.job.config.override_dirname.exclude_keys=")
    return shlex.join(word for word in words if not word.startswith(ours))
