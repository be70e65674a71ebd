"""``python -m genreclf dashboard [RUN_OR_SWEEP...]``: build a W&B workspace and report of finished runs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genreclf.cli.parser import Parser, png
from genreclf.cli.printing import note, writing
from genreclf.errors import first_line
from genreclf.evaluation.metrics import get_metric

if TYPE_CHECKING:
    from genreclf.comparison.dashboard import Dashboard


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "dashboard",
        "Build a W&B workspace and report of finished runs; save both in W&B, or their specification in a file.",
    )
    command.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="RUN_OR_SWEEP",
        help="a run, or a folder of runs; default: all runs in outputs, and the whole W&B project",
    )
    command.add_argument("--name", help="name of the workspace and the report; default: the name of the first folder")
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="file for the specification; default: dashboard.json next to the runs"
    )
    command.add_argument(
        "--picture",
        type=png,
        metavar="FILE.png",
        help="draw what the panels show into a PNG instead, from the run directories alone; needs no account",
    )
    return command


def main(arguments: list[str]) -> None:
    """Save the dashboard in W&B, or write its specification to a file if that is not possible; print its place."""
    asked = parser().parse(arguments)
    from genreclf.comparison.dashboard import Dashboard
    from genreclf.comparison.runs import find_runs
    from genreclf.run_directory import RunDirectory
    from genreclf.training.loggers import is_wandb_offline

    paths = asked.paths or [Path("outputs")]
    runs, _, without = find_runs(paths)
    for path in without:
        note(f"There is no run in {path}")
    name = asked.name or f"genreclf {paths[0].resolve().name}"
    if asked.picture is not None:
        return _draw(Dashboard.of(name, runs, needs_record=False), runs, asked.picture)
    dashboard = Dashboard.of(name, runs, whole_project=not asked.paths)
    why = "W&B is offline here (WANDB_MODE, or no API key)"
    if not is_wandb_offline():
        try:
            workspace, report = dashboard.save()
        except Exception as error:  # Whatever the client or the network raises, the specification is written to a file.
            why = f"W&B did not take it ({first_line(error)})"
        else:
            print(f"Workspace: {workspace}\nReport: {report}")
            return
    out = asked.out or (paths[0] if len(paths) == 1 else Path("outputs")) / "dashboard.json"
    with writing("--out", out):
        RunDirectory.write_json(out, dashboard.specification())
    print(f"{why}: the specification of workspace and report is in {out}.", file=sys.stderr)
    print("Send the runs with `wandb sync`, then repeat this command online to save both.", file=sys.stderr)


def _draw(dashboard: "Dashboard", runs: Sequence[Path], picture: Path) -> None:
    from genreclf.comparison.panels import panels_of
    from genreclf.comparison.runs import FinishedRun
    from genreclf.evaluation.provenance import marks_of
    from genreclf.plots.dashboard import draw_dashboard
    from genreclf.plots.style import marked

    finished = [FinishedRun.read(path) for path in runs]
    leaky = any(get_metric(run.metrics, "split.leaky") for run in finished)
    marks = list(dict.fromkeys(mark for run in finished for mark in marks_of(run.metrics)))
    with writing("--picture", picture):
        draw_dashboard(picture, marked(dashboard.name, leaky=leaky, marks=marks), panels_of(dashboard, finished))
    print(f"Picture: {picture}")
