"""The networks of the music taggers of Pons and Serra (2019), as published."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from genreclf.models.musicnn import SideBySide

MELS = 96
"""Number of mel bands in the networks' input."""

EPSILON = 1e-3
"""Epsilon of TensorFlow's batch normalization."""


class HighestMel(nn.Module):
    """A convolution, ReLU and batch normalization, followed by the maximum over the mel bands.

    Args:
        filters: Number of filters.
        mels: Height of the filters in mel bands.
        frames: Width of the filters in frames; the input is padded so that the number of frames stays the same.
    """

    def __init__(self, filters: int, mels: int, frames: int) -> None:
        super().__init__()
        self.around = nn.ZeroPad2d(((frames - 1) // 2, frames // 2, 0, 0))
        self.filters = nn.Conv2d(1, filters, (mels, frames))
        self.norm = nn.BatchNorm2d(filters, EPSILON)

    def forward(self, image: Tensor) -> Tensor:
        """Return the outputs ``(batch, filter, frame)`` for spectrograms ``(batch, 1, mel, frame)``."""
        x: Tensor = self.filters(self.around(image))
        if not self.training:  # The next steps are monotonic for each filter, so one value per frame is enough.
            x = torch.where(self.norm.weight[:, None] < 0, x.amin(2), x.amax(2))[:, :, None]
        highest: Tensor = self.norm(functional.relu(x)).amax(2)
        return highest


class MusicnnNetwork(nn.Module):
    """Timbral and temporal filters, three layers over time, maximum and mean over time, and a dense layer.

    Unlike `genreclf.models.Musicnn`, which is modeled on this network, it normalizes after the activation, and applies
    its temporal filters to every mel band.
    """

    layers = ("front_end", "cnn1", "cnn2", "cnn3", "pooled", "penultimate")
    dimensions = (561, 64, 64, 64, 1506, 200)

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, EPSILON)
        timbral = (HighestMel(204, int(share * MELS), 7) for share in (0.4, 0.7))
        temporal = (HighestMel(51, 1, frames) for frames in (128, 64, 32))
        self.front_end = SideBySide(*timbral, *temporal)
        self.over_time = nn.ModuleList(
            nn.Sequential(nn.Conv1d(features, 64, 7, padding=3), nn.ReLU(), nn.BatchNorm1d(64, EPSILON))
            for features in (561, 64, 64)
        )
        self.pooled = nn.BatchNorm1d(1506, EPSILON)
        self.dense = nn.Sequential(nn.Linear(1506, 200), nn.ReLU(), nn.BatchNorm1d(200, EPSILON))
        self.tags = nn.Linear(200, 50)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return a list of the layers' outputs ``(batch, dimension)``, and the logits ``(batch, tag)``.

        Args:
            images: Scaled log-mels ``(batch, 1, mel, frame)``.
        """
        front = self.front_end(self.norm(images))
        first = self.over_time[0](front)
        second = first + self.over_time[1](first)
        third = second + self.over_time[2](second)
        together = torch.cat([front, first, second, third], 1)
        pooled = torch.stack([together.amax(2), together.mean(2)], 2).flatten(1)
        last = self.dense(self.pooled(pooled))
        return [*(each.mean(2) for each in (front, first, second, third)), pooled, last], self.tags(last)

    def blocks(self) -> list[nn.Module]:
        """Return the front end, the layers over time, and the dense layer."""
        return [
            nn.ModuleList([self.norm, self.front_end]),
            *self.over_time,
            nn.ModuleList([self.pooled, self.dense]),
        ]


class VGGNetwork(nn.Module):
    """Five convolutional layers with 3x3 filters."""

    layers = ("pool1", "pool2", "pool3", "pool4", "pool5")
    dimensions = (128,) * 5

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, EPSILON)
        pools = [((1, 4), 2), *[((2, 2), 2)] * 3, ((4, 4), 4)]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(128 if place else 1, 128, 3, padding=1),
                nn.ReLU(),
                nn.BatchNorm2d(128, EPSILON),
                nn.MaxPool2d(size, stride),
            )
            for place, (size, stride) in enumerate(pools)
        )
        self.tags = nn.Linear(256, 50)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return a list of the layers' outputs ``(batch, dimension)``, and the logits ``(batch, tag)``.

        Args:
            images: Scaled log-mels ``(batch, 1, mel, frame)``.
        """
        x, outputs = self.norm(images), []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x.mean((2, 3)))
        return outputs, self.tags(x[:, :, 0].transpose(1, 2).flatten(1))

    def blocks(self) -> list[nn.Module]:
        """Return the five convolutional layers."""
        first, *others = self.stages
        return [nn.ModuleList([self.norm, first]), *others]
