"""Training on the devices of a run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback

from genreclf.config.config import Config
from genreclf.devices import device_errors
from genreclf.errors import UserError
from genreclf.experiment.setup import Prepared
from genreclf.experiment.trainer import trainer_of
from genreclf.run_directory import RunDirectory, reason_of
from genreclf.training.callbacks import (
    BestCheckpoint,
    EpochProgress,
    EpochSeed,
    History,
    LastingEarlyStopping,
    LogEpoch,
    RankGuard,
    RunCheckpoint,
    StopWhenDiverged,
)
from genreclf.training.ema import EMA
from genreclf.training.loggers import Tracking
from genreclf.training.turns import Turns


def fit(config: Config, run: RunDirectory, prepared: Prepared, tracking: Tracking, turns: Turns | None = None) -> None:
    """Train, from the last epoch that a killed run finished, in a turn of `turns` if beside others."""
    data = prepared.data
    settings, stopping = config.trainer, config.early_stopping
    clips = len(data.tables["train"]) * config.clips.crops_per_track
    # Without one, Lightning keeps the last epoch.
    monitor = stopping.monitor if prepared.split.val else None
    history = History(run, clips)
    callbacks: list[Callback] = [
        LogEpoch(),
        RankGuard(run, config.hash),
        EpochSeed(config.seed),
        StopWhenDiverged(),
        history,
        BestCheckpoint(run, filename="best", monitor=monitor, mode=stopping.mode, ties=stopping.ties),
        RunCheckpoint(run, filename="last", save_on_train_epoch_end=True),
    ]
    if monitor is not None and stopping.patience is not None:
        callbacks.append(LastingEarlyStopping(monitor, mode=stopping.mode, patience=stopping.patience))
    if config.regularization.ema is not None:
        callbacks.append(EMA(decay=config.regularization.ema))
    shows_progress = is_first_rank() and settings.others.get("enable_progress_bar") is not False
    if turns is not None:
        callbacks.append(turns)
        shows_progress &= turns.shows_progress
    if shows_progress:
        # Times a second: Lightning's 100 take a tenth of the core that starts the steps, a terminal given.
        callbacks.append(EpochProgress(refresh_rate=10))
    precision = run.read_json(run.environment)["precision"]
    trainer = trainer_of(
        config,
        fits=True,
        precision=precision,
        callbacks=callbacks,
        logger=tracking.loggers or False,
        enable_progress_bar=shows_progress,
    )
    resume = run.last if run.last.exists() else None
    if settings.compile is not None:
        prepared.model.compile_training(settings.compile)
    prepared.model.records_steps = settings.step == "graph"
    way_out = f"lower data.batch_size={config.clips.batch_size}"
    if precision.startswith("32"):
        way_out += ", or set trainer.precision=bf16-mixed or 16-mixed"
    with _named_if_unfit(resume, history), device_errors(way_out):
        trainer.fit(prepared.model, datamodule=data, ckpt_path=resume, weights_only=True)
    # There is none of a development run, or where no epoch was validated. All ranks save together.
    for missing in trainer.strategy.broadcast([path for path in (run.best, run.last) if not path.exists()]):
        trainer.save_checkpoint(missing)
    if is_first_rank():
        run.write_json(run.metrics, {**run.read_metrics(), "fitted": True})


@contextmanager
def _named_if_unfit(resume: Path | None, history: History) -> Iterator[None]:
    """Turn what goes wrong before training starts from a checkpoint into a sentence that names the checkpoint.

    Raises:
        UserError: It is not one of this training.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise UserError(f"Lightning refuses the training: {reason_of(str(error))}") from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if resume is None or history.has_started:
            raise
        raise UserError(
            f"The checkpoint {resume} is not one of this training; put a copy in its place or delete "
            f"{resume.parent.parent} and train again."
        ) from error


def is_first_rank() -> bool:
    """Whether this process is the first rank, the one that writes."""
    return os.environ.get("RANK", "0") == "0"
