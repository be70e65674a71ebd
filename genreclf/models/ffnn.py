"""Feed-forward neural network."""

from collections.abc import Sequence
from typing import Unpack

from torch import nn

from genreclf.models.layers import Network
from genreclf.training.module import GenreClassifier, Training


class FFNN(GenreClassifier):
    """Fully connected layers on the flattened spectrogram, a baseline without any notion of time or frequency.

    Args:
        hidden: Number of units in each hidden layer.
        dropout: Dropout probability after each hidden layer.
        **training: Arguments passed on to `GenreClassifier`.
    """

    def __init__(
        self, *, hidden: Sequence[int] = (128, 64), dropout: float = 0.3, **training: Unpack[Training]
    ) -> None:
        super().__init__(**training)
        sizes = [self.spec.n_mels * self.spec.clip_frames, *hidden]
        self.network = Network(
            flatten=nn.Flatten(),
            layers=nn.Sequential(
                *(
                    nn.Sequential(nn.Linear(sizes[i], sizes[i + 1]), nn.ReLU(inplace=True), nn.Dropout(dropout))
                    for i in range(len(hidden))
                )
            ),
            classifier=nn.Linear(sizes[-1], len(self.genres)),
        )
