"""Steps that each rank takes to train or test a run after its configuration is checked."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.errors import Terminated
from genreclf.evaluation.provenance import marks_of
from genreclf.experiment.build import make_loggers
from genreclf.experiment.corpus import Load
from genreclf.experiment.evaluate import test
from genreclf.experiment.fit import fit, is_first_rank
from genreclf.experiment.setup import Prepared, prepare, prepare_ensemble, prepare_evaluation
from genreclf.experiment.sharing import Sharing
from genreclf.run_directory import RunDirectory
from genreclf.training.artifacts import local_run, source_of
from genreclf.training.loggers import PatientWandbLogger
from genreclf.training.tracking import Tracking

RankSteps = Generator[str, None, None]
"""Steps of one rank in a task: a generator that yields the name of each step before taking it."""


def compute(task: str, config: Config, prepared: Prepared, sharing: Sharing) -> RankSteps:
    """Do this rank's share of a task.

    Raises:
        KeyboardInterrupt: The task was interrupted, as by Ctrl-C.
        Terminated: The process was told to end by SIGTERM.
    """
    try:
        yield from TASKS[task].compute(config, prepared, sharing)
    except SIGTERMException:
        raise Terminated from None
    except SystemExit:  # Lightning's answer to Ctrl-C.
        raise KeyboardInterrupt from None


def train(config: Config, prepared: Prepared, sharing: Sharing) -> RankSteps:
    """Do one rank's share of fitting and testing, as one step each; the first rank writes the report."""
    run = RunDirectory(config.run_dir)
    with _tracking(config, run, prepared, "train", sharing) as tracking:
        if not run.read_metrics().get("fitted"):
            _add_inputs(config, run, prepared, tracking)
            if prepared.data.spec.kind == "log_mel":
                tracking.add_pictures(lambda: [_genre_map(run, prepared)])
            yield "fit"
            fit(config, run, prepared, tracking, sharing.device)
        yield from test(config, run, run, prepared, tracking, sharing.draw)


def test_alone(task: str, config: Config, prepared: Prepared, sharing: Sharing) -> RankSteps:
    """Do one rank's share of testing the run named by ``init_from`` or, without one, the run directory itself."""
    run = RunDirectory(config.run_dir)
    trained = run if config.init_from is None else local_run(config.init_from)
    with _tracking(config, run, prepared, task, sharing) as tracking:
        _add_inputs(config, run, prepared, tracking)
        yield from test(config, run, trained, prepared, tracking, sharing.draw)


def record_again(config: Config) -> None:
    """Report a finished run to W&B again, because a W&B sweep has chosen the same settings once more."""
    run = RunDirectory(config.run_dir)
    metrics = run.read_metrics()
    split = metrics["split"]
    ours = replace(config, logger=_wandb_loggers(config))
    given = {"config": config.plain, "beside_others": len(ours.logger) > 1}
    tags = _tags(config, split["name"], split["leaky"], metrics)
    with Tracking(make_loggers(ours, given, tags=tags)) as tracking:
        for row in run.read_history():
            for logger in tracking.loggers:
                logger.log_metrics(row, step=int(row["epoch"]))
        tracking.finish(run, metrics, None, None)


class Task(NamedTuple):
    """Kind of run, as two functions: `prepare` builds the data and the model, and `compute` trains or tests."""

    prepare: Callable[[Config, Load], Prepared]
    compute: Callable[[Config, Prepared, Sharing], RankSteps]


TASKS = {
    "train": Task(prepare, train),
    "evaluate": Task(prepare_evaluation, partial(test_alone, "evaluate")),
    "ensemble": Task(prepare_ensemble, partial(test_alone, "ensemble")),
}
"""Kinds of runs by name."""


def _add_inputs(config: Config, run: RunDirectory, prepared: Prepared, tracking: Tracking) -> None:
    source = None if config.init_from is None else source_of(local_run(config.init_from))
    tracking.add_inputs(prepared.split_record["dataset"], prepared.data.genre_of, run, source)


def _genre_map(run: RunDirectory, prepared: Prepared) -> Path:
    """Draw a spectrogram of each genre into the run directory."""
    from genreclf.plots.spectrograms import draw_genre_map

    data = prepared.data
    draw_genre_map(run.figures / "genres.png", data.store, data.genre_of, data.spec, run.path.resolve().name)
    return run.figures / "genres.png"


def _tracking(config: Config, run: RunDirectory, prepared: Prepared, job_type: str, sharing: Sharing) -> Tracking:
    if not is_first_rank():  # Callbacks that log need a logger on every rank.
        return Tracking([DummyLogger()] if config.logger else [])
    beside_others = sharing.device is not None or len(_wandb_loggers(config)) > 1
    given = {"config": config.plain, "job_type": job_type, "beside_others": beside_others}
    split = prepared.split
    return Tracking(make_loggers(config, given, tags=_tags(config, split.name, split.leaky, prepared.provenance)))


def _wandb_loggers(config: Config) -> dict[str, Any]:
    """Return the sections of the loggers that record a run in W&B, by name."""
    kinds = {name: instantiate.find(f"logger.{name}", node, []) for name, node in config.logger.items()}
    return {name: config.logger[name] for name, kind in kinds.items() if kind is PatientWandbLogger}


def _tags(config: Config, split: str, leaky: bool, metrics: Mapping[str, Any]) -> list[str]:
    """Return the W&B tags of a run: its model, its split, and marks without which its results would mislead."""
    return [config.model["_target_"].rpartition(".")[2], split, *["LEAKY"] * leaky, *marks_of(metrics)]
