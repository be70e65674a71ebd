"""The networks of XiplusChenyu/Musical-Genre-Classification, which take chunks of a few seconds."""

from collections.abc import Sequence
from typing import ClassVar, Literal, Unpack

from torch import Tensor, nn

from genreclf.models.crnn import FramesAsSequence
from genreclf.models.layers import AsImage, Network, OutputsOf, draw_glorot
from genreclf.models.pooling import MaxPool2d
from genreclf.models.published.fixed import FixedInput
from genreclf.training.module import Training

SequenceOf = Literal["time", "channels"]
"""Axis that a recurrent layer reads as a sequence, see `sequence_of`."""


class XiplusCNN(FixedInput):
    """Four convolutions and three linear layers (``CnnModel`` of XiplusChenyu/Musical-Genre-Classification)."""

    def __init__(self, **training: Unpack[Training]) -> None:
        super().__init__(**training)
        self.network = Network(
            input=self.fit_to(),
            image=AsImage(),
            convolutions=convolutions((64, 128, 256, 512), (2, 2, 4, 4)),
            flatten=nn.Flatten(),
            layers=nn.Sequential(linear(2048, 1024), linear(1024, 256)),
            classifier=nn.Linear(256, len(self.genres)),
        )


class XiplusCRNN1(FixedInput):
    """Three convolutions and a GRU (``CrnnModel`` of XiplusChenyu/Musical-Genre-Classification).

    wu2ming/Song-Classification has the same network with convolutions initialized as PyTorch does by default.

    Args:
        sequence: Axis that the GRU reads: ``time``, or ``channels`` as published; see `sequence_of`.
        glorot: Whether to initialize the convolutions as in Glorot and Bengio (2010).
        **training: Arguments passed on to `GenreClassifier`.
    """

    channels: ClassVar[tuple[int, ...]] = (64, 128, 256)
    pools: ClassVar[tuple[int, ...]] = (2, 2, 4)
    recurrent_values: ClassVar[int] = 2048
    dropout: ClassVar[float] = 0.6

    def __init__(self, *, sequence: SequenceOf = "time", glorot: bool = True, **training: Unpack[Training]) -> None:
        super().__init__(**training)
        self.network = Network(
            input=self.fit_to(),
            image=AsImage(),
            convolutions=convolutions(self.channels, self.pools, glorot=glorot),
            sequence=sequence_of(sequence),
            recurrence=OutputsOf(nn.GRU(2048, 256, batch_first=True)),
            flatten=nn.Flatten(),
            norm=nn.Sequential(nn.BatchNorm1d(self.recurrent_values), nn.Dropout(self.dropout)),
            layers=nn.Sequential(linear(self.recurrent_values, 512), linear(512, 256)),
            classifier=nn.Linear(256, len(self.genres)),
        )


class XiplusCRNN2(XiplusCRNN1):
    """Four convolutions and a GRU, for 8.2 s (``CrnnLongModel`` of XiplusChenyu/Musical-Genre-Classification)."""

    mels: ClassVar[int] = 256
    frames: ClassVar[int] = 256
    channels: ClassVar[tuple[int, ...]] = (64, 128, 256, 512)
    pools: ClassVar[tuple[int, ...]] = (2, 2, 4, 4)
    recurrent_values: ClassVar[int] = 1024
    dropout: ClassVar[float] = 0.5


class XiplusRCNN(FixedInput):
    """A GRU over time, then convolutions (``RnnModel`` of XiplusChenyu/Musical-Genre-Classification)."""

    mels: ClassVar[int] = 256
    frames: ClassVar[int] = 256

    def __init__(self, **training: Unpack[Training]) -> None:
        super().__init__(**training)
        sizes = (11520, 4096, 2048, 1024, 256)
        self.network = Network(
            input=self.fit_to(),
            sequence=FramesFirst(),
            recurrence=OutputsOf(nn.GRU(self.mels, 1024, num_layers=2, batch_first=True)),
            image=AsImage(),
            convolutions=convolutions((32, 64, 128, 256), (2, 2, 4, 4), kernels=(3, 3, 5, 3)),
            flatten=nn.Flatten(),
            layers=nn.Sequential(*(linear(sizes[i], sizes[i + 1]) for i in range(len(sizes) - 1))),
            classifier=nn.Linear(256, len(self.genres)),
        )


class FramesFirst(nn.Module):
    """Swaps mel bands and frames: ``(batch, mel, frame)`` to ``(batch, frame, mel)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the spectrograms with the frames first."""
        return x.transpose(1, 2)


class ChannelsAsSequence(nn.Module):
    """Views ``(batch, channel, mel, frame)`` as ``(batch, mel, channel * frame)``, without permuting the axes.

    A step of the sequence is then a group of neighboring channels with all their mel bands and frames.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Split the values, in the order channel, mel, frame, into as many steps as there are mel bands."""
        return x.reshape(x.shape[0], x.shape[2], -1)


def sequence_of(kind: SequenceOf) -> nn.Module:
    """Return the layer that turns ``(batch, channel, mel, frame)`` into a sequence of steps.

    Args:
        kind: With ``time``, a step is a frame. ``channels`` reproduces a fault of the published networks, a view
            without a permutation: a step is a group of channels, so that the recurrent layer never reads time.

    Raises:
        ValueError: `kind` is neither ``time`` nor ``channels``.
    """
    kinds: dict[str, nn.Module] = {"time": FramesAsSequence(), "channels": ChannelsAsSequence()}
    if kind not in kinds:
        raise ValueError(f"sequence must be time or channels, not {kind}.")
    return kinds[kind]


def convolutions(
    channels: Sequence[int], pools: Sequence[int], kernels: Sequence[int] | None = None, *, glorot: bool = True
) -> nn.Sequential:
    """Return convolutions with bias and padding 1, each with batch normalization, ReLU and square max pooling.

    Pooling comes before the ReLU, which gives the same values in less time.

    Args:
        channels: Number of output channels of each convolution.
        pools: Height and width of the pooling window after each convolution.
        kernels: Height and width of the filters of each convolution; 3 by default.
        glorot: Whether to initialize the convolutions as in Glorot and Bengio (2010).
    """
    inputs = [1, *channels]
    sizes = kernels or [3] * len(channels)
    stack = nn.Sequential(
        *(
            nn.Sequential(
                nn.Conv2d(inputs[i], channels[i], sizes[i], padding=1),
                nn.BatchNorm2d(channels[i]),
                MaxPool2d((pools[i], pools[i])),
                nn.ReLU(inplace=True),
            )
            for i in range(len(channels))
        )
    )
    if glorot:
        draw_glorot(stack)
    return stack


def linear(inputs: int, outputs: int) -> nn.Sequential:
    """Return a linear layer followed by ReLU and dropout."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(inplace=True), nn.Dropout(0.5))
