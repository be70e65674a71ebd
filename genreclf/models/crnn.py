"""Convolutional recurrent neural network (CRNN)."""

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from genreclf.audio.log_mel import FeatureSpec
from genreclf.models.layers import AsImage, Network, conv_stack, outputs_of, pooled_size
from genreclf.training.module import GenreClassifier, Training


class CRNN(GenreClassifier):
    """Convolutions over mel bands and time, followed by a bidirectional GRU over time (Choi et al., 2017).

    Args:
        channels: Number of output channels of each convolution.
        pools: Size of the pooling window after each convolution, (mel bands, frames).
        hidden: Number of units of the recurrent layer in each direction.
        center_bands: Whether each band's mean over the clip is subtracted from the input, as in cepstral mean
            subtraction for speech recognition (B. Atal, 1974), so that equalization of a whole recording has no effect.
        dropout: Dropout probability before the classifier.
        **training: Arguments passed on to `GenreClassifier`.
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
    """Return stages that map scaled log-mels ``(batch, mel, frame)`` to features ``(batch, frame, 2 * hidden)``."""
    mels, _ = pooled_size(spec, pools)
    return {
        "image": AsImage(),
        "convolutions": conv_stack(channels, pools),
        "sequence": FramesAsSequence(),
        "recurrence": BidirectionalGRU(channels[-1] * mels, hidden),
    }


class CenteredBands(nn.Module):
    """Subtracts the mean over time from each band of a clip."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the bands ``(batch, mel, frame)`` with a mean of 0 over the frames."""
        return x - x.mean(2, keepdim=True)


class FramesAsSequence(nn.Module):
    """Turns feature maps ``(batch, channel, mel, frame)`` into sequences ``(batch, frame, channel * mel)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Move time to the second axis, and merge channels and mel bands."""
        return x.permute(0, 3, 1, 2).flatten(2)


class BidirectionalGRU(nn.GRU):
    """A bidirectional GRU over ``(batch, frame, feature)`` that returns only the outputs, without the last state."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Return the outputs ``(batch, frame, 2 * hidden)``."""
        return outputs_of(super().forward, x)


class MeanOverTime(nn.Module):
    """Averages ``(batch, frame, feature)`` over the frames, to ``(batch, feature)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over the frames."""
        return x.mean(1)
