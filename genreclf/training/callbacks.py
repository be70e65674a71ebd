"""Callbacks of every training: seeds, history, and whether all ranks train the same experiment."""

import hashlib
import math
import random
import signal
import time
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from genreclf.errors import TrainingDiverged, UserError
from genreclf.hardware import device_name
from genreclf.run_directory import RunDirectory
from genreclf.training.module import GenreClassifier
from genreclf.training.progress import EpochProgress as EpochProgress  # Where earlier configurations name it.
from genreclf.training.recorder import GENERATOR_LOCK


class LogEpoch(Callback):
    """Log the loss and the accuracy of an epoch before the other callbacks read them, so it is the first of them."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the sums of the model."""
        assert isinstance(pl_module, GenreClassifier)
        pl_module.log_epoch()


class StopWhenDiverged(Callback):
    """End a training whose loss or weights are NaN or infinite, before they are written to a checkpoint.

    They are read at the end of an epoch: to read them at every step, the processor would wait for the device.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise `TrainingDiverged` if a loss of the epoch, or a weight after it, is not finite; ranks agree on them."""
        figures = {key: float(trainer.callback_metrics.get(key, 0.0)) for key in ("train/loss", "val/loss")}
        figures["the norm of the weights"] = float(nn.utils.get_total_norm(pl_module.parameters()))
        wrong = next((f"{key} is {value}" for key, value in figures.items() if not math.isfinite(value)), None)
        if wrong:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            raise TrainingDiverged(
                f"The training diverged: {wrong} in epoch {trainer.current_epoch} at a learning rate of {rate:.3g}; "
                "set a smaller optimizer.lr, or a smaller trainer.gradient_clip_val."
            )


class EpochSeed(Callback):
    """Seed torch, NumPy and Python anew at each epoch, so that a resumed run draws what an unbroken one would have."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed from (seed, epoch, rank)."""
        words = f"{self.seed} {trainer.current_epoch} {trainer.global_rank}"
        seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little") >> 1
        with GENERATOR_LOCK:
            torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        if isinstance(pl_module, GenreClassifier) and pl_module.whole_step is not None:
            pl_module.whole_step.seed(seed)


class History(Callback):
    """Write a row per epoch to ``history.csv``, and cut it back to the checkpoint's epoch on resume.

    An epoch has so many `clips`, in batches of `batch_size`, on all devices together.
    """

    def __init__(self, run: RunDirectory, clips: int, batch_size: int) -> None:
        self.run = run
        self.clips = clips
        self.batch_size = batch_size
        self.rows: list[dict[str, float]] = []
        self.has_started = False
        self._started_s = 0.0
        self._validated = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the rows of epochs that the checkpoint knows, or raise `UserError` if some are missing."""
        self.has_started = True
        self._check(trainer)
        self.rows = self.run.read_history()[: trainer.current_epoch]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise `UserError` if a run that had all its epochs, so that none started, misses rows."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and len(self.run.read_history()) < trainer.current_epoch:
            raise UserError(
                f"{self.run.history} has fewer epochs than {self.run.last}; repeat the run in another run_dir."
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started_s = time.perf_counter()
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the epoch has been validated: Lightning repeats the figures of the last one that was."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row of this epoch."""
        epoch_s = time.perf_counter() - self._started_s
        figures = {
            key: float(value)
            for key, value in sorted(trainer.callback_metrics.items())
            if key.startswith(("train/", "val/") if self._validated else "train/")
        }
        row = {"epoch": trainer.current_epoch, "lr": self._lr, **figures}
        # Trainer arguments may cut an epoch short; a closed form has no batches.
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        clips = min(self.clips, batches * self.batch_size) if batches else self.clips
        self.rows.append({**row, "epoch_s": round(epoch_s, 3), "clips_per_s": round(clips / epoch_s, 1)})
        if trainer.is_global_zero:
            self.run.write_history(self.rows)


class RankGuard(Callback):
    """Stop if the ranks of a run do not work on the same experiment, and write down what each has.

    With several ranks, one that receives SIGTERM ends at once, and the others with it: Lightning would make it wait for
    them in vain.
    """

    def __init__(self, run: RunDirectory, config_hash: str) -> None:
        self.run = run
        self.config_hash = config_hash

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise `UserError` if the hashes of the ranks differ."""
        device = trainer.strategy.root_device
        name = f"{device_name(device.type)} ({device})"
        ranks = [{"rank": trainer.global_rank, "config_hash": self.config_hash, "device": name}]
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(gathered, ranks[0])
            ranks = gathered
        if len({rank["config_hash"] for rank in ranks}) > 1:
            raise UserError(f"The ranks of {self.run.path} were started with different configurations: {ranks}.")
        if trainer.is_global_zero:
            environment = self.run.read_json(self.run.environment)
            self.run.write_json(self.run.environment, {**environment, "ranks": ranks})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let SIGTERM end a rank."""
        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            # Lightning would ask the first rank at every step whether it received one, and wait for the device.
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

    on_validation_start = on_train_start
    on_test_start = on_train_start
