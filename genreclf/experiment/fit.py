"""Training on the devices of a run."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Callback, Trainer

from genreclf.checkpoint import SafeCheckpointIO
from genreclf.config.config import Config
from genreclf.devices import device_errors
from genreclf.distributed.batch_norm import CPUSyncBatchNorm
from genreclf.distributed.external_ranks import ranks_here
from genreclf.errors import UserError
from genreclf.experiment.setup import Prepared
from genreclf.hardware import resolve_accelerator
from genreclf.run_directory import RunDirectory
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


def fit(config: Config, run: RunDirectory, prepared: Prepared, tracking: Tracking) -> None:
    """Train, from the last epoch that a killed run finished."""
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
        RunCheckpoint(run, filename="last"),
    ]
    if monitor is not None and stopping.patience is not None:
        callbacks.append(LastingEarlyStopping(monitor, mode=stopping.mode, patience=stopping.patience))
    if config.regularization.ema is not None:
        callbacks.append(EMA(decay=config.regularization.ema))
    if is_first_rank():
        # Times a second: Lightning's 100 take a tenth of the core that starts the steps, a terminal given.
        callbacks.append(EpochProgress(refresh_rate=10))
    trainer = trainer_of(
        config,
        precision=run.read_json(run.environment)["precision"],
        max_epochs=settings.max_epochs,
        gradient_clip_val=settings.gradient_clip_val,
        limit_train_batches=settings.limit_train_batches,
        callbacks=callbacks,
        logger=tracking.loggers or False,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=is_first_rank(),
    )
    resume = run.last if run.last.exists() else None
    if settings.compile is not None:
        prepared.model.compile_training(settings.compile)
    prepared.model.records_steps = settings.step == "graph"
    way_out = f"lower data.batch_size={config.clips.batch_size}, or set trainer.precision=bf16-mixed or 16-mixed"
    with _named_if_unfit(resume, history), device_errors(way_out):
        trainer.fit(prepared.model, datamodule=data, ckpt_path=resume, weights_only=True)
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
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if resume is None or history.has_started:
            raise
        raise UserError(
            f"The checkpoint {resume} is not one of this training; put a copy in its place or delete "
            f"{resume.parent.parent} and train again."
        ) from error


def trainer_of(config: Config, **arguments: Any) -> Trainer:
    """Return a Trainer on the devices of the configuration; its ranks are there already."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    noise = "LeafSpec|sync_dist|does not have many workers|`srun` command|exists and is not empty|across ranks is zero"
    warnings.filterwarnings("ignore", f".*({noise}|overriding `LightningModule.optimizer_)")
    devices = config.trainer.devices
    here = ranks_here(devices)
    accelerator = resolve_accelerator(config.trainer.accelerator, here)
    sync_batchnorm = devices > 1 if config.trainer.sync_batchnorm is None else config.trainer.sync_batchnorm
    # The environment is named, for Lightning would take a single rank in a Slurm job for one of several.
    plugins: list[Any] = [TorchElasticEnvironment() if devices > 1 else LightningEnvironment(), SafeCheckpointIO()]
    if sync_batchnorm and accelerator == "cpu":
        plugins.append(CPUSyncBatchNorm())
    return Trainer(
        accelerator=accelerator,
        devices=here,
        num_nodes=devices // here,
        strategy="ddp" if devices > 1 else "auto",
        sync_batchnorm=sync_batchnorm,
        plugins=plugins,
        use_distributed_sampler=False,
        enable_model_summary=False,
        default_root_dir=config.run_dir,
        limit_val_batches=config.trainer.limit_val_batches,
        **arguments,
    )


def is_first_rank() -> bool:
    """Whether this process is the first rank, the one that writes."""
    return os.environ.get("RANK", "0") == "0"
