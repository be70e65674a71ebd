"""Carry out a run: prepare, write the configuration, fit, test, report.

A run is a generator of the type `RunSteps`, which yields before each step: `finish` goes through all steps of one run,
and `genreclf.experiment.together` through the steps of several runs.
"""

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from genreclf.config.config import Config
from genreclf.config.identity import difference
from genreclf.data.store import SAMPLE_BYTES
from genreclf.distributed.external_ranks import ExternalRanks, adopt_slurm, external_ranks, ranks_here
from genreclf.distributed.launch import RankDied, launch
from genreclf.errors import Terminated, TrainingDiverged, UserError, terminated_by_sigterm
from genreclf.escaping import say
from genreclf.evaluation.metrics import get_metric
from genreclf.evaluation.provenance import marks_of
from genreclf.experiment.fit import is_first_rank
from genreclf.experiment.introduction import introduce
from genreclf.experiment.lineage import check_resumed
from genreclf.experiment.sharing import ALONE, Sharing
from genreclf.experiment.tasks import TASKS, compute
from genreclf.experiment.trainer import device_count
from genreclf.hardware import describe_devices, environment, resolve_accelerator, resolve_precision
from genreclf.reports.run import answer, summary_table
from genreclf.run_directory import RunDirectory, sentence_when_full

Result = TypeVar("Result")


@dataclass(frozen=True)
class RunResult:
    """Result of a finished run."""

    run: RunDirectory
    """Files of the run."""
    metrics: dict[str, Any]
    """Content of ``metrics.json``."""

    def __repr__(self) -> str:
        leaky = ["LEAKY"] * bool(get_metric(self.metrics, "split.leaky"))
        marks = "".join(f", {mark}" for mark in (*leaky, *marks_of(self.metrics)))
        return f"<RunResult in {self.path}{marks}: {answer(self.metrics).rstrip('.')}>"

    @property
    def path(self) -> Path:
        """Path of the run directory."""
        return self.run.path

    @property
    def accuracy(self) -> float:
        """Accuracy on the test tracks."""
        return float(self.metrics["test"]["track"]["accuracy"])

    @property
    def objective(self) -> float:
        """Accuracy on the validation tracks, which sweepers maximize; NaN if there are no validation tracks.

        Raises:
            UserError: The metrics of the run are damaged.
        """
        if "objective" not in self.metrics:
            raise UserError(f"{self.run.metrics} is damaged: it has no objective.")
        objective = self.metrics["objective"]
        return float("nan") if objective is None else float(objective)


RunSteps = Generator[str, None, RunResult]
"""A run as a generator, which yields the name of each step before carrying it out, and returns the result.

The steps are ``fit`` (skipped if the model is already trained), ``test`` and ``report``.
"""


def finish(steps: Generator[str, None, Result]) -> Result:
    """Carry out all remaining steps of a generator such as `RunSteps`, and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def run(config: Config) -> RunResult:
    """Train and test a model and write the report, in the run directory of the configuration.

    An interrupted run is resumed, and a finished run is left as it is.

    Raises:
        UserError: Something fails that the user can correct; the message says how.
    """
    return _with_all_ranks(config, lambda config, ranks: finish(steps(config, ranks)))


def finished(config: Config) -> RunResult | None:
    """Return the result in the run directory of a configuration; None if its run is not finished.

    Raises:
        UserError: The run directory holds another experiment.
    """
    run = RunDirectory(config.run_dir)
    if run.status is None or (run.status == "failed" and not run.config.exists()):
        return None
    if differing := difference(run.read_config(), config.plain):
        raise UserError(f"{run.path} holds another experiment ({differing}); set another run_dir.")
    if run.status != "finished":
        return None
    say(f"{run.path} is finished and left as it is.", sys.stdout)
    return RunResult(run, run.read_metrics())


def carry_out(task: str, config: Config) -> RunResult:
    """Carry out a task in the run directory of the configuration, on all its ranks, and print the result.

    Args:
        task: Name of the task, a key of `genreclf.experiment.tasks.TASKS`.
        config: Configuration of the run.
    """
    return _with_all_ranks(config, lambda config, ranks: finish(_carry_out(task, config, ranks)))


def take_part(task: str, run_dir: str) -> None:
    """Carry out this rank's share of a task that the first process of the run has prepared.

    Args:
        task: Name of the task, a key of `genreclf.experiment.tasks.TASKS`.
        run_dir: Run directory.
    """
    config = Config.from_plain({**RunDirectory(run_dir).read_config(), "run_dir": run_dir})
    finish(compute(task, config, TASKS[task].prepare(config, ALONE.load), ALONE))


def _with_all_ranks(config: Config, lead: Callable[[Config, ExternalRanks | None], RunResult]) -> RunResult:
    """Call `lead` to carry out the run; of ranks started by torchrun or srun, the first calls it, the others join."""
    started = external_ranks()
    devices = device_count(config)
    if started == 1:
        with terminated_by_sigterm():
            return lead(config, None)
    adopt_slurm()
    if devices != started:
        sentence = f"{started} ranks were started, but trainer.devices={devices}; set trainer.devices={started}."
        raise UserError(sentence if is_first_rank() else "")
    strategy = config.trainer.others.get("strategy")
    backend = strategy.get("process_group_backend") if isinstance(strategy, dict) else None
    accelerator = resolve_accelerator(config.trainer.accelerator, ranks_here(started))
    with ExternalRanks(accelerator, backend or "nccl") as ranks:
        _compare(ranks.gather(config), ranks.rank)
        if ranks.rank == 0:
            try:
                result = lead(config, ranks)
            except Exception:  # The other ranks wait for a message; the error is raised again.
                if not ranks.sent:
                    ranks.broadcast(None)
                raise
            ranks.broadcast(result)
            return result
        while not isinstance(word := ranks.receive(), RunResult):
            if word is None:
                raise UserError("")  # The first rank prints the reason.
            try:
                take_part(*word)
            except Exception as error:  # The error is raised again.
                RunDirectory(word[1]).record_failure(error, unless_known=True)
                raise
        return word


def _compare(configs: Sequence[Config], rank: int) -> None:
    """Raise a `UserError` on every rank, with a message on the first, if the ranks have different experiments."""
    for number, other in enumerate(configs):
        if differing := difference(configs[0].plain, other.plain, "at rank 0", f"at rank {number}"):
            sentence = f"The ranks were started for different experiments ({differing}); give all of them one command."
            raise UserError("" if rank else sentence)


def steps(config: Config, ranks: ExternalRanks | None = None, sharing: Sharing = ALONE) -> RunSteps:
    """Go through the steps of `run`.

    Args:
        config: Configuration of the run.
        ranks: Ranks started by torchrun or srun; None if this process was started alone.
        sharing: How the run shares data and the device with other runs in this process.
    """
    return finished(config) or (yield from _carry_out("train", config, ranks, sharing))


def _carry_out(task: str, config: Config, ranks: ExternalRanks | None, sharing: Sharing = ALONE) -> RunSteps:
    run = RunDirectory(config.run_dir)
    repeats = task == "evaluate" and run.status == "finished"
    devices = device_count(config)
    if ranks is None:
        choose_device(config)
    accelerator = resolve_accelerator(config.trainer.accelerator, ranks_here(devices))
    precision = resolve_precision(config.trainer.precision, accelerator)
    asked, used = config.trainer.accelerator, precision if task == "train" else "32-true"
    say(describe_devices(asked, accelerator, devices, used), sys.stdout)
    started_s = time.perf_counter()
    prepared = TASKS[task].prepare(config, sharing.load)
    prepared.data.store.check(SAMPLE_BYTES if prepared.data.streams else None)
    for notice in prepared.warnings:
        say(f"Note: {notice}", sys.stdout)
    run.make()
    with run.held(), sentence_when_full(run.path):
        if not repeats and (done := finished(config)):  # Another process finished it while this one waited.
            return done
        if task == "train":
            check_resumed(run, prepared.split_record)
        if task == "train" and prepared.start is not None and not run.last.exists():
            prepared.start.bring_to(run)
        for line in introduce(task, config, run, prepared):
            say(line, sys.stdout)
        run.write_config(config.plain)
        run.write_json(run.split, prepared.split_record)
        run.write_json(run.environment, environment(accelerator, devices, precision))
        before = run.read_metrics() if run.status else {}
        known = before.get("timing")
        timing = known if isinstance(known, dict) else {}
        timing["prepare_s"] = round(time.perf_counter() - started_s, 3)
        before.pop("reason", None)
        run.write_json(run.metrics, {**before, **prepared.provenance, "status": "running", "timing": timing})
        try:
            if devices > 1 and ranks is None:
                launch(task, run.path, ranks=devices)
            else:
                if ranks is not None:
                    ranks.broadcast((task, str(run.path)))
                yield from compute(task, config, prepared, sharing)
        except (KeyboardInterrupt, Terminated) as end:
            _record_interruption(run)
            raise type(end)(f"Run the same command with run_dir={run.path} to continue.") from None
        except GeneratorExit:  # Another run in this process was interrupted.
            _record_interruption(run)
            raise
        except Exception as error:  # The error is raised again; a killed run stays "running".
            if ranks is not None and not isinstance(error, TrainingDiverged) and (reason := run.reason):
                lost = RankDied(f"Another rank of {run.path} failed ({reason}); run the same command to continue.")
                run.record_failure(lost)
                raise lost from error
            run.record_failure(error)
            if str(error) and str(run.path) not in str(error):
                error.add_note(f"The run directory is {run.path}.")
            raise
    metrics = run.read_metrics()
    _show(run, metrics)
    return RunResult(run, metrics)


def _record_interruption(run: RunDirectory) -> None:
    with suppress(OSError, UserError):
        run.write_json(run.metrics, {**run.read_metrics(), "status": "interrupted"})


def choose_device(config: Config) -> None:
    """Make this thread compute on the first GPU that ``trainer.devices`` lists, if it is a list."""
    if isinstance(config.trainer.devices, list):
        torch.cuda.set_device(config.trainer.devices[0])


def _show(run: RunDirectory, metrics: dict[str, Any]) -> None:
    """Print the summary, and the path of the report at the end."""
    from rich.console import Console

    Console().print(summary_table(metrics))
    say(f"Report: {run.report}", sys.stdout)
