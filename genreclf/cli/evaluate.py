"""``python -m genreclf evaluate RUN [overrides]``: test the best checkpoint of a run again, on any data and devices."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from genreclf.cli.parser import Parser
from genreclf.cli.printing import print_table
from genreclf.errors import UserError
from genreclf.escaping import say

if TYPE_CHECKING:
    from genreclf.config.config import Config

CLIPS = ("data.batch_size", "data.clip_seconds", "data.grid_overlap", "data.short")
"""Configuration keys of the clips that tracks are cut into, which are those of the run when robustness is measured."""


def main(arguments: list[str]) -> None:
    """Write metrics and predictions into ``run_dir``, by default a new folder in the run directory."""
    asked = parser().parse(arguments)
    from genreclf.cli.compose import checked_again, refuse_without_effect
    from genreclf.config.identity import difference
    from genreclf.run_directory import RunDirectory

    refuse_without_effect(asked.overrides)
    run = RunDirectory(asked.run)
    time = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    by_default = str(run.path / "evaluations" / time)
    given = {"run_dir": by_default, "init_from": asked.run, "ckpt_path": None}
    config = checked_again(run, asked.overrides, trust=asked.trust, config_dir=asked.config_dir, **given)
    if Path(config.run_dir).resolve() == run.path.resolve():
        raise UserError(f"run_dir={config.run_dir} is the run itself; choose another for its evaluation.")
    if config.robustness:
        if config.run_dir == by_default:
            config.run_dir = str(run.path / "robustness" / time)
        _measure_robustness(config, asked.overrides, asked.trust)
        return
    from genreclf.experiment.run import carry_out

    target = RunDirectory(config.run_dir)
    if target.config.exists() and (differing := difference(target.read_config(), config.plain)):
        raise UserError(f"{target.path} contains another run ({differing}); set another run_dir.")
    carry_out("evaluate", config)


def _measure_robustness(config: "Config", overrides: Sequence[str], trust: Sequence[str]) -> None:
    """Measure how robust predictions are to changes of the test tracks, and print a table of the results."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] in ("logger", "trainer") and key not in ("trainer", "trainer.accelerator"):
            raise UserError(f"{override} has no effect on robustness, which is measured on one device; omit it.")
        if key in CLIPS:
            raise UserError(
                f"{override} has no effect on robustness, which is measured on the clips of the run; omit it."
            )
    from genreclf.inference.robustness import measure_robustness
    from genreclf.reports.robustness import robustness_table

    title, results = measure_robustness(config, trust=trust)
    shown = robustness_table(results)
    print_table(shown.header, shown.cells, title)
    say(f"Report: {Path(config.run_dir) / 'report.md'}", sys.stdout)


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "evaluate",
        "Test the best checkpoint of a run again, by default as it was tested, and write metrics and predictions into "
        "a new folder, RUN/evaluations/TIME or run_dir=DIR. With robustness=all, measure how robust predictions are to "
        "changes of the test tracks, in RUN/robustness/TIME.",
        "Test tracks that the run, or one that it started from, trained or validated on make the result LEAKY; "
        "split.unseen=true leaves them out.",
    )
    command.add_run()
    command.add_overrides("other data, split or devices, such as split=artist_folds split.fold=3 trainer.devices=2")
    return command
