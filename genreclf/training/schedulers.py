"""Learning-rate schedules: functions of an optimizer and a number of steps that return what Lightning expects."""

import math
from typing import Any

from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

FALLING = ("val/loss", "val/track_loss", "train/loss")
"""Columns of ``history.csv`` that should fall."""


class Cosine(LambdaLR):
    """`LambdaLR` that, loaded with the state of a shorter or longer schedule, goes on with its own schedule."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the number of steps that were made, and set the learning rate of the next one."""
        super().load_state_dict(state_dict)
        _repeat_last_step(self)


class OneCycle(OneCycleLR):
    """`OneCycleLR` that, loaded with the state of a shorter or longer schedule, keeps its own length."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the number of steps that were made, and set the learning rate of the next one."""
        own = {"total_steps": self.total_steps, "_schedule_phases": self._schedule_phases}
        super().load_state_dict({**state_dict, **own})
        _repeat_last_step(self)


def _repeat_last_step(scheduler: LRScheduler) -> None:
    scheduler.last_epoch -= 1
    scheduler.step()
    scheduler._step_count -= 1  # After it, for PyTorch warns at the first step.


def _every_step(scheduler: LRScheduler) -> LRSchedulerConfigType:
    return {"scheduler": scheduler, "interval": "step"}


def cosine(optimizer: Optimizer, steps: int, *, warmup: float = 0.1, final: float = 0.01) -> LRSchedulerConfigType:
    """Rise linearly, then fall along a half cosine (Loshchilov and Hutter, 2017).

    Args:
        optimizer: Whose learning rate is the peak.
        steps: Optimizer steps of the training.
        warmup: Fraction of the steps in which it rises.
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
    """Rise and fall along cosines, momentum the other way round (Smith and Topin, 2018).

    Args:
        optimizer: Whose learning rate is the peak.
        steps: Optimizer steps of the training.
        warmup: Fraction of the steps in which it rises.
        cycle_momentum: Whether the momentum of SGD, or the first beta of Adam, falls and rises as well.
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
    """Lower the learning rate when `monitor` has not fallen for `patience` epochs.

    Args:
        optimizer: Whose learning rate is lowered.
        steps: Number of training steps; every scheduler is given it, this one does not need it.
        monitor: A column of ``history.csv`` that should fall, one of `FALLING`.
        factor: What the learning rate is multiplied by.
        patience: Epochs without improvement that are tolerated.
        threshold: How much lower counts as lower, as a fraction.
    """
    if monitor not in FALLING:
        raise ValueError(f"monitor={monitor} is not one of {', '.join(FALLING)}.")
    if patience < 0 or not 0 <= threshold < 1 or factor <= 0:
        raise ValueError("patience and threshold must not be below 0, and factor must lie between 0 and 1.")
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience, threshold=threshold, eps=0.0)
    # `GenreClassifier` steps it. Lightning itself would refuse an epoch without validation.
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor, "reduce_on_plateau": False}
