"""Record the start of a sweep in its directory, with an id of this call of the command."""

import json
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from genreclf.distributed.launchers import JOBLIB, bind_workers
from genreclf.escaping import say
from genreclf.run_directory import atomic_write_text
from genreclf.sweep.ahead import failing_jobs
from genreclf.sweep.process import warm_up

GRIDS = (
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra_plugins.genreclf_nested.sweeper.NestedSweeper",
)
"""Sweepers that do what a command lists, while others search."""

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
"""The launcher that starts one job after another."""


class SweepStart(Callback):
    """Records that a sweep starts, when Hydra calls it.

    Args:
        fixed: Keys that all jobs of the sweep share. Named here, they are found before its jobs are composed, which no
            longer know what the sweep varies.
    """

    sweep_dir: ClassVar[Path | None] = None
    """Of the sweep that this process started."""

    may_be_done: ClassVar[bool] = False
    """Whether its sweeper starts no job where all of them are done, as a study does."""

    def __init__(self, fixed: Sequence[str] = ()) -> None:
        self.fixed = fixed

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember the directory, and mark this call in ``sweep.json`` for the jobs, wherever they run."""
        SweepStart.sweep_dir = Path(config.hydra.sweep.dir)
        SweepStart.may_be_done = config.hydra.sweeper._target_ not in GRIDS
        content = {"call": secrets.token_hex(8), "command": ["python", "-m", "genreclf", *sys.argv[1:]]}
        atomic_write_text(SweepStart.sweep_dir / "sweep.json", json.dumps(content, indent=2) + "\n")
        if config.hydra.launcher._target_ == JOBLIB:
            bind_workers()
        if config.hydra.launcher._target_ == BASIC:
            warm_up()  # It imports PyTorch while this process does so to look at the values.
        for sentence in failing_jobs(config, searches=SweepStart.may_be_done):
            say(f"Note: {sentence}")
