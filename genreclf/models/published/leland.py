"""The networks of lelandroberts97/Musical_Genre_Classification, which take whole tracks."""

from typing import Unpack

from torch import nn

from genreclf.models.layers import AsImage, Network, draw_as_keras
from genreclf.models.pooling import MaxPool2d
from genreclf.models.published.whole_track import Resize, WholeTrack
from genreclf.training.module import Training


class LelandFFNN(WholeTrack):
    """Three hidden layers on the flattened track (lelandroberts97/Musical_Genre_Classification; Liang, Sun and Wen).

    Args:
        resize: How to resize a track: ``pad``, or ``shear`` as published; see `WholeTrack.resized`.
        **training: Arguments passed on to `GenreClassifier`.
    """

    def __init__(self, *, resize: Resize = "pad", **training: Unpack[Training]) -> None:
        super().__init__(**training)
        self.network = Network(
            input=self.resized(resize),
            flatten=nn.Flatten(),
            layers=nn.Sequential(
                nn.Linear(self.mels * self.frames, 128),
                nn.ReLU(inplace=True),
                nn.Linear(128, 128),
                nn.ReLU(inplace=True),
                nn.Linear(128, 64),
                nn.ReLU(inplace=True),
            ),
            classifier=nn.Linear(64, len(self.genres)),
        )
        draw_as_keras(self.network)


class LelandCNN(WholeTrack):
    """Two convolutions and two linear layers (lelandroberts97/Musical_Genre_Classification).

    Args:
        resize: How to resize a track: ``pad``, or ``shear`` as published; see `WholeTrack.resized`.
        **training: Arguments passed on to `GenreClassifier`.
    """

    def __init__(self, *, resize: Resize = "pad", **training: Unpack[Training]) -> None:
        super().__init__(**training)
        self.network = Network(
            input=self.resized(resize),
            image=AsImage(),
            convolutions=nn.Sequential(
                nn.Conv2d(1, 16, 3),
                nn.ReLU(inplace=True),
                MaxPool2d((2, 4)),
                nn.Conv2d(16, 32, 3),
                nn.ReLU(inplace=True),
                MaxPool2d((2, 4)),
            ),
            flatten=nn.Flatten(),
            layers=nn.Sequential(nn.Linear(38400, 64), nn.ReLU(inplace=True), nn.Dropout(0.25)),
            classifier=nn.Linear(64, len(self.genres)),
        )
        draw_as_keras(self.network)
