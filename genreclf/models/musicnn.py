"""Musicnn: a convolutional network with filter shapes chosen for timbre and for rhythm."""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from genreclf.models.layers import AsImage, Network
from genreclf.training.module import GenreClassifier, Training


class Musicnn(GenreClassifier):
    """Tall timbral and long temporal filters, dense layers over time, mean and maximum (Pons and Serra, 2019).

    The network is modeled on musicnn (arXiv:1909.06654), and differs from it. The widths of filters are given in
    seconds instead of frames of 16 ms, so that filters cover the same stretch of music at any hop size. There are fewer
    filters, to suit hundreds of training tracks: musicnn has 204 timbral filters of each height and 51 temporal filters
    of each width. The taller timbral filters span 0.9 of the mel bands instead of 0.7, temporal filters see the mean of
    all bands instead of each band, batch normalization precedes the activation, and `Scaling` replaces the batch
    normalization of the input. For the original with its weights, see `genreclf.models.encoders.musicnn`.

    Args:
        timbral: Number of timbral filters of each height.
        heights: Heights of the timbral filters, as fractions of the number of mel bands.
        timbral_s: Width of the timbral filters in seconds; at least 3 frames are used.
        temporal: Number of temporal filters of each width.
        temporal_s: Widths of the temporal filters in seconds; at least 3 frames are used.
        channels: Number of output channels of each of the three layers over time.
        hidden: Number of units of the dense layer before the classifier.
        dropout: Dropout probability before the dense layer and before the classifier.
        **training: Arguments passed on to `GenreClassifier`.

    Raises:
        ValueError: `heights` or `temporal_s` is empty, a height is not within (0, 1], or a width is not positive.
    """

    def __init__(
        self,
        *,
        timbral: int = 32,
        heights: Sequence[float] = (0.9, 0.4),
        timbral_s: float = 0.112,
        temporal: int = 16,
        temporal_s: Sequence[float] = (2.048, 1.024, 0.512),
        channels: int = 64,
        hidden: int = 128,
        dropout: float = 0.5,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(**training)
        if not heights or not all(0 < height <= 1 for height in heights):
            raise ValueError("heights must be fractions of the mels, above 0 and at most 1")
        if not temporal_s or not all(seconds > 0 for seconds in (timbral_s, *temporal_s)):
            raise ValueError("timbral_s and temporal_s must be seconds above 0")
        timbral_frames = self._odd_frames(timbral_s)
        filters = [Timbral(timbral, max(1, int(share * self.spec.n_mels)), timbral_frames) for share in heights]
        front_end = SideBySide(*filters, *(Temporal(temporal, self._odd_frames(width_s)) for width_s in temporal_s))
        features = len(heights) * timbral + len(temporal_s) * temporal
        pooled = 2 * (features + 3 * channels)
        self.network = Network(
            image=AsImage(),
            front_end=front_end,
            mid_end=DenseOverTime(features, channels),
            pooling=MeanAndMaximum(),
            norm=nn.Sequential(nn.BatchNorm1d(pooled), nn.Dropout(dropout)),
            dense=nn.Sequential(nn.Linear(pooled, hidden, bias=False), nn.ReLU(inplace=True), nn.BatchNorm1d(hidden)),
            dropout=nn.Dropout(dropout),
            classifier=nn.Linear(hidden, len(self.genres)),
        )

    def _odd_frames(self, width_s: float) -> int:
        """Return the odd number of frames closest to `width_s` seconds, at least 3."""
        return max(3, 2 * round((width_s * self.spec.frames_per_second - 1) / 2) + 1)


class Timbral(nn.Module):
    """Tall filters, followed by the maximum over pitch (the mel axis)."""

    def __init__(self, filters: int, height_mels: int, width_frames: int) -> None:
        super().__init__()
        self.filters = nn.Sequential(
            nn.Conv2d(1, filters, (height_mels, width_frames), padding=(0, width_frames // 2), bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(inplace=True),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the outputs ``(batch, filter, frame)`` for spectrograms ``(batch, 1, mel, frame)``."""
        x: Tensor = self.filters(image)
        return x.amax(2)


class Temporal(nn.Module):
    """Long filters over time, applied to the mean of all mel bands."""

    def __init__(self, filters: int, width_frames: int) -> None:
        super().__init__()
        self.filters = nn.Sequential(
            nn.Conv1d(1, filters, width_frames, padding="same", bias=False),
            nn.BatchNorm1d(filters),
            nn.ReLU(inplace=True),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the outputs ``(batch, filter, frame)`` for spectrograms ``(batch, 1, mel, frame)``."""
        x: Tensor = self.filters(image.mean(2))
        return x


class SideBySide(nn.Module):
    """Concatenates the outputs of several layers for the same input along the channels."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the concatenated outputs ``(batch, channel, ...)``."""
        return torch.cat([layer(x) for layer in self.layers], dim=1)


class DenseOverTime(nn.Module):
    """Three convolutions over time with residual connections, whose outputs are concatenated with the input."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(features, channels, 7, padding=3, bias=False), nn.BatchNorm1d(channels), nn.ReLU(inplace=True)
            )
            for features in (inputs, channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features ``(batch, inputs + 3 * channels, frame)`` for input ``(batch, inputs, frame)``."""
        first = self.layers[0](x)
        second = first + self.layers[1](first)
        third = second + self.layers[2](second)
        return torch.cat([x, first, second, third], dim=1)


class MeanAndMaximum(nn.Module):
    """Concatenates mean and maximum over the frames: ``(batch, channel, frame)`` to ``(batch, 2 * channel)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean and the maximum of each channel over the frames."""
        return torch.cat([x.mean(2), x.amax(2)], dim=1)
