"""Record the start of a sweep in its directory, with an id of the current call of the command."""

import json
import secrets
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from genreclf.config.overrides import typed_overrides
from genreclf.distributed.external_ranks import external_ranks
from genreclf.distributed.launchers import JOBLIB, bind_workers
from genreclf.errors import UserError, terminated_by_sigterm
from genreclf.escaping import say
from genreclf.run_directory import atomic_write_text
from genreclf.sweep.ahead import failing_jobs
from genreclf.sweep.process import warm_up
from genreclf.values import shown

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

    ends: ClassVar[ExitStack] = ExitStack()
    """What the command undoes at its end: a sweep handles SIGTERM."""

    def __init__(self, fixed: Sequence[str] = ()) -> None:
        self.fixed = fixed

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Create the run directory before Hydra does; end the command with a sentence if that is not possible."""
        with suppress(OmegaConfBaseException):  # Hydra reports an interpolation that it cannot resolve.
            _make(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record the directory of the sweep, write ``sweep.json`` with an id of this call, and warn of bad values.

        The command ends with a sentence if a setting contradicts the sweep.
        """
        try:
            _check([*typed_overrides(config.hydra), *typed_overrides(config.hydra, "hydra")])
        except UserError as error:
            _end(error)
        SweepStart.ends.enter_context(terminated_by_sigterm())
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


def names_run_dir(override: Override) -> bool:
    """Return whether an override names the directory of one run."""
    return override.key_or_group in ("run_dir", "hydra.run.dir") and override.value() not in (None, "")


def _check(overrides: Sequence[str]) -> None:
    """Raise a `UserError` for an override that contradicts the sweep, or for ranks that torchrun or srun started."""
    if external_ranks() > 1:
        raise UserError("A sweep starts the ranks of its jobs: leave torchrun or srun out, set trainer.devices.")
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group
        if names_run_dir(override):
            raise UserError(f"{key} is for one run; a sweep gives each job its own directory in hydra.sweep.dir.")
        if key == "hydra.sweep.subdir" and "${" not in str(override.value()):
            raise UserError(
                f"{override.input_line} would give all jobs one directory; name in it what they vary, such as "
                "'seed-${seed}'."
            )


def _make(run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        _end(f"Run directory {shown(run_dir)} cannot be created ({reason}); set run_dir=DIRECTORY.")


def _end(sentence: object) -> NoReturn:
    """Print a sentence and end the command; Hydra would turn an exception into a warning."""
    say(sentence)
    raise SystemExit(UserError.exit_code)
