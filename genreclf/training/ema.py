"""Exponential moving average of the weights, computed in a few operations per training step."""

from itertools import chain
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class ExponentialAverage(AveragedModel):
    """PyTorch's `AveragedModel` of all weights and buffers, updated without waiting for the device.

    In every update, PyTorch's own class reads from the device whether it is the first one, and averages one tensor at a
    time. The averaged weights are the same to the last bit; integer buffers, which count batches, are copied.

    Args:
        model: Model whose weights are averaged.
        decay: Share of the previous average that an update keeps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay
        self._is_first = False  # `follow` finds out.

    def follow(self, model: LightningModule) -> None:
        """Move to the device of `model`, and average its weights from now on; call this after loading a checkpoint."""
        # With the memory layout of the network; otherwise the operations would process one tensor at a time.
        self.to(model.device).to(memory_format=torch.channels_last)
        self._is_first = int(self.n_averaged) == 0
        self._all = _tensors(self.module), _tensors(model)
        self._floating = tuple([tensor for tensor in side if tensor.is_floating_point()] for side in self._all)
        self._counts = tuple([tensor for tensor in side if not tensor.is_floating_point()] for side in self._all)
        self.catch_up()  # The scaling, for example, was fitted after the copy was made.

    @torch.no_grad()
    def catch_up(self) -> None:
        """Copy the weights of the model given to `follow` unless the average has been updated."""
        if self._is_first:
            torch._foreach_copy_(*self._all)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Update the average with the weights of the model given to `follow`; the first update copies them."""
        averages, values = self._all if self._is_first else self._counts
        if averages:
            torch._foreach_copy_(averages, values)
        if not self._is_first:
            averages, values = self._floating
            torch._foreach_mul_(averages, self.decay)
            torch._foreach_add_(averages, torch._foreach_mul(values, 1 - self.decay))
        self._is_first = False
        self.n_averaged.add_(1)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the average and the weights of the model given to `follow`."""
        for averages, values in (self._floating, self._counts):
            if averages:
                kept = [torch.empty_like(value) for value in values]
                torch._foreach_copy_(kept, values)
                torch._foreach_copy_(values, averages)
                torch._foreach_copy_(averages, kept)


class EMA(EMAWeightAveraging):
    """Average the weights over the training steps; the averaged weights are validated, saved and tested.

    Until the first update of the average, the weights themselves are validated, saved and tested.

    Args:
        decay: Share of the previous average that an update keeps.
        update_every_n_steps: Number of training steps from one update to the next.
        update_starting_at_step: First training step, counted from 0, after which the average is updated; None: from
            the start.
        update_starting_at_epoch: First epoch, counted from 0, from which on the average is also updated at the end of
            each epoch; None: never.
    """

    def __init__(
        self,
        decay: float = 0.99,
        *,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
    ) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay} must be at least 0 and below 1")
        if update_every_n_steps < 1:
            raise ValueError(f"update_every_n_steps={update_every_n_steps} must be at least 1")
        super().__init__(
            decay=decay,
            update_every_n_steps=update_every_n_steps,
            update_starting_at_step=update_starting_at_step,
            update_starting_at_epoch=update_starting_at_epoch,
        )
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Create the average as a copy of the model before training; forget it before anything else."""
        super().setup(trainer, pl_module, stage)
        self._average_model = ExponentialAverage(pl_module, self.decay) if stage == "fit" else None
        self._latest_update_step = 0  # A checkpoint is loaded after this.
        self._latest_update_epoch = -1

    def _swap_models(self, pl_module: LightningModule) -> None:
        """Exchange average and model for a validation in a few operations; Lightning takes three for each tensor."""
        trainer = pl_module.trainer
        if trainer.state.fn is TrainerFn.FITTING and not trainer.sanity_checking:  # `follow` was called.
            self._average.catch_up()
            self._average.swap()
        else:
            super()._swap_models(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Average the weights of the model from now on; it has been moved to its device."""
        self._average.follow(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average if it is due after this step, or at the end of the epoch, if this is its last step."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.is_last_batch:
            super().on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do not update the average, which has already been validated."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the model the averaged weights."""
        self._average.catch_up()
        super().on_train_end(trainer, pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the average and the weights themselves if training continues; tests use the averages alone."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the averaged weights as those of the model, and the weights themselves beside them."""
        if self._average_model is not None:
            self._average.catch_up()
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    @property
    def _average(self) -> ExponentialAverage:
        assert isinstance(self._average_model, ExponentialAverage)
        return self._average_model


def _tensors(model: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in chain(model.parameters(), model.buffers())]
