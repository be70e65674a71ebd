"""``python -m genreclf dashboard [RUN_OR_SWEEP...]``: a W&B workspace and report of finished runs."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from genreclf.errors import UserError


def parser() -> argparse.ArgumentParser:
    """Return what reads the words after ``dashboard``."""

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise UserError(f"dashboard: {message}; python -m genreclf dashboard [RUN_OR_SWEEP...] [--out FILE]")

    words = Parser(
        prog="genreclf dashboard",
        description="Build a W&B workspace and report of finished runs; save both there, or their specification here.",
    )
    words.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="RUN_OR_SWEEP",
        help="a run, or a folder of runs; by default all in outputs, and with them the whole W&B project",
    )
    words.add_argument("--name", help="of workspace and report; by default that of the first folder")
    words.add_argument(
        "--out", type=Path, metavar="FILE", help="where the specification goes; dashboard.json beside the runs"
    )
    return words


def main(arguments: list[str]) -> None:
    """Save the dashboard where there is an account, else write its specification; say where it is."""
    asked = parser().parse_args(arguments)
    import json

    from genreclf.comparison.dashboard import Dashboard
    from genreclf.comparison.runs import find_runs
    from genreclf.run_directory import atomic_write_text
    from genreclf.training.loggers import is_wandb_offline

    paths = asked.paths or [Path("outputs")]
    runs, _ = find_runs(paths)
    name = asked.name or f"genreclf {paths[0].resolve().name}"
    dashboard = Dashboard.of(name, runs, whole_project=not asked.paths)
    why = "W&B is offline here (WANDB_MODE, or no API key)"
    if not is_wandb_offline():
        try:
            workspace, report = dashboard.save()
        except Exception as error:  # Whatever the client or the network raises: the specification is kept.
            said = str(error).strip() or type(error).__name__
            why = f"W&B did not take it ({said.splitlines()[0]})"
        else:
            print(f"Workspace: {workspace}\nReport: {report}")
            return
    out = asked.out or (paths[0] if len(paths) == 1 else Path("outputs")) / "dashboard.json"
    try:
        atomic_write_text(out, json.dumps(dashboard.specification(), indent=2) + "\n")
    except OSError as error:
        raise UserError(f"--out: {out} cannot be written to ({error.strerror}).") from error
    print(f"{why}: the specification of workspace and report is in {out}.", file=sys.stderr)
    print("Send the runs with `wandb sync`, then repeat this command online to save both.", file=sys.stderr)
