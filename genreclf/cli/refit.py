"""``python -m genreclf refit RUN [overrides]``: train what a run chose on its training and validation tracks."""

import os
from datetime import datetime
from pathlib import Path

from genreclf.cli.parser import Parser


def main(arguments: list[str]) -> None:
    """Train, test and report in `run_dir`, by default a new folder of ``outputs/runs``."""
    asked = parser().parse(arguments)
    from genreclf.cli.compose import checked_refit
    from genreclf.experiment.run import run
    from genreclf.run_directory import RunDirectory

    name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_refit_{os.urandom(2).hex()}"
    run(
        checked_refit(
            RunDirectory(asked.run),
            asked.overrides,
            run_dir=str(Path("outputs", "runs", name)),
            trust=asked.trust,
            config_dir=asked.config_dir,
        )
    )


def parser() -> Parser:
    """Return the parser of the command."""
    command = Parser(
        "refit",
        "Train once more what a finished run has chosen, on its training and validation tracks together: its settings, "
        "for as many epochs as its best one had. The last epoch is tested. The result says REFIT, as no validation "
        "tracks are left that could choose anything.",
    )
    command.add_run()
    command.add_overrides("settings that are to be other than the run's, such as seed=1 or run_dir=outputs/refit")
    return command
