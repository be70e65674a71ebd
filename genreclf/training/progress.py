"""Progress of a training: a progress bar on a terminal, and occasional lines if the output goes elsewhere."""

import math
import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich import get_console
from rich.progress import ProgressColumn, Task
from rich.text import Text

from genreclf.progress_bar import lacks_widgets
from genreclf.training.schedulers import training_steps

SHOWN = ("train/loss", "val/loss", "val/track_accuracy")
"""Columns of ``history.csv`` that are shown after the bar."""

LINES_S, BATCHES_S = 10.0, 60.0
"""Minimum time in seconds between the lines of epochs, and between lines within an epoch, without a terminal."""


class EpochProgress(RichProgressBar):
    """Lightning's rich progress bar with the remaining time, the speed, and the metrics of the last epoch.

    Nothing is read from the device between the ends of two epochs, and the bar is updated only when it is drawn. If the
    output is not a terminal, one line per epoch is printed, but at most one every `LINES_S` seconds.

    Args:
        refresh_rate: How many times per second the bar is drawn; 0 to show no progress.
        **arguments: Arguments passed on to Lightning's `RichProgressBar`.
    """

    def __init__(self, refresh_rate: int = 10, **arguments: Any) -> None:
        super().__init__(refresh_rate, **arguments)
        self._is_plain = False
        self._shown_s = self._line_s = -math.inf
        self._started_s = self._epoch_s = 0.0
        self._steps, self._first_step = math.inf, 0
        self.left_s: float | None = None
        """Estimated seconds until the end of the last epoch; None if unknown."""
        self._speed = ""
        self._figures: dict[str, str] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the training."""
        console = get_console()
        self._is_plain = not (console.is_terminal or console.is_jupyter) or lacks_widgets()
        if not self._is_plain:
            super().on_train_start(trainer, pl_module)
        self._started_s, self._first_step = time.monotonic(), trainer.global_step
        self._steps = training_steps(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch."""
        self._epoch_s = time.monotonic()
        if not self._is_plain:
            super().on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the bar, or print a line, if this is due or the epoch ends."""
        now_s = time.monotonic()
        between_s = BATCHES_S if self._is_plain else 1 / self.refresh_rate if self.refresh_rate else math.inf
        is_last = batch_idx + 1 == trainer.num_training_batches
        if not is_last and now_s - self._shown_s < between_s:
            return
        self._look(trainer, batch_idx + 1, now_s)
        if not self._is_plain:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        elif not is_last and math.isfinite(self._shown_s):
            self._print(trainer, f", batch {batch_idx + 1}/{trainer.num_training_batches}")
        self._shown_s = now_s

    def _look(self, trainer: Trainer, batches: int, now_s: float) -> None:
        """Compute the speed in the epoch so far, and the remaining time at the average pace since the start."""
        clips = batches * int(getattr(getattr(trainer, "datamodule", None), "batch_size", 0))
        self._speed = f"{clips / max(now_s - self._epoch_s, 1e-6):,.0f}" if clips else ""
        done = trainer.global_step - self._first_step
        left = (now_s - self._started_s) / done * (self._steps - trainer.global_step) if done else math.inf
        self.left_s = left if math.isfinite(left) else None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the metrics of the epoch."""
        metrics = trainer.callback_metrics
        self._figures = {name: f"{float(metrics[name]):.3f}" for name in SHOWN if name in metrics}
        if not self._is_plain:
            super().on_train_epoch_end(trainer, pl_module)
            return
        is_last = trainer.current_epoch + 1 == trainer.max_epochs or trainer.should_stop
        if is_last or time.monotonic() - self._line_s >= LINES_S:
            self._print(trainer)

    def _print(self, trainer: Trainer, place: str = "") -> None:
        self._line_s = time.monotonic()
        if self.is_enabled:
            words = [f"{name} {value}" for name, value in self.get_metrics(trainer, trainer.lightning_module).items()]
            left = [f"{clock(self.left_s)} left"]
            start = f"{self._get_train_description(trainer.current_epoch).strip()}{place}"
            print(f"{start}: {', '.join(words + left)}", flush=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prepare the bar."""
        if not self._is_plain:
            super().on_validation_start(trainer, pl_module)

    def on_validation_batch_start(self, *arguments: Any, **keywords: Any) -> None:
        """Start the bar of the validation."""
        if not self._is_plain:
            super().on_validation_batch_start(*arguments, **keywords)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the speed in clips per second, and the metrics of the last completed epoch."""
        return {**({"clips/s": self._speed} if self._speed else {}), **self._figures}

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """Return Lightning's columns, with the remaining time in place of the speed in batches."""
        return [*super().configure_columns(trainer)[:3], TimeLeft(self)]


class TimeLeft(ProgressColumn):
    """Column with the remaining time of the epoch and of the training."""

    max_refresh = 0.5

    def __init__(self, bar: EpochProgress) -> None:
        super().__init__()
        self.bar = bar

    def render(self, task: Task) -> Text:
        """Return both times as text."""
        return Text(f"{clock(task.time_remaining)} • {clock(self.bar.left_s)} left", style=self.bar.theme.time)


def clock(seconds: float | None) -> str:
    """Return a number of seconds as hours, minutes and seconds."""
    return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))
