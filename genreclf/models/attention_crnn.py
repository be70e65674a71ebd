"""Convolutional recurrent network with attention over time."""

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from genreclf.models.crnn import recurrent_stages
from genreclf.models.layers import Network
from genreclf.training.module import GenreClassifier, Training


class AttentionCRNN(GenreClassifier):
    """A CRNN (Choi et al., 2017) with attention instead of the mean over time (after Gururani et al., ISMIR 2019).

    Args:
        channels: Of each convolution.
        pools: Pooling after each, (mels, frames).
        hidden: Units of the recurrent layer in each direction.
        heads: Groups of features with attention weights of their own; must divide ``2 * hidden``.
        dropout: Before the classifier.
        **training: Of `GenreClassifier`.

    Raises:
        ValueError: `heads` does not divide the features.
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
    """``(batch, frame, feature)`` to ``(batch, feature)``: a mean over the frames with learned weights.

    Args:
        features: Of a frame.
        heads: Groups of features with weights of their own.
    """

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or features % heads:
            raise ValueError(f"heads={heads} does not divide {features} features.")
        # The last one has no bias: softmax over the frames would take it away.
        self.score = nn.Sequential(nn.Linear(features, features), nn.Tanh(), nn.Linear(features, heads, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Average over the frames."""
        weights: Tensor = self.score(x).softmax(1)
        heads = x.reshape(*weights.shape, -1)
        return (weights.unsqueeze(3) * heads).sum(1).flatten(1)
