"""Callbacks of every training: metrics, divergence, seeds, history, and a check that all ranks train the same run."""

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
from genreclf.training.progress import EpochProgress as EpochProgress  # Earlier configurations refer to it here.
from genreclf.training.recorder import GENERATOR_LOCK


class LogEpoch(Callback):
    """Log the training loss and accuracy of an epoch; must be the first callback, since others read these metrics."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the training loss and accuracy that the model has summed up."""
        assert isinstance(pl_module, GenreClassifier)
        pl_module.log_epoch()


class StopWhenDiverged(Callback):
    """Stop a training whose loss or weights are NaN or infinite, before they are written to a checkpoint.

    Loss and weights are checked at the end of an epoch: a check at every training step would make the CPU wait for the
    device.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise `TrainingDiverged`, on all ranks alike, if a loss of the epoch or a weight after it is not finite."""
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
    """Seed PyTorch, NumPy and Python at each epoch, so that a resumed run draws the numbers of an uninterrupted one."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set a seed that is derived from the seed of the run, the epoch and the rank."""
        words = f"{self.seed} {trainer.current_epoch} {trainer.global_rank}"
        seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little") >> 1
        with GENERATOR_LOCK:
            torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        if isinstance(pl_module, GenreClassifier) and pl_module.whole_step is not None:
            pl_module.whole_step.seed(seed)


class History(Callback):
    """Write one row per epoch to ``history.csv``, and cut the file back to the checkpoint's epoch on resume.

    Args:
        run: Run directory whose history is written.
        clips: Number of training clips in an epoch, on all devices together.
        batch_size: Number of clips in a batch, on all devices together.
    """

    def __init__(self, run: RunDirectory, clips: int, batch_size: int) -> None:
        self.run = run
        self.clips = clips
        self.batch_size = batch_size
        self.rows: list[dict[str, float]] = []
        self.has_started = False
        self._started_s = 0.0
        self._validated = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Raise `UserError` if the checkpoint was written within an epoch, as by a callback of the user's own."""
        progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        if progress["ready"] != progress["processed"]:
            raise UserError(
                f"{self.run.last} was written within an epoch, from which a run cannot continue; delete it to train "
                "again from the start, and let no callback of your own write there."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the rows of the epochs before the checkpoint, or raise `UserError` if some are missing."""
        self.has_started = True
        self._check(trainer)
        self.rows = self.run.read_history()[: trainer.current_epoch]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise `UserError` if rows are missing, which is noticed here if all epochs were already trained."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and len(self.run.read_history()) < trainer.current_epoch:
            raise UserError(
                f"{self.run.history} has fewer epochs than {self.run.last}; repeat the run in another run_dir."
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock and note the learning rate of the epoch."""
        self._started_s = time.perf_counter()
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the epoch has been validated: otherwise Lightning repeats the metrics of the last validation."""
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
        # Trainer arguments may cut an epoch short; a model fitted in closed form has no batches.
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        clips = min(self.clips, batches * self.batch_size) if batches else self.clips
        self.rows.append({**row, "epoch_s": round(epoch_s, 3), "clips_per_s": round(clips / epoch_s, 1)})
        if trainer.is_global_zero:
            self.run.write_history(self.rows)


class RankGuard(Callback):
    """Stop if the ranks of a run have different configurations, and record the configuration and device of each rank.

    If there are several ranks, a rank that receives SIGTERM ends immediately, and the others with it: Lightning would
    make the rank wait for the others in vain.

    Args:
        run: Run directory, whose ``environment.json`` lists the ranks.
        config_hash: Hash of the configuration on this rank.
    """

    def __init__(self, run: RunDirectory, config_hash: str) -> None:
        self.run = run
        self.config_hash = config_hash

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise `UserError` if the configuration hashes of the ranks differ; otherwise record the ranks."""
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
        """Let SIGTERM end this rank if there are several."""
        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            # At every step, Lightning would ask the first rank whether it received SIGTERM, and wait for the device.
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

    on_validation_start = on_train_start
    on_test_start = on_train_start
