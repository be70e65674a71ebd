"""Log the training steps, times and memory of a training, in addition to the metrics of its epochs."""

from collections.abc import Mapping
from contextlib import suppress
from functools import reduce
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from genreclf.training.callbacks import History
from genreclf.training.steps import StepModule

READ_TOGETHER = 50
"""Maximum number of training steps whose values are kept on the device before they are read."""


class Step(NamedTuple):
    """Training step whose loss is still on the device, to be read together with others."""

    number: int
    """Number of the step in the training, from 0."""
    epoch: int
    """Epoch that the step belongs to."""
    rates: list[Any]
    """Learning rate of each parameter group."""
    figures: list[Tensor]
    """Mean loss over the batches of the step, and the norm of its gradient if it is kept."""


class StepRecord(Callback):
    """Log the loss and learning rate every few training steps, and the time, speed and memory of each epoch.

    The CPU does not wait for the device in a training step: values stay on the device until the epoch ends or
    `READ_TOGETHER` steps are to be logged. With several devices, the means over all devices are logged.

    The logged metrics are ``train/loss_step``, ``lr`` (``lr/1``, ``lr/2``... for further parameter groups) and
    ``train/gradient_norm``; and at the end of an epoch ``epoch_s``, ``clips_per_s`` and, on a GPU, ``gpu_memory_gb``,
    the peak memory use so far (on Apple GPUs, the current memory use).

    Args:
        every_n_steps: Number of training steps from one logged step to the next; None: ``log_every_n_steps`` of the
            Trainer.
        gradient_norm: Whether to log the norm of the gradient before clipping, which takes a little time in each step.
    """

    def __init__(self, every_n_steps: int | None = 10, *, gradient_norm: bool = False) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps} must be at least 1")
        self.every_n_steps = every_n_steps
        self.gradient_norm = gradient_norm
        self._every = 1
        self._kept: list[Step] = []
        self._rates: list[Any] = []
        self._losses: list[Tensor] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ask the model to keep the norm of its gradient, if the norm is logged."""
        if stage == "fit" and isinstance(pl_module, StepModule):
            pl_module.keeps_gradient_norm = self.gradient_norm and bool(trainer.loggers)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Determine which training steps are logged."""
        self._every = self.every_n_steps or int(getattr(trainer, "log_every_n_steps", 0)) or 1
        self._kept = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the learning rates of the first step of the epoch."""
        self._rates, self._losses = _rates(trainer), []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the mean loss over the batches of a step to be logged, with its learning rates.

        They were noted before: the scheduler is at the next step by now.
        """
        epoch_loop = trainer.fit_loop.epoch_loop
        number = epoch_loop._batches_that_stepped
        if number % self._every == 0 and trainer.loggers:
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
            if isinstance(loss, Tensor):
                self._losses.append(loss.detach())
            if self._losses and not epoch_loop._should_accumulate():
                # Lightning has divided each by the full number of batches of a step.
                figures = [reduce(torch.add, self._losses) * (trainer.accumulate_grad_batches / len(self._losses))]
                if self.gradient_norm and isinstance(pl_module, StepModule) and pl_module.gradient_norm is not None:
                    figures.append(pl_module.gradient_norm.clone())  # The next recorded step overwrites it.
                self._kept.append(Step(number, trainer.current_epoch, self._rates, figures))
                self._losses = []
            if len(self._kept) >= READ_TOGETHER:
                self._log_steps(trainer)
        if (number + 1) % self._every == 0:
            self._rates = _rates(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the remaining steps, and the epoch."""
        self._log_steps(trainer)
        history = next((each for each in trainer.callbacks if isinstance(each, History)), None)  # type: ignore[attr-defined]
        figures = {key: history.rows[-1][key] for key in ("epoch_s", "clips_per_s")} if history else {}
        if (memory := _peak_memory_bytes(pl_module.device)) is not None:
            figures["gpu_memory_gb"] = round(memory / 1e9, 3)
        number = trainer.fit_loop.epoch_loop._batches_that_stepped - 1  # As for Lightning's metrics of the epoch.
        for logger in trainer.loggers if figures else ():
            logger.log_metrics({**figures, "epoch": trainer.current_epoch}, step=number)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Log the steps so far, unless the device has failed or there are other ranks, which may have failed."""
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
    """Return the peak memory use on a CUDA device, the current memory use on an Apple GPU, or None elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return torch.mps.driver_allocated_memory() if device.type == "mps" else None
