"""One job of a sweep: skipped if it is finished, else computed apart; what became of it is written down."""

import json
import math
import signal
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from genreclf.errors import TERMINATED, UserError
from genreclf.escaping import say
from genreclf.run_directory import RunBusy, RunDirectory, atomic_write_text, reason_of
from genreclf.sweep.process import SERVER_DIED, compute_apart, warm_up

CRASHED = 1
"""Exit code of a job that ended with an error of the program."""

NO_WORD = "it ended without a word, as when it is canceled or the disk is full."
"""The reason of a job that could not give one."""


class JobFailed(UserError):
    """A job of a sweep failed; the message says why."""

    exit_code = CRASHED


class Job:
    """A job and its record, ``job.json`` in its run directory.

    Args:
        run_dir: Its run directory.
        sweep_dir: The sweep's.
        number: Its number in this call of the sweep, from 0.
        overrides: All that is set for it.
        fixed: Keys that all jobs of the sweep share.
    """

    def __init__(
        self, *, run_dir: Path, sweep_dir: Path, number: int, overrides: Sequence[str], fixed: Sequence[str]
    ) -> None:
        """Keep them; nothing is written."""
        self.run = RunDirectory(run_dir)
        self.sweep_dir = sweep_dir
        self.number = number
        self.overrides = list(overrides)
        self.record: dict[str, Any] = {}
        words = (override.lstrip("+~").partition("=") for override in overrides)
        self.varies = {key: value for key, _, value in words if key not in fixed}

    @property
    def name(self) -> str:
        """What a person calls it."""
        varied = ", ".join(f"{key}={value}" for key, value in self.varies.items())
        return f"Job {self.number} ({varied})" if varied else f"Job {self.number}"

    def carry_out(self, composed: DictConfig, *, logged: bool, apart: bool = True) -> float:
        """Check the configuration and compute the run, unless it is finished.

        Args:
            composed: What Hydra composed.
            logged: Whether its output goes to ``job.log`` in its directory, as others print at the same time.
            apart: Compute it in a process of its own; not where this process is the first of its ranks.

        Returns:
            The objective.

        Raises:
            JobFailed: It failed; its record says why.
        """
        started_s = time.perf_counter()
        self._open_record()
        done = self._is_finished()
        if not done:
            self._record(exit_code=None, reason=None, wall_s=None)
            if apart:
                warm_up()  # It imports PyTorch while this process does so to check the configuration.
        try:
            code, objective = self._compute(composed, logged, apart)
            reason = None if code == 0 else self.run.reason or NO_WORD
        except Exception as error:  # Whatever it is, it costs this job only.
            code = error.exit_code if isinstance(error, UserError) else CRASHED
            objective, reason = None, reason_of(error)
            if composed.debug is True or not isinstance(error, UserError):
                traceback.print_exception(error)
            if not done and not isinstance(error, RunBusy):
                self.run.record_failure(error)
        if not done:
            self._record(wall_s=round(time.perf_counter() - started_s, 3))
        self._record(exit_code=code, reason=reason)
        if objective is None:
            say(f"{self.name} failed: {reason}")
            raise JobFailed(str(reason))
        if logged and not done:
            right = f"{100 * objective:.1f} % of the validation tracks right"
            print(f"{self.name} is finished, with {'no validation tracks' if math.isnan(objective) else right}.")
        return objective

    def _compute(self, composed: DictConfig, logged: bool, apart: bool) -> tuple[int, float | None]:
        from genreclf.config.config import Config

        config = Config.from_hydra(composed, run_dir=str(self.run.path), overrides=self.overrides)
        if config.logger.group is None:
            config.logger.group = config.plain["logger"]["group"] = self.sweep_dir.name
        from genreclf.experiment.run import RunResult, finished, run

        if not apart:
            return 0, run(config).objective
        if done := finished(config):
            return 0, done.objective
        print(f"{self.name} {'goes on' if self.run.last.exists() else 'starts'} in {self.run.path}")
        code = compute_apart(config.plain, self.run.path / "job.log" if logged else None)
        if code == 0:
            return code, RunResult(self.run, self.run.read_metrics()).objective
        if code == RunBusy.exit_code:
            raise RunBusy(self.run.path)
        if code < 0 or code in (SERVER_DIED, TERMINATED):
            self.run.record_failure(_death(code))
        return code, None

    def _is_finished(self) -> bool:
        try:
            return self.run.status == "finished"
        except UserError:
            return False

    def _open_record(self) -> None:
        """Begin with what an earlier call of the sweep left: a finished job keeps its time."""
        call = read_object(self.sweep_dir / "sweep.json").get("call")
        before = read_object(self.run.path / "job.json")
        self.record = {**before, "overrides": self.overrides, "varies": self.varies, "call": call}

    def _record(self, **news: Any) -> None:
        self.record |= news
        with suppress(OSError):  # A full disk: the summary says that there is no word.
            atomic_write_text(self.run.path / "job.json", json.dumps(self.record, indent=2) + "\n")


def read_object(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds, nothing if it is missing or damaged."""
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def _death(code: int) -> str:
    if code == SERVER_DIED:
        return "The process that jobs are forked from died, as when memory runs out; the same command goes on."
    name = signal.SIGTERM.name if code == TERMINATED else signal.Signals(-code).name
    memory = ", as when memory runs out" if -code == signal.SIGKILL else ""
    return f"It was killed by {name}{memory}; the same command goes on from the last epoch."
