"""Convolutional recurrent network."""

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from genreclf.audio.log_mel import FeatureSpec
from genreclf.models.layers import AsImage, Network, conv_stack, outputs_of, pooled_size
from genreclf.training.module import GenreClassifier, Training


class CRNN(GenreClassifier):
    """Convolutions over mel and time followed by a bidirectional GRU over time (Choi et al., 2017).

    Args:
        channels: Of each convolution.
        pools: Pooling after each, (mels, frames).
        hidden: Units of the recurrent layer in each direction.
        center_bands: Whether it sees each band without its mean over the clip, as cepstral mean subtraction in speech
            recognition (B. Atal, 1974), so that what equalizes a whole recording changes nothing.
        dropout: Before the classifier.
        **training: Of `GenreClassifier`.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64, 96, 128),
        pools: Sequence[Sequence[int]] = ((2, 2), (4, 2), (4, 2), (4, 1)),
        hidden: int = 64,
        center_bands: bool = False,
        dropout: float = 0.3,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(**training)
        centered = {"centered": CenteredBands()} if center_bands else {}
        self.network = Network(
            **centered,
            **recurrent_stages(self.spec, channels, pools, hidden),
            mean=MeanOverTime(),
            dropout=nn.Dropout(dropout),
            classifier=nn.Linear(2 * hidden, len(self.genres)),
        )


def recurrent_stages(
    spec: FeatureSpec, channels: Sequence[int], pools: Sequence[Sequence[int]], hidden: int
) -> dict[str, nn.Module]:
    """Return the stages from scaled log-mel ``(batch, mel, frame)`` to ``(batch, frame, 2 * hidden)``."""
    mels, _ = pooled_size(spec, pools)
    return {
        "image": AsImage(),
        "convolutions": conv_stack(channels, pools),
        "sequence": FramesAsSequence(),
        "recurrence": BidirectionalGRU(channels[-1] * mels, hidden),
    }


class CenteredBands(nn.Module):
    """Each band of a clip without its mean over time."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, mel, frame)`` with a mean of 0 over the frames."""
        return x - x.mean(2, keepdim=True)


class FramesAsSequence(nn.Module):
    """``(batch, channel, mel, frame)`` to ``(batch, frame, channel * mel)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Move time to the second axis."""
        return x.permute(0, 3, 1, 2).flatten(2)


class BidirectionalGRU(nn.GRU):
    """A bidirectional GRU over ``(batch, frame, feature)`` that returns only its outputs."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Return ``(batch, frame, 2 * hidden)``."""
        return outputs_of(super().forward, x)


class MeanOverTime(nn.Module):
    """``(batch, frame, feature)`` to ``(batch, feature)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Average over the frames."""
        return x.mean(1)
