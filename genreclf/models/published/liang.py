"""The networks of "CRNN based Music Genre Classification" (Liang, Sun and Wen), which take whole tracks.

The paper's feed-forward network is the one in `genreclf.models.published.leland`. Details that the paper does not
mention are assumed to be the defaults of Keras. There is no batch normalization, because the paper does not mention it.
"""

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from genreclf.models.crnn import FramesAsSequence
from genreclf.models.layers import AsImage, Network, OutputsOf, draw_as_keras
from genreclf.models.pooling import MaxPool2d
from genreclf.models.published.whole_track import Resize, WholeTrack
from genreclf.training.module import Training


class LiangCNN(WholeTrack):
    """Four 4x4 convolutions and two linear layers (Liang, Sun and Wen).

    Details that the paper does not give are assumed: 16, 32, 64 and 64 channels, no padding, 64 units.

    Args:
        resize: How to resize a track: ``pad``, or ``shear`` as assumed for the paper; see `WholeTrack.resized`.
        **training: Arguments passed on to `GenreClassifier`.
    """

    def __init__(self, *, resize: Resize = "pad", **training: Unpack[Training]) -> None:
        super().__init__(**training)
        self.network = Network(
            input=self.resized(resize),
            image=AsImage(),
            convolutions=_stack((16, 32, 64, 64), [(2, 4)] * 4, kernel=4, padding=0, dropout=0.0),
            flatten=nn.Flatten(),
            layers=nn.Sequential(nn.Linear(64 * 5 * 1, 64), nn.ReLU(inplace=True), nn.Dropout(0.25)),
            classifier=nn.Linear(64, len(self.genres)),
        )
        draw_as_keras(self.network)


class LiangCRNN(WholeTrack):
    """Four 3x3 convolutions and two LSTMs (Liang, Sun and Wen; laid out as in Choi et al., 2017).

    Details that the paper does not give are assumed: 64, 128, 128 and 128 channels; sequences of six steps of 128
    values; only the last output of the second LSTM is used.

    Args:
        resize: How to resize a track: ``pad``, or ``shear`` as assumed for the paper; see `WholeTrack.resized`.
        **training: Arguments passed on to `GenreClassifier`.
    """

    def __init__(self, *, resize: Resize = "pad", **training: Unpack[Training]) -> None:
        super().__init__(**training)
        self.network = Network(
            input=self.resized(resize),
            image=AsImage(),
            convolutions=_stack(
                (64, 128, 128, 128), ((2, 2), (3, 3), (4, 4), (4, 4)), kernel=3, padding=1, dropout=0.1
            ),
            sequence=FramesAsSequence(),
            recurrence=nn.Sequential(
                OutputsOf(nn.LSTM(128, 20, batch_first=True)), OutputsOf(nn.LSTM(20, 20, batch_first=True))
            ),
            last=LastStep(),
            layers=nn.Sequential(nn.Linear(20, 32), nn.ReLU(inplace=True)),
            classifier=nn.Linear(32, len(self.genres)),
        )
        draw_as_keras(self.network)


class LastStep(nn.Module):
    """Selects the last step of a sequence: ``(batch, step, feature)`` to ``(batch, feature)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the last step."""
        return x[:, -1]


def _stack(
    channels: Sequence[int], pools: Sequence[tuple[int, int]], *, kernel: int, padding: int, dropout: float
) -> nn.Sequential:
    """Return convolutions, each followed by ReLU, max pooling over (mel bands, frames), and dropout."""
    inputs = [1, *channels]
    return nn.Sequential(
        *(
            nn.Sequential(
                nn.Conv2d(inputs[i], channels[i], kernel, padding=padding),
                nn.ReLU(inplace=True),
                MaxPool2d(pools[i]),
                nn.Dropout(dropout),
            )
            for i in range(len(channels))
        )
    )
