"""Short-chunk CNN with residual connections."""

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn
from torch.nn import functional

from genreclf.models.layers import AsImage, Network
from genreclf.training.module import GenreClassifier, Training


class ShortChunkCNN(GenreClassifier):
    """Residual blocks that halve mel and time, then global max pooling (Won et al., 2020, arXiv:2006.00751).

    The paper has seven blocks of 128 to 512 channels and reads 3.69 s at a time. Here the channels are a quarter of
    that, for hundreds of training tracks, the maximum is over mels too where some are left, and the standardized bands
    of `genreclf.audio.scaling.Scaling` take the place of its batch norm of the input.

    Args:
        channels: Of each residual block.
        dropout: Before the classifier.
        **training: Of `GenreClassifier`.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 32, 64, 64, 64, 64, 128),
        dropout: float = 0.5,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(**training)
        inputs, width = [1, *channels], channels[-1]
        self.network = Network(
            image=AsImage(),
            blocks=nn.Sequential(*(ResidualBlock(inputs[i], channels[i]) for i in range(len(channels)))),
            maximum=nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
            dense=nn.Sequential(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)),
            dropout=nn.Dropout(dropout),
            classifier=nn.Linear(width, len(self.genres)),
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first with stride 2, and a shortcut convolution with stride 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, channel, mel, frame)`` with half the mels and half the frames, rounded up."""
        if x.shape[3] == 1:
            # The same output; without it, CPUs give garbage as the gradient of a strided bf16 convolution (torch 2.14).
            x = functional.pad(x, (0, 1))
        return functional.relu(self.way(x) + self.shortcut(x))
