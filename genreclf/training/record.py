"""Log the steps, times and memory of a training, beside the metrics of its epochs."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from genreclf.training.callbacks import History
from genreclf.training.steps import StepModule

READ_TOGETHER = 50
"""Largest number of steps whose values are kept on the device before they are read."""


class Step(NamedTuple):
    """A training step whose loss is still on the device, to be read together with others."""

    number: int
    """Of the training, from 0."""
    epoch: int
    """It is part of."""
    rates: list[Any]
    """Learning rates, by the group of parameters."""
    figures: list[Tensor]
    """The loss, and the norm of the gradient if it is kept."""


class StepRecord(Callback):
    """Log loss and learning rate of a step now and then; time, speed and memory of each epoch.

    The processor does not wait for the device in a step: figures stay there until the epoch ends or `READ_TOGETHER`
    steps are to be logged. With several devices they are the means over them.

    Logged are ``train/loss_step``, ``lr`` (of further groups of parameters ``lr/1``, ``lr/2``...) and
    ``train/gradient_norm``; and at the end of an epoch ``epoch_s``, ``clips_per_s`` and, on a GPU,
    ``gpu_memory_gb``, the most that has been taken so far.

    Args:
        every_n_steps: Steps from one that is logged to the next; None: ``log_every_n_steps`` of the Trainer.
        gradient_norm: Log the norm of the gradient before it is clipped, which takes a little time in each step.
    """

    def __init__(self, every_n_steps: int | None = 10, *, gradient_norm: bool = False) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps} must be at least 1")
        self.every_n_steps = every_n_steps
        self.gradient_norm = gradient_norm
        self._every = 1
        self._kept: list[Step] = []
        self._rates: list[Any] = []
        self._last = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ask the model for the norm of its gradients."""
        if stage == "fit" and isinstance(pl_module, StepModule):
            pl_module.keeps_gradient_norm = self.gradient_norm and bool(trainer.loggers)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find out which steps are logged."""
        self._every = self.every_n_steps or int(getattr(trainer, "log_every_n_steps", 0)) or 1
        self._kept, self._last = [], -1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the learning rates of the first step."""
        self._rates = _rates(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss of a step that is to be logged; the schedule has gone on to the next step by now."""
        number = trainer.fit_loop.epoch_loop._batches_that_stepped
        if number % self._every == 0 and number != self._last and trainer.loggers:
            self._last = number
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
            if isinstance(loss, Tensor):
                figures = [loss.detach() * trainer.accumulate_grad_batches]
                if self.gradient_norm and isinstance(pl_module, StepModule) and pl_module.gradient_norm is not None:
                    figures.append(pl_module.gradient_norm.clone())  # A recorded step overwrites it.
                self._kept.append(Step(number, trainer.current_epoch, self._rates, figures))
            if len(self._kept) >= READ_TOGETHER:
                self._log_steps(trainer)
        if (number + 1) % self._every == 0:
            self._rates = _rates(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the steps that are left, and the epoch."""
        self._log_steps(trainer)
        history = next((each for each in trainer.callbacks if isinstance(each, History)), None)  # type: ignore[attr-defined]
        figures = {key: history.rows[-1][key] for key in ("epoch_s", "clips_per_s")} if history else {}
        if (memory := _peak_memory_bytes(pl_module.device)) is not None:
            figures["gpu_memory_gb"] = round(memory / 1e9, 3)
        number = trainer.fit_loop.epoch_loop._batches_that_stepped - 1  # Where Lightning has the metrics of the epoch.
        for logger in trainer.loggers if figures else ():
            logger.log_metrics({**figures, "epoch": trainer.current_epoch}, step=number)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Log the steps until then, unless the device is gone or the other ranks may be."""
        if trainer.world_size == 1:
            with suppress(RuntimeError):
                self._log_steps(trainer)

    def _log_steps(self, trainer: Trainer) -> None:
        kept, self._kept = self._kept, []
        if not kept:
            return
        figures = torch.stack([torch.stack(step.figures).float() for step in kept])
        names = ("train/loss_step", "train/gradient_norm")
        for step, values in zip(kept, trainer.strategy.reduce(figures, reduce_op="mean").cpu().tolist(), strict=True):
            rates = {f"lr/{group}" if group else "lr": float(rate) for group, rate in enumerate(step.rates)}
            found = dict(zip(names, values, strict=False))
            for logger in trainer.loggers:
                logger.log_metrics({**found, **rates, "epoch": step.epoch}, step=step.number)


def _rates(trainer: Trainer) -> list[Any]:
    return [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]


def _peak_memory_bytes(device: torch.device) -> int | None:
    """Return the most memory that has been taken on a device that counts it; of an Apple GPU, what is taken now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return torch.mps.driver_allocated_memory() if device.type == "mps" else None
