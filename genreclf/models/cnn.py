"""Convolutional neural network (CNN)."""

from collections.abc import Sequence
from typing import Unpack

from torch import nn

from genreclf.models.layers import AsImage, Network, conv_stack, pooled_size
from genreclf.training.module import GenreClassifier, Training


class CNN(GenreClassifier):
    """Convolutions over mel bands and time, whose outputs are averaged over both (after Choi et al., 2016).

    Args:
        channels: Number of output channels of each convolution.
        pools: Size of the pooling window after each convolution, (mel bands, frames).
        dropout: Dropout probability before the classifier.
        **training: Arguments passed on to `GenreClassifier`.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64, 96, 128),
        pools: Sequence[Sequence[int]] = ((2, 2), (2, 2), (4, 2), (4, 2)),
        dropout: float = 0.3,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(**training)
        pooled_size(self.spec, pools)
        self.network = Network(
            image=AsImage(),
            convolutions=conv_stack(channels, pools),
            mean=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            dropout=nn.Dropout(dropout),
            classifier=nn.Linear(channels[-1], len(self.genres)),
        )
