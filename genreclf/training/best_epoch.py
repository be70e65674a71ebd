"""Choice of the best epoch of a training, and early stopping when no better epoch is expected."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.loggers import Logger
from torch import Tensor

from genreclf.checkpoint import SafeCheckpointIO
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory

LOGGED = ("val/track_loss", "val/track_accuracy", "val/loss", "val/clip_accuracy", "train/loss", "train/accuracy")
"""Names of the metrics that `GenreClassifier` logs for each epoch."""


def mode_of(monitor: str | None, mode: str | None = None) -> str:
    """Return `mode` if given, otherwise ``min`` for a loss (or no `monitor`) and ``max`` for an accuracy.

    Raises:
        ValueError: `mode` is not given, and `monitor` is neither a loss nor an accuracy.
    """
    if mode is not None or monitor is None:
        return mode or "min"
    for ending, found in (("loss", "min"), ("accuracy", "max")):
        if monitor.endswith(ending):
            return found
    raise ValueError(f"monitor={monitor} needs a mode, min or max")


class RunCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint` for a run directory that may be moved before the run is resumed.

    The checkpoint is saved in ``checkpoints`` of the Trainer's ``default_root_dir``, always under the same name.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(enable_version_counter=False, **arguments)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Set the directory of the checkpoints."""
        self.dirpath = str(RunDirectory(trainer.default_root_dir).checkpoints.absolute())
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(self, *arguments: Any, **keywords: Any) -> None:
        """Save after the training step only if saving by steps or time is set; Lightning's own check is slow."""
        if self._every_n_train_steps or self._train_time_interval:
            super().on_train_batch_end(*arguments, **keywords)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Save in the background, unless a logger reads the file immediately."""
        files = trainer.strategy.checkpoint_io
        if isinstance(files, SafeCheckpointIO):
            files.in_background = not any(
                type(logger).after_save_checkpoint is not Logger.after_save_checkpoint for logger in trainer.loggers
            )
        super()._save_checkpoint(trainer, filepath)
        if isinstance(files, SafeCheckpointIO):
            files.in_background = False

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a killed run; Lightning would forget its best epoch if the directory was moved."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        paths = {key: here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {here(path): value for path, value in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath})


class BestCheckpoint(RunCheckpoint):
    """Checkpoint of the best epoch, with a choice of which among equally good epochs is kept.

    Args:
        monitor: Name of the logged metric that decides which epoch is best; None: the last epoch is the best.
        mode: Whether a low or a high value is better, ``min`` or ``max``; None: see `mode_of`.
        ties: Which of several equally good epochs is kept, ``first`` or ``last``.
    """

    def __init__(self, *, monitor: str | None = "val/track_loss", mode: str | None = None, ties: str = "first") -> None:
        if ties not in ("first", "last"):
            raise ValueError(f"ties={ties} must be first or last")
        # With None, Lightning saves after each validation if an epoch may have no validation or several.
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode_of(monitor, mode),
            save_on_train_epoch_end=None if str(monitor).startswith("val/") else True,
        )
        self.ties = ties
        self._validated = False

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a killed run, or raise `UserError` if the checkpoint of its best epoch is missing."""
        super().load_state_dict(state_dict)
        if self.best_model_path and not (best := Path(self.best_model_path)).is_file():
            raise UserError(
                f"There is no {best}, the checkpoint of the best epoch so far; restore a copy, or delete "
                f"{best.parent.parent} and train again."
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there are new metrics, and save if checkpoints are saved after each validation."""
        self._validated = not trainer.sanity_checking
        super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, unless the epoch was not validated, e.g. because it was cut short: the monitored value is then old."""
        if self._validated or not str(self.monitor).startswith("val/"):
            super().on_train_epoch_end(trainer, pl_module)
        self._validated = False

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether an epoch with the monitored value `current` replaces the best epoch so far."""
        if super().check_monitor_top_k(trainer, current):
            return True
        if self.ties == "first" or current is None:
            return False
        return bool(trainer.strategy.reduce_boolean_decision(bool(current == self.best_model_score)))


class LastingEarlyStopping(EarlyStopping):
    """Lightning's `EarlyStopping`, which also stays stopped if a run is killed after its last epoch and resumed.

    Args:
        monitor: Name of the logged metric that decides when to stop.
        mode: Whether a low or a high value is better, ``min`` or ``max``; None: see `mode_of`.
        **arguments: Arguments passed on to `EarlyStopping`.
    """

    def __init__(self, *, monitor: str | None = "val/track_loss", mode: str | None = None, **arguments: Any) -> None:
        if monitor is None:
            raise ValueError("it needs a monitor, such as val/track_loss")
        if arguments.get("patience", 1) < 1:
            raise ValueError("patience must be at least 1")
        if not monitor.startswith("val/"):  # Otherwise Lightning may check only after validations.
            arguments.setdefault("check_on_train_epoch_end", True)
        super().__init__(monitor, mode=mode_of(monitor, mode), **arguments)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a run, whose patience may have been smaller."""
        super().load_state_dict({**state_dict, "patience": self.patience})
        if not stays_stopped(state_dict, self.patience):
            self.stopping_reason = EarlyStoppingReason.NOT_STOPPED

    def _run_early_stopping_check(self, trainer: Trainer) -> None:
        """Check the monitored value, unless training is cut short before the first validation."""
        if self.monitor in trainer.callback_metrics or not self.monitor.startswith("val/"):
            super()._run_early_stopping_check(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop immediately if training had already stopped according to the checkpoint."""
        if self.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
            trainer.should_stop = True


def stays_stopped(state: Mapping[str, Any], patience: int) -> bool:
    """Return whether early stopping with a saved state, which has ended its run, also ends a continuation at once.

    A run whose patience was exhausted can be continued with a larger `patience`; other reasons to stop remain.
    """
    reason = EarlyStoppingReason(state.get("stopping_reason", EarlyStoppingReason.NOT_STOPPED.value))
    if reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
        return patience <= int(state["patience"])
    return reason is not EarlyStoppingReason.NOT_STOPPED
