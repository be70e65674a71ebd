"""Learning-rate schedules: functions that return Lightning's scheduler configuration for an optimizer."""

import math
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

FALLING = ("val/loss", "val/track_loss", "train/loss")
"""Columns of ``history.csv`` in which a lower value is better."""


def training_steps(trainer: Trainer) -> int | float:
    """Return the number of optimizer steps of a whole training, infinite if it has no end.

    Lightning's own estimate ignores a `GradientAccumulationScheduler`, which sets the batches of a step by epoch.
    """
    steps = trainer.estimated_stepping_batches  # This also loads the training data.
    schedules = [each for each in trainer.callbacks if isinstance(each, GradientAccumulationScheduler)]  # type: ignore[attr-defined]
    if not schedules or trainer.max_epochs is None or trainer.max_epochs < 0:
        return steps
    batches, batches_of_step = trainer.num_training_batches, schedules[-1].get_accumulate_grad_batches
    steps = sum(math.ceil(batches / batches_of_step(epoch)) for epoch in range(trainer.max_epochs))
    return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)


class Cosine(LambdaLR):
    """`LambdaLR` that keeps its own schedule when it loads the state of a shorter or longer one."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of steps taken, and set the learning rate of the next step."""
        super().load_state_dict(state_dict)
        _repeat_last_step(self)


class OneCycle(OneCycleLR):
    """`OneCycleLR` that keeps its own length when it loads the state of a shorter or longer schedule."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of steps taken, and set the learning rate of the next step."""
        own = {"total_steps": self.total_steps, "_schedule_phases": self._schedule_phases}
        super().load_state_dict({**state_dict, **own})
        _repeat_last_step(self)


def _repeat_last_step(scheduler: LRScheduler) -> None:
    scheduler.last_epoch -= 1
    scheduler.step()
    scheduler._step_count -= 1  # Only now, since PyTorch warns at the first step.


def _every_step(scheduler: LRScheduler) -> LRSchedulerConfigType:
    return {"scheduler": scheduler, "interval": "step"}


def cosine(optimizer: Optimizer, steps: int, *, warmup: float = 0.1, final: float = 0.01) -> LRSchedulerConfigType:
    """Raise the learning rate linearly, then lower it along a half cosine (Loshchilov and Hutter, 2017).

    Args:
        optimizer: Optimizer, whose learning rate is used as the peak.
        steps: Number of optimizer steps in the training.
        warmup: Fraction of the steps in which the learning rate rises.
        final: Learning rate at the end, as a fraction of the peak.
    """
    for name, fraction in (("warmup", warmup), ("final", final)):
        if not 0 <= fraction <= 1:
            raise ValueError(f"{name}={fraction} must be between 0 and 1.")
    rising = round(warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        done = min(1.0, (step - rising) / max(1, steps - rising))
        return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2

    return _every_step(Cosine(optimizer, factor))


def onecycle(
    optimizer: Optimizer, steps: int, *, warmup: float = 0.3, cycle_momentum: bool = True
) -> LRSchedulerConfigType:
    """Raise and lower the learning rate along cosines, and the momentum inversely (Smith and Topin, 2018).

    Args:
        optimizer: Optimizer, whose learning rate is used as the peak.
        steps: Number of optimizer steps in the training.
        warmup: Fraction of the steps in which the learning rate rises.
        cycle_momentum: Whether the momentum of SGD, or the first beta of Adam, is lowered and raised as well.
    """
    if not 0 < warmup < 1:
        raise ValueError(f"warmup={warmup} must be between 0 and 1.")
    peaks = [group["lr"] for group in optimizer.param_groups]
    cycles = any("momentum" in group or "betas" in group for group in optimizer.param_groups)
    momentum = cycle_momentum and cycles and all(group.get("momentum", 1) > 0 for group in optimizer.param_groups)
    return _every_step(
        OneCycle(optimizer, max_lr=peaks, total_steps=steps + 1, pct_start=warmup, cycle_momentum=momentum)
    )


def plateau(
    optimizer: Optimizer,
    steps: int,
    *,
    monitor: str = "val/loss",
    factor: float = 0.5,
    patience: int = 5,
    threshold: float = 1e-4,
) -> LRSchedulerConfigType:
    """Lower the learning rate when `monitor` has not fallen for more than `patience` epochs.

    Args:
        optimizer: Optimizer, whose learning rate is lowered.
        steps: Number of optimizer steps in the training; unused, but passed to every schedule.
        monitor: Column of ``history.csv`` in which a lower value is better, one of `FALLING`.
        factor: Factor by which the learning rate is multiplied.
        patience: Number of epochs without improvement that are tolerated.
        threshold: Minimum relative decrease of `monitor` that counts as an improvement.
    """
    if monitor not in FALLING:
        raise ValueError(f"monitor={monitor} is not one of {', '.join(FALLING)}.")
    if patience < 0 or not 0 <= threshold < 1 or factor <= 0:
        raise ValueError("patience and threshold must not be below 0, and factor must lie between 0 and 1.")
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience, threshold=threshold, eps=0.0)
    # `GenreClassifier` steps the scheduler, since Lightning itself would refuse an epoch without validation.
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor, "reduce_on_plateau": False}
