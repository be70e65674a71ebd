"""LightningModule whose loss and augmentation may have parameters and buffers, as user-defined ones may."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from genreclf.training.augment import Augment
from genreclf.training.steps import StepModule

OF_TRAINING = ("loss.", "augment.")
"""Prefixes of the tensors in a checkpoint that are used only in training."""


class PartsModule(StepModule):
    """Trains the parameters of its loss and its augmentation together with those of its network.

    Attributes:
        loss: Loss of logits and targets.
        augment: Augmentation of clips and targets, or None.
    """

    loss: nn.Module
    augment: Augment | None

    def parts_with_parameters(self) -> list[nn.Module]:
        """Return those of loss and augmentation that have trainable parameters."""
        parts = [part for part in (self.loss, self.augment) if part is not None]
        return [part for part in parts if any(parameter.requires_grad for parameter in part.parameters())]

    def clipped_apart(self) -> list[nn.Module]:
        """Return the modules whose gradients are clipped, each by its own norm."""
        return [*super().clipped_apart(), *self.parts_with_parameters()]

    def own_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a checkpoint's state without tensors of a loss or an augmentation that this model does not have."""
        ours = self.state_dict().keys()
        return {key: values for key, values in state.items() if key in ours or not key.startswith(OF_TRAINING)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Allow loading a checkpoint without the loss and the augmentation of its training."""
        checkpoint["state_dict"] = self.own_state(checkpoint["state_dict"])
