"""Train the model of a run."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar

from genreclf.config.config import Config
from genreclf.devices import device_errors
from genreclf.errors import UserError
from genreclf.escaping import say
from genreclf.experiment.build import make_callbacks
from genreclf.experiment.setup import Prepared
from genreclf.experiment.trainer import trainer_of
from genreclf.run_directory import RunDirectory, reason_of
from genreclf.training.best_epoch import BestCheckpoint, RunCheckpoint
from genreclf.training.callbacks import EpochSeed, History, LogEpoch, RankGuard, StopWhenDiverged
from genreclf.training.csv_log import CSVContinuation
from genreclf.training.shared_device import SharedDevice
from genreclf.training.tracking import Tracking


def fit(
    config: Config, run: RunDirectory, prepared: Prepared, tracking: Tracking, shared: SharedDevice | None = None
) -> None:
    """Train the model, continuing from the last checkpoint if the run directory has one.

    Args:
        config: Configuration of the run.
        run: Run directory, which receives history, checkpoints and metrics.
        prepared: Data and model of the run.
        tracking: Loggers of the run.
        shared: Callback with which several trainings share one device; None if the device is not shared.

    Raises:
        UserError: Lightning refuses the training, a file of the training cannot be read or written at its start, the
            checkpoint does not fit, a batch is too small for batch normalization, the device fails or runs out of
            memory, no training step was done, or a refit ended early.
    """
    data = prepared.data
    settings = config.trainer
    history = History(run, len(data.tables["train"]) * config.clips.crops_per_track, config.clips.batch_size)
    has_steps = not prepared.model.fits_at_once
    chosen = make_callbacks(config, validates=bool(prepared.split.val), has_steps=has_steps)
    if shared is not None:
        chosen = [*(each for each in chosen if shared.shows_progress or not isinstance(each, ProgressBar)), shared]
    precision = run.read_json(run.environment)["precision"]
    trainer = trainer_of(
        config,
        fits=True,
        precision=precision,
        callbacks=[
            LogEpoch(),
            RankGuard(run, config.hash),
            EpochSeed(config.seed),
            StopWhenDiverged(),
            history,
            CSVContinuation(),
            *chosen,
            RunCheckpoint(filename="last", save_on_train_epoch_end=True),
        ],
        logger=tracking.loggers or False,
        enable_progress_bar=any(isinstance(each, ProgressBar) for each in chosen),
    )
    resume = run.last if run.last.exists() else None
    if settings.compile is not None:
        prepared.model.compile_training(settings.compile)
    prepared.model.records_steps = settings.step == "graph"
    way_out = f"lower data.batch_size={config.clips.batch_size}"
    if precision.startswith("32"):
        way_out += ", or set trainer.precision=bf16-mixed or 16-mixed"
    started_s = time.perf_counter()
    with _named_if_unfit(resume, history), device_errors(way_out):
        trainer.fit(prepared.model, datamodule=data, ckpt_path=resume, weights_only=True)
    if trainer.fit_loop.total_batch_idx < 0 and has_steps:
        raise UserError("No step was trained: set a larger trainer.max_time.")
    is_whole = trainer.current_epoch == trainer.max_epochs and trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
    if config.refit is not None and has_steps and not is_whole:
        raise UserError(
            f"The refit ended before the {trainer.max_epochs} epochs that {config.refit} chose, as by a callback that "
            "stops the training: leave that callback out, and set another run_dir."
        )
    # A development run, or one in which no epoch was validated, lacks checkpoints. All ranks must save together.
    missing = trainer.strategy.broadcast([path for path in (run.best, run.last) if not path.exists()])
    has_epochs = has_steps and not config.trainer.others.get("fast_dev_run")
    if run.best in missing and prepared.split.val and is_first_rank() and has_epochs:
        say("Note: no epoch was validated, so the last one is tested.")
    for path in missing:
        trainer.save_checkpoint(path)
    if is_first_rank():
        tested = next((each for each in chosen if isinstance(each, BestCheckpoint)), RunCheckpoint(filename="best"))
        tested.best_model_path = str(run.best.absolute())
        for logger in tracking.loggers:  # A logger such as MLflow's stores the checkpoints of the last callback it got.
            logger.after_save_checkpoint(tested)
        metrics = run.read_metrics()
        if not has_steps:
            metrics["timing"]["fit_s"] = round(time.perf_counter() - started_s, 3)
        for callback in chosen:
            metrics |= getattr(callback, "energy_record", {})  # Set by `EnergyMeter`, whose packages may be missing.
        run.write_json(run.metrics, {**metrics, "fitted": True})


@contextmanager
def _named_if_unfit(resume: Path | None, history: History) -> Iterator[None]:
    """Turn errors of a training that the user can mend into a `UserError` that explains them.

    Errors of files and of the checkpoint are converted only until the training has started. What Lightning refuses, a
    missing package, a batch that is too small and a monitored metric that is missing are converted at any time.

    Args:
        resume: Checkpoint from which training continues, if any; the message names it if it does not fit.
        history: Callback that knows whether training has started.
    """
    try:
        yield
    except (MisconfigurationException, ModuleNotFoundError) as error:
        raise UserError(f"Lightning refuses the training: {reason_of(str(error))}") from error
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if history.has_started:
            raise
        raise UserError(f"The training cannot start: {reason_of(str(error))}") from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if "more than 1 value per channel" in str(error):
            raise UserError(
                "Batch normalization needs two clips of a step or more: set a larger data.batch_size, twice "
                "trainer.devices where trainer.sync_batchnorm=false."
            ) from error
        if str(error).startswith("Early stopping conditioned on metric"):  # The monitored metric is not logged.
            raise UserError(f"Lightning refuses the training: {reason_of(str(error))}.") from error
        if resume is None or history.has_started:
            raise
        raise UserError(
            f"The checkpoint {resume} is not one of this training; put a copy in its place or delete "
            f"{resume.parent.parent} and train again."
        ) from error


def is_first_rank() -> bool:
    """Return whether this process is the first rank, which is the one that writes files."""
    return os.environ.get("RANK", "0") == "0"
