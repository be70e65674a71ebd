"""Record the start of a sweep in its directory, with an id of the current call of the command."""

import json
import secrets
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from genreclf.distributed.launchers import JOBLIB, bind_workers
from genreclf.errors import UserError
from genreclf.escaping import say
from genreclf.run_directory import atomic_write_text
from genreclf.sweep.ahead import failing_jobs
from genreclf.sweep.process import warm_up

GRIDS = (
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra_plugins.genreclf_nested.sweeper.NestedSweeper",
)
"""Sweepers that run the jobs listed by a command; all other sweepers search."""

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
"""Launcher of Hydra that runs one job after another."""


class SweepStart(Callback):
    """Hydra callback that records the start of a sweep, and creates the directory of a run.

    Args:
        fixed: Keys that the command sets to the same value for all jobs of the sweep. They are determined here, before
            the jobs are composed, since a composed job does not know which keys the sweep varies.
    """

    sweep_dir: ClassVar[Path | None] = None
    """Directory of the sweep that this process started; None if it has started none."""

    may_be_done: ClassVar[bool] = False
    """Whether the sweeper of the sweep may start no job because all are done, as a search that is complete does."""

    def __init__(self, fixed: Sequence[str] = ()) -> None:
        self.fixed = fixed

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Create the run directory before Hydra does; end the command with a sentence if that is not possible."""
        with suppress(OmegaConfBaseException):  # Hydra reports an interpolation that it cannot resolve.
            _make(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record the directory of the sweep, write ``sweep.json`` with an id of this call, and warn of bad values."""
        SweepStart.sweep_dir = Path(config.hydra.sweep.dir)
        SweepStart.may_be_done = config.hydra.sweeper._target_ not in GRIDS
        content = {"call": secrets.token_hex(8), "command": ["python", "-m", "genreclf", *sys.argv[1:]]}
        try:
            atomic_write_text(SweepStart.sweep_dir / "sweep.json", json.dumps(content, indent=2) + "\n")
        except OSError:  # The sweeper cannot write there either, which `genreclf.cli.train` reports.
            return
        if config.hydra.launcher._target_ == JOBLIB:
            bind_workers()
        if config.hydra.launcher._target_ == BASIC:
            warm_up()  # The server imports PyTorch while this process does so to check the values.
        for sentence in failing_jobs(config, searches=SweepStart.may_be_done):
            say(f"Note: {sentence}")


def _make(run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # Printed instead of raised, since Hydra would turn an exception into a warning.
        say(f"Run directory {run_dir} cannot be created ({error.strerror}); set run_dir=DIRECTORY.")
        raise SystemExit(UserError.exit_code) from None
