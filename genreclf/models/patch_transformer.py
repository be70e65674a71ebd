"""Transformer on patches of the spectrogram."""

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from genreclf.errors import UserError
from genreclf.models.crnn import MeanOverTime
from genreclf.models.layers import AsImage, Network
from genreclf.training.module import GenreClassifier, Training


class PatchTransformer(GenreClassifier):
    """Self-attention among overlapping patches: a small AST (Gong et al., 2021, arXiv:2104.01778) without pretraining.

    AST has 87 million parameters, pretrained on photographs. Apart from its size, this network differs in two ways. The
    position of a patch is encoded by a learned vector for its mel bands plus sinusoids for its time (Vaswani et al.,
    2017, arXiv:1706.03762), so that a trained network takes clips of any length. The classifier takes the mean over all
    patches instead of the output for a class token.

    Args:
        patch: Size of a patch, (mel bands, frames); 16 mel bands by about 160 ms in AST.
        stride: Distance from one patch to the next, (mel bands, frames); 10 by 10 in AST.
        width: Size of the vector that represents a patch; must be even.
        depth: Number of self-attention layers, 1 to 100.
        heads: Number of attention heads in each layer; must divide `width`.
        dropout: Dropout probability before and within the layers and before the classifier.
        **training: Arguments passed on to `GenreClassifier`.

    Raises:
        UserError: A patch is larger than a clip.
        ValueError: `width` is odd or not divisible by `heads`, `depth` is out of range, or `patch` or `stride` is not a
            pair of positive integers.
    """

    def __init__(
        self,
        *,
        patch: Sequence[int] = (16, 8),
        stride: Sequence[int] = (12, 8),
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(**training)
        if any(len(size) != 2 or min(size) < 1 for size in (patch, stride)):
            raise ValueError("patch and stride must be pairs (mels, frames) of whole numbers of 1 or more")
        spec = self.spec
        if spec.n_mels < patch[0] or spec.clip_frames < patch[1]:
            raise UserError(
                f"A patch is {patch[0]} mels x {patch[1]} frames, a clip only {spec.n_mels} x {spec.clip_frames}: "
                "lower model.patch, or raise data.clip_seconds or features.n_mels."
            )
        if width % 2 or heads < 1 or width % heads:
            raise ValueError(f"width={width} must be even and heads={heads} must divide it.")
        if not 1 <= depth <= 100:
            raise ValueError(f"depth={depth} must lie between 1 and 100.")
        rows = (spec.n_mels - patch[0]) // stride[0] + 1
        self.network = Network(
            image=AsImage(),
            patches=nn.Conv2d(1, width, (patch[0], patch[1]), stride=(stride[0], stride[1])),
            place=PlaceOfPatch(rows, width),
            sequence=PatchesAsSequence(),
            dropout_in=nn.Dropout(dropout),
            layers=nn.Sequential(*(_layer(width, heads, dropout) for _ in range(depth))),
            norm=nn.LayerNorm(width),
            mean=MeanOverTime(),
            dropout=nn.Dropout(dropout),
            classifier=nn.Linear(width, len(self.genres)),
        )


def _layer(width: int, heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        width, heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
    )


class PlaceOfPatch(nn.Module):
    """Adds a positional encoding to each patch ``(batch, width, row, column)``.

    Args:
        rows: Number of patches from the lowest to the highest mel band.
        width: Size of the vector that represents a patch.
    """

    rates: Tensor

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.row = nn.Parameter(0.02 * torch.randn(width, rows, 1))
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the patches with their positional encodings added."""
        angles = self.rates[:, None] * torch.arange(x.shape[3], device=x.device)
        return x + self.row + torch.cat([angles.sin(), angles.cos()])[:, None]


class PatchesAsSequence(nn.Module):
    """Turns a grid of patches ``(batch, width, row, column)`` into a sequence ``(batch, patch, width)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the patches along the second axis."""
        return x.flatten(2).transpose(1, 2)
