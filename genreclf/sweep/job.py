"""Run one job of a sweep in a separate process unless it is already finished, and record its outcome."""

import json
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hydra.conf import HydraConf
from omegaconf import DictConfig

from genreclf.config.overrides import typed_overrides
from genreclf.distributed.gpus import least_used_gpus
from genreclf.errors import TERMINATED, UserError
from genreclf.escaping import say
from genreclf.run_directory import RunBusy, RunDirectory, atomic_write_text, reason_of
from genreclf.sweep.process import CRASHED, SERVER_DIED, compute_in_new_process, warm_up

if TYPE_CHECKING:  # genreclf.config.config imports PyTorch.
    from genreclf.config.config import Config

NO_WORD = "it ended without a word, as when it is canceled or the disk is full."
"""Reason given for the failure of a job that could not record one itself."""


class JobFailed(UserError):
    """Raised when a job of a sweep has failed; the message says why."""

    exit_code = CRASHED


class Job:
    """One job of a sweep, which carries out a run and records its outcome in ``job.json`` of the run directory.

    Args:
        run_dir: Run directory of the job.
        sweep_dir: Directory of the sweep.
        number: Number of the job in this call of the sweep command, counted from 0.
        overrides: All overrides of the job, including those that other jobs share.
        fixed: Keys that the command sets to the same value for all jobs of the sweep.
    """

    def __init__(
        self, *, run_dir: Path, sweep_dir: Path, number: int, overrides: Sequence[str], fixed: Sequence[str]
    ) -> None:
        self.run = RunDirectory(run_dir)
        self.sweep_dir = sweep_dir
        self.number = number
        self.overrides = list(overrides)
        self.record: dict[str, Any] = {}
        self.objective: float | None = None
        """Objective of the run: None until the run is finished, nan without validation tracks."""
        self._was_finished = self._debug = False
        words = (override.lstrip("+~").partition("=") for override in overrides)
        self.varies = {key: value for key, _, value in words if key not in fixed}

    @classmethod
    def of(cls, settings: HydraConf) -> Self:
        """Return the job that Hydra is about to start."""
        return cls(
            run_dir=Path(settings.runtime.output_dir),
            sweep_dir=Path(settings.sweep.dir),
            number=settings.job.num,
            overrides=typed_overrides(settings),
            fixed=list(settings.callbacks["sweep"].fixed),
        )

    @property
    def name(self) -> str:
        """Name of the job for messages: its number and the settings that it varies."""
        varied = ", ".join(f"{key}={value}" for key, value in self.varies.items())
        return f"Job {self.number} ({varied})" if varied else f"Job {self.number}"

    def carry_out(
        self, composed: DictConfig, *, logged: bool, in_new_process: bool = True, shares_machine: bool = False
    ) -> None:
        """Check the configuration and compute the run, unless it is finished.

        Args:
            composed: Configuration of the job, as composed by Hydra.
            logged: Whether to write the output of the job to ``job.log`` in its run directory, since other jobs may
                print at the same time.
            in_new_process: Whether to compute the run in a new process; False if this process is already one of its
                ranks.
            shares_machine: Whether other jobs run on this machine at the same time; the jobs then divide its GPUs.
        """
        started_s = time.perf_counter()
        was_finished = self.open()
        if in_new_process and not was_finished:
            warm_up()  # The server imports PyTorch while this process does so to check the configuration.
        code: int | Exception = 0
        try:
            config = self.check(composed)
            from genreclf.experiment.run import finished, run
            from genreclf.experiment.trainer import device_count

            if not in_new_process:
                run(config)
            elif not finished(config):
                divides = shares_machine and config.trainer.accelerator in ("auto", "gpu")
                divides &= not isinstance(config.trainer.devices, list)  # The user has chosen the GPUs.
                shared = least_used_gpus(self.sweep_dir, device_count(config)) if divides else nullcontext(())
                with shared as gpus:
                    self.say_start(config, gpus)
                    code = compute_in_new_process(config.plain, self.run.path / "job.log" if logged else None)
        except Exception as error:  # Any error fails only this job, not the sweep.
            code = error
        self.close(code, time.perf_counter() - started_s)
        if logged and not was_finished and (objective := self.objective) is not None:
            right = f"{100 * objective:.1f} % of the validation tracks right"
            print(f"{self.name} is finished, with {'no validation tracks' if math.isnan(objective) else right}.")

    def open(self) -> bool:
        """Begin the record of the job from that of an earlier call of the sweep; a finished job keeps its time.

        Returns:
            Whether the run is already finished.
        """
        call = read_object(self.sweep_dir / "sweep.json").get("call")
        before = read_object(self.run.path / "job.json")
        self.record = {**before, "overrides": self.overrides, "varies": self.varies, "call": call}
        with suppress(UserError):
            self._was_finished = self.run.status == "finished"
        if not self._was_finished:
            self._record(exit_code=None, reason=None, wall_s=None)
        return self._was_finished

    def check(self, composed: DictConfig) -> "Config":
        """Return the checked configuration of the run.

        Raises:
            UserError: The configuration has mistakes; the message lists all of them, one sentence each.
        """
        from genreclf.config.config import Config

        self._debug = composed.debug is True
        composed.run_dir = None  # A configuration that repeats a run has the directory of that run.
        config = Config.from_hydra(composed, run_dir=str(self.run.path), overrides=self.overrides)
        for node in config.logger.values():
            if node.get("group", "") is None:
                node["group"] = self.sweep_dir.name
        return config

    def say_start(self, config: "Config", gpus: Sequence[str] = ()) -> None:
        """Print where the run starts or continues, on which GPUs if they were assigned to it, and its warnings."""
        on = f", on GPU {', '.join(gpus)}" if gpus else ""
        print(f"{self.name} {'continues' if self.run.last.exists() else 'starts'} in {self.run.path}{on}")
        for warning in config.warnings:
            print(f"{self.name}: {warning}")

    def close(self, outcome: int | Exception, wall_s: float = 0.0) -> None:
        """Record the outcome of the job, and print why it failed.

        Args:
            outcome: Exit code of the process of the job, or the exception raised in this process.
            wall_s: Wall-clock time of the job in seconds.
        """
        try:
            code, reason = self._explain(outcome)
        except Exception as error:
            code = error.exit_code if isinstance(error, UserError) else CRASHED
            reason = reason_of(error)
            if self._debug or not isinstance(error, UserError):
                traceback.print_exception(error)
            if not self._was_finished and not isinstance(error, RunBusy):
                self.run.record_failure(error)
        if not self._was_finished:
            self._record(wall_s=round(wall_s, 3))
        self._record(exit_code=code, reason=reason)
        if reason is not None:
            say(f"{self.name} {'is skipped' if code == RunBusy.exit_code else 'failed'}: {reason}")

    def _explain(self, outcome: int | Exception) -> tuple[int, str | None]:
        """Return the exit code and the reason of a failure (None without a failure); store the objective of the run."""
        if isinstance(outcome, Exception):
            raise outcome
        if outcome == 0:
            from genreclf.experiment.run import RunResult

            self.objective = RunResult(self.run, self.run.read_metrics()).objective
            return outcome, None
        if outcome == RunBusy.exit_code:
            raise RunBusy(self.run.path)
        if outcome < 0 or outcome in (SERVER_DIED, TERMINATED):
            self.run.record_failure(_death(outcome))
        return outcome, self.run.reason or NO_WORD

    def result(self, *, searched: bool) -> float:
        """Return the objective of the run; nan if the job failed and is not part of a search.

        Args:
            searched: Whether the job is part of a search.

        Raises:
            JobFailed: The job is part of a search, and failed or has no validation tracks.
        """
        if not searched:
            return float("nan") if self.objective is None else self.objective
        if self.objective is None:
            raise JobFailed(str(self.record["reason"]))
        if math.isnan(self.objective):
            sentence = "a search needs validation tracks to choose by, and this split has none."
            print(f"{self.name}: {sentence}", file=sys.stderr)
            raise JobFailed("no validation tracks")
        return self.objective

    def _record(self, **news: Any) -> None:
        self.record |= news
        with suppress(OSError):  # If the disk is full, the summary gives the reason `NO_WORD`.
            atomic_write_text(self.run.path / "job.json", json.dumps(self.record, indent=2) + "\n")


def job_folders(sweep_dir: Path) -> list[Path]:
    """Return the run directories of the jobs of a sweep, at any depth and sorted, but not of a sweep within it."""
    folders = []
    visited: set[str] = set()
    for folder, inner, files in os.walk(sweep_dir, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited or ("sweep.json" in files and Path(folder) != sweep_dir):
            inner.clear()
        elif "job.json" in files:
            folders.append(Path(folder))
        visited.add(real)
    return sorted(folders)


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if the file is missing or damaged."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def _death(code: int) -> str:
    if code == SERVER_DIED:
        return "The process that starts the jobs died, possibly out of memory; run the same command again to continue."
    name = signal.SIGTERM.name if code == TERMINATED else signal.Signals(-code).name
    memory = ", possibly out of memory" if -code == signal.SIGKILL else ""
    return f"It was killed by {name}{memory}; run the same command again to continue from the last epoch."
