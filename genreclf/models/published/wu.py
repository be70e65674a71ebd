"""The first network of wu2ming/Song-Classification."""

from typing import Unpack

from torch import nn

from genreclf.models.layers import AsImage, Network
from genreclf.models.published.fixed import FixedInput
from genreclf.models.published.xiplus import convolutions
from genreclf.training.module import Training


class WuCNN(FixedInput):
    """Two convolutions and an output layer (README of wu2ming/Song-Classification; the code is no longer published).

    Details that the README does not give are taken from the author's second network: 64 and 128 channels, 3x3 filters,
    batch normalization, ReLU, and pooling by 2.
    """

    def __init__(self, **training: Unpack[Training]) -> None:
        super().__init__(**training)
        self.network = Network(
            input=self.fit_to(),
            image=AsImage(),
            convolutions=convolutions((64, 128), (2, 2), glorot=False),
            flatten=nn.Flatten(),
            classifier=nn.Linear(128 * 32 * 32, len(self.genres)),
        )
