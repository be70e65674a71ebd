"""Fine-tuning: training a pretrained encoder together with a classifier on top of it."""

from functools import partial
from typing import Any, Self, Unpack, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized, register_parametrization, remove_parametrizations
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from genreclf.models.encoders.base import Encoder
from genreclf.models.layers import Network
from genreclf.training.module import GenreClassifier, MakeOptimizer, Training


class FineTune(GenreClassifier):
    """Fine-tunes a whole pretrained encoder, its last blocks, or low-rank updates of its weights.

    The embeddings of the encoder's last layer are averaged over the frames of a clip and passed through dropout to a
    linear layer. Frozen parts of the encoder keep their weights and their batch-normalization statistics.

    Args:
        encoder: Pretrained encoder; each of its blocks can be frozen and has a learning rate of its own.
        pretrained: Whether to start from the pretrained weights; if False, training starts from random weights, for
            comparison.
        train_blocks: Number of blocks to train, counted from the output; None for all blocks, 0 for none.
        frozen_epochs: Number of epochs at the start in which only the classifier is trained.
        rate_decay: Learning rate of each block as a fraction of the learning rate of the next block or, for the last
            block, of the classifier, which has the optimizer's own learning rate (Howard and Ruder, 2018).
        lora_rank: Rank of the matrices that are added to the weights of linear layers and trained in place of the
            blocks' own weights (LoRA; Hu et al., 2022); 0 to train the blocks' own weights.
        dropout: Dropout probability of the embedding.
        **training: Arguments passed on to `GenreClassifier`.

    Raises:
        ValueError: The settings are out of range, contradict each other, or do not fit the encoder.
    """

    takes = "encoder"

    def __init__(
        self,
        *,
        encoder: Encoder,
        pretrained: bool = True,
        train_blocks: int | None = None,
        frozen_epochs: int = 0,
        rate_decay: float = 1.0,
        lora_rank: int = 0,
        dropout: float = 0.2,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(**training)
        count = len(encoder.blocks())
        if min(frozen_epochs, lora_rank) < 0 or not 0 < rate_decay <= 1:
            raise ValueError("frozen_epochs and lora_rank must not be below 0, and rate_decay must lie within (0, 1]")
        if not pretrained and (frozen_epochs or lora_rank or train_blocks is not None):
            raise ValueError("random weights train all blocks: omit frozen_epochs, lora_rank and train_blocks")
        if train_blocks is not None and not 0 <= train_blocks <= count:
            raise ValueError(f"train_blocks must be 0 to {count}, the blocks of {encoder.name}")
        self.pretrained, self.frozen_epochs, self.rate_decay = pretrained, frozen_epochs, rate_decay
        self.make_optimizer = partial(self._optimizer_by_block, self.make_optimizer)
        self.frozen_blocks = 0 if train_blocks is None else count - train_blocks
        self.network = Network(
            body=ClipEmbedding(encoder, frozen=self.frozen_blocks, lora_rank=lora_rank),
            dropout=nn.Dropout(dropout),
            classifier=nn.Linear(encoder.dimensions[-1], len(self.genres)),
        )

    @property
    def body(self) -> "ClipEmbedding":
        """Part of the network that has pretrained weights."""
        return cast(ClipEmbedding, self.network.body)

    def load_pretrained(self) -> None:
        """Load the pretrained weights into the network, unless training starts from random weights.

        Raises:
            UserError: The weights cannot be loaded, see `genreclf.models.encoders.base.Encoder.load`.
        """
        if self.pretrained:
            self.body.load()

    def on_train_epoch_start(self) -> None:
        """Freeze what is not trained in this epoch; if that changes, a recorded training step is recorded again."""
        super().on_train_epoch_start()
        body = self.body
        frozen = len(body.encoder.blocks()) if self.current_epoch < self.frozen_epochs else self.frozen_blocks
        if frozen != body.frozen:
            # Several devices agree only once, at the start, on the weights whose gradients they exchange.
            body.freeze(frozen, keep_gradients=self.trainer.world_size > 1)
            if self.whole_step is not None and self.whole_step.recorder is not None:
                self.end_steps()
                self.on_train_start()
        self.network.train()

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Discard the gradients of the encoder while all of it is frozen, and clip the other gradients."""
        if self.current_epoch < self.frozen_epochs:
            for parameter in self.body.parameters():
                parameter.grad = None
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _optimizer_by_block(self, make: MakeOptimizer, parameters: ParamsT) -> Optimizer:
        """Return an optimizer with one parameter group for the classifier and one for each block that is trained."""
        classifier = cast(nn.Module, self.network.classifier)
        groups: list[dict[str, Any]] = [{"params": list(classifier.parameters())}]
        factors = [1.0]
        for distance, of_block in enumerate(reversed(self.body.parameters_by_block()), 1):
            if of_block:
                groups.append({"params": of_block})
                factors.append(self.rate_decay**distance)
        optimizer = make(groups)
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] *= factor
        return optimizer


class ClipEmbedding(nn.Module):
    """Computes the embedding of a clip: the output of an encoder's last layer, averaged over the frames.

    Args:
        encoder: Pretrained encoder.
        frozen: Number of blocks to freeze, counted from the input.
        lora_rank: Rank of the matrices that are added to the weights of linear layers in the other blocks, see
            `FineTune`; 0 for none.

    Raises:
        ValueError: `lora_rank` is given, but no block that is trained has a linear layer.
    """

    def __init__(self, encoder: Encoder, *, frozen: int, lora_rank: int) -> None:
        super().__init__()
        self.encoder, self.lora_rank = encoder, lora_rank
        if lora_rank:
            layers = [layer for block in encoder.blocks()[frozen:] for layer in _linear_layers(block)]
            if not layers:
                raise ValueError(f"lora_rank={lora_rank}: no trained block of {encoder.name} has a linear layer")
            for layer in layers:
                register_parametrization(layer, "weight", LowRankUpdate(layer, lora_rank))
        self.freeze(frozen)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings ``(batch, dimension)`` of waveforms or of scaled log-mels ``(batch, mel, frame)``."""
        return self.encoder.embed_scaled(x)[:, -1, :, : self.encoder.dimensions[-1]].mean(1)

    def load(self) -> None:
        """Load the pretrained weights into the encoder; low-rank updates (LoRA) are kept."""
        adapted = [layer for layer in _linear_layers(self.encoder) if is_parametrized(layer, "weight")]
        updates = [cast(Any, layer).parametrizations.weight[0] for layer in adapted]
        for layer in adapted:
            remove_parametrizations(layer, "weight", leave_parametrized=False)
        self.encoder.load()
        for layer, update in zip(adapted, updates, strict=True):
            register_parametrization(layer, "weight", update)
        self.freeze(self.frozen)

    def freeze(self, blocks: int, *, keep_gradients: bool = False) -> None:
        """Freeze the first blocks and the parameters outside of all blocks, or nothing if `blocks` is 0.

        Args:
            blocks: Number of blocks to freeze, counted from the input.
            keep_gradients: Whether to leave ``requires_grad`` unchanged, so that frozen weights still get gradients.
        """
        self.frozen = blocks
        if keep_gradients:
            return
        self.requires_grad_(False)
        for part in self._trained_parts():
            for module in part.modules():
                if not self.lora_rank or isinstance(module, LowRankUpdate):
                    module.requires_grad_()

    def train(self, mode: bool = True) -> Self:
        """Set the training mode of all but the frozen parts, which keep their batch-normalization statistics.

        With low-rank updates (LoRA), all batch normalization is frozen.
        """
        super().train(False)
        for part in self._trained_parts():
            part.train(mode)
            for module in part.modules() if self.lora_rank else ():
                if isinstance(module, _BatchNorm):
                    module.train(False)
        return self

    def parameters_by_block(self) -> list[list[nn.Parameter]]:
        """Return the trained parameters of each block; parameters outside of all blocks count as part of the first."""
        blocks = self.encoder.blocks()
        block_of = {id(parameter): number for number, block in enumerate(blocks) for parameter in block.parameters()}
        parts: list[list[nn.Parameter]] = [[] for _ in blocks]
        for parameter in self.parameters():
            if parameter.requires_grad:
                parts[block_of.get(id(parameter), 0)].append(parameter)
        return parts

    def _trained_parts(self) -> list[nn.Module]:
        return self.encoder.blocks()[self.frozen :] if self.frozen else [self.encoder]


class LowRankUpdate(nn.Module):
    """Adds a low-rank matrix, initially zero, to the weight of a linear layer (LoRA; Hu et al., 2022)."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, layer.in_features))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the sum of `weight` and the low-rank matrix, shape ``(output, input)``."""
        return weight + self.up @ self.down


def _linear_layers(module: nn.Module) -> list[nn.Linear]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
