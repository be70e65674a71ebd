"""``python -m genreclf refit RUN [overrides]``: retrain a run on its training and validation tracks together."""

import os
from datetime import datetime

from genreclf.cli.parser import Parser


def main(arguments: list[str]) -> None:
    """Train, test and report in ``run_dir``, by default a new folder in ``outputs/runs``."""
    asked = parser().parse(arguments)
    from genreclf.cli.compose import checked_refit
    from genreclf.experiment.run import run
    from genreclf.run_directory import RunDirectory

    run_dir = f"outputs/runs/{datetime.now():%Y-%m-%d_%H-%M-%S}_refit_{os.urandom(2).hex()}"
    settings = {"run_dir": run_dir, "trust": asked.trust, "config_dir": asked.config_dir}
    run(checked_refit(RunDirectory(asked.run), asked.overrides, **settings))


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "refit",
        "Train once more with the settings of a finished run, on its training and validation tracks together, for as "
        "many epochs as it took to reach its best one. The last epoch is tested. The result is marked REFIT, as no "
        "validation tracks are left to choose anything by.",
    )
    command.add_run()
    command.add_overrides("settings that differ from the run's, such as seed=1 or run_dir=outputs/refit")
    return command
