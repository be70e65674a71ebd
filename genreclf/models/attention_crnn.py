"""Convolutional recurrent neural network (CRNN) with attention over time."""

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from genreclf.models.crnn import recurrent_stages
from genreclf.models.layers import Network
from genreclf.training.module import GenreClassifier, Training


class AttentionCRNN(GenreClassifier):
    """A CRNN (Choi et al., 2017) with attention in place of the mean over time (after Gururani et al., ISMIR 2019).

    Args:
        channels: Number of output channels of each convolution.
        pools: Size of the pooling window after each convolution, (mel bands, frames).
        hidden: Number of units of the recurrent layer in each direction.
        heads: Number of groups of features with separate attention weights; must divide ``2 * hidden``.
        dropout: Dropout probability before the classifier.
        **training: Arguments passed on to `GenreClassifier`.

    Raises:
        ValueError: `heads` is below 1 or does not divide ``2 * hidden``.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64, 96, 128),
        pools: Sequence[Sequence[int]] = ((2, 2), (4, 2), (4, 2), (4, 1)),
        hidden: int = 64,
        heads: int = 4,
        dropout: float = 0.3,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(**training)
        self.network = Network(
            **recurrent_stages(self.spec, channels, pools, hidden),
            attention=AttentionOverTime(2 * hidden, heads),
            dropout=nn.Dropout(dropout),
            classifier=nn.Linear(2 * hidden, len(self.genres)),
        )


class AttentionOverTime(nn.Module):
    """Weighted mean over the frames with learned weights: ``(batch, frame, feature)`` to ``(batch, feature)``.

    Args:
        features: Number of features in a frame.
        heads: Number of groups of features with separate weights; must divide `features`.

    Raises:
        ValueError: `heads` is below 1 or does not divide `features`.
    """

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or features % heads:
            raise ValueError(f"heads={heads} does not divide {features} features.")
        # The last layer has no bias, because softmax over the frames would cancel it.
        self.score = nn.Sequential(nn.Linear(features, features), nn.Tanh(), nn.Linear(features, heads, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted mean over the frames, ``(batch, feature)``."""
        weights: Tensor = self.score(x).softmax(1)
        heads = x.reshape(*weights.shape, -1)
        return (weights.unsqueeze(3) * heads).sum(1).flatten(1)
