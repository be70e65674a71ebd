"""What happens around training: seeds, history, progress, the guard of the ranks."""

import hashlib
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from torch import Tensor

from genreclf.errors import UserError
from genreclf.rundir import RunDirectory


class BestCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint of the best epoch, with a choice among equally good ones.

    Args:
        ties: Which of equally good epochs is kept, ``first`` or ``last``.
        **arguments: Of `ModelCheckpoint`.
    """

    def __init__(self, *, ties: str = "first", **arguments: Any) -> None:
        """Keep the choice."""
        super().__init__(**arguments)
        self.ties = ties

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether an epoch with the value `current` is kept in place of the best one so far."""
        if super().check_monitor_top_k(trainer, current):
            return True
        if self.ties == "first" or current is None:
            return False
        return bool(trainer.strategy.reduce_boolean_decision(bool(current == self.best_model_score)))


class EpochSeed(Callback):
    """Seed torch anew at each epoch, so that a resumed run draws what an unbroken one would have.

    Args:
        seed: Of the run.
    """

    def __init__(self, seed: int) -> None:
        """Keep the seed."""
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed from (seed, epoch, rank)."""
        words = f"{self.seed} {trainer.current_epoch} {trainer.global_rank}"
        torch.manual_seed(int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little") >> 1)


class History(Callback):
    """Write a row an epoch to ``history.csv``, and cut it back to the checkpoint's epoch on resume.

    Args:
        run: Where to write.
        clips: Clips of an epoch, on all devices together.
    """

    def __init__(self, run: RunDirectory, clips: int) -> None:
        """Start empty."""
        self.run = run
        self.clips = clips
        self.rows: list[dict[str, float]] = []
        self._started_s = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the rows of epochs that the checkpoint knows."""
        self.rows = [row for row in self.run.read_history() if row["epoch"] < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started_s = time.perf_counter()
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row of this epoch."""
        epoch_s = time.perf_counter() - self._started_s
        figures = {
            key: float(value)
            for key, value in sorted(trainer.callback_metrics.items())
            if key.startswith(("train/", "val/"))
        }
        row = {"epoch": trainer.current_epoch, "lr": self._lr, **figures}
        self.rows.append({**row, "epoch_s": round(epoch_s, 3), "clips_per_s": round(self.clips / epoch_s, 1)})
        if trainer.is_global_zero:
            self.run.write_history(self.rows)


class RankGuard(Callback):
    """Stop if the ranks of a run do not work on the same experiment, and write down what each has.

    Args:
        run: Whose ``environment.json`` is completed.
        config_hash: Of this rank.
    """

    def __init__(self, run: RunDirectory, config_hash: str) -> None:
        """Keep the hash."""
        self.run = run
        self.config_hash = config_hash

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare the hashes.

        Raises:
            UserError: They differ.
        """
        ranks = [{"rank": trainer.global_rank, "config_hash": self.config_hash}]
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(gathered, ranks[0])
            ranks = gathered
        if len({rank["config_hash"] for rank in ranks}) > 1:
            raise UserError(f"The ranks of {self.run.path} were started with different configurations: {ranks}.")
        if trainer.is_global_zero:
            environment = self.run.read_json(self.run.environment)
            self.run.write_json(self.run.environment, {**environment, "ranks": ranks})


class EpochProgress(RichProgressBar):
    """Lightning's rich progress bar with one short figure behind it."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the accuracy on validation tracks."""
        accuracy = super().get_metrics(trainer, pl_module).get("val/track_accuracy")
        return {} if accuracy is None else {"val": f"{accuracy:.3f}"}
