"""A linear classifier on statistics of the mel bands, which describe timbre rather than the order of events."""

import math
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from genreclf.audio.log_mel import FeatureSpec
from genreclf.models.layers import Network
from genreclf.training.module import GenreClassifier, Training

RATES_HZ = (0.1, 0.5, 1.0, 1.7, 2.5, 3.4, 4.6, 6.4)
"""Edges of the bins of modulation rates in Hz; the beat of most music lies between 1 and 3 Hz."""

COEFFICIENTS = 20
"""Number of cepstral coefficients whose covariances are computed."""


class BandStatisticsClassifier(GenreClassifier):
    """One linear layer on statistics of the mel bands, a baseline without a deep network.

    Args:
        dropout: Dropout probability of the statistics.
        **training: Arguments passed on to `GenreClassifier`.
    """

    def __init__(self, *, dropout: float = 0.5, **training: Unpack[Training]) -> None:
        super().__init__(**training)
        statistics = BandStatistics(spec=self.spec)
        self.network = Network(
            statistics=statistics,
            norm=nn.BatchNorm1d(statistics.count, affine=False),
            dropout=nn.Dropout(dropout),
            classifier=nn.Linear(statistics.count, len(self.genres)),
        )


class BandStatistics(nn.Module):
    """Computes statistics of the bands of scaled log-mels ``(batch, mel, frame)`` that ignore the order of events.

    The statistics, computed without autocast, are:

    - for each band: its mean, its standard deviation, the standard deviation of its changes from frame to frame, and
      its mean rise;
    - for each group of 8 bands: its modulation at several rates (after McKinney and Breebaart, ISMIR 2003);
    - for each pair of groups of 4 bands: their correlation;
    - for the first cepstral coefficients: square roots of their covariances (after Mandel and Ellis, ISMIR 2005).

    Args:
        spec: Parameters of the spectrograms, with at least 20 mel bands.

    Attributes:
        count: Number of statistics of a clip.
    """

    waves: Tensor
    rates: Tensor
    cosines: Tensor
    pairs: Tensor
    covariances: Tensor

    def __init__(self, *, spec: FeatureSpec) -> None:
        super().__init__()
        frames, mels = spec.clip_frames, spec.n_mels
        coefficients = min(COEFFICIENTS, mels)
        # On the CPU, because tensors have no values to select from if the model is created on PyTorch's meta device.
        known_hz = torch.fft.rfftfreq(frames, 1 / spec.frames_per_second, device="cpu").tolist()
        rates_hz = torch.tensor([hz for hz in known_hz if RATES_HZ[0] <= hz < RATES_HZ[-1]])
        phase = 2 * math.pi / spec.frames_per_second * torch.arange(frames)[:, None] * rates_hz
        window = torch.hann_window(frames)[:, None] / frames
        range_of = torch.bucketize(rates_hz, torch.tensor(RATES_HZ[1:-1]), right=True)
        members = functional.one_hot(range_of, len(RATES_HZ) - 1).float()
        angle = math.pi / mels * (torch.arange(mels) + 0.5) * torch.arange(coefficients)[:, None]
        transforms = {
            "waves": torch.stack([phase.cos(), phase.sin()]) * window,
            "rates": members / members.sum(0).clamp(min=1),
            "cosines": angle.cos() * (2 / mels) ** 0.5,
            "pairs": torch.triu_indices(mels // 4, mels // 4, 1),
            "covariances": torch.triu_indices(coefficients, coefficients),
        }
        for name, transform in transforms.items():
            self.register_buffer(name, transform, persistent=False)
        ranges = mels // 8 * (len(RATES_HZ) - 1)
        self.count = 4 * mels + ranges + self.pairs.shape[1] + self.covariances.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return the statistics ``(batch, statistic)``."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.waves.dtype)
            change = x.diff(dim=2)
            levels = (x.mean(2), _deviation(x), _deviation(change), change.clamp(min=0).mean(2))
            return torch.cat([*levels, self.modulation(x), self.correlation(x), self.covariance(x)], 1)

    def modulation(self, x: Tensor) -> Tensor:
        """Return the logarithm of the modulation of each group of 8 bands at each rate, ``(batch, group * rate)``."""
        groups = _centered(functional.avg_pool2d(x[:, None], (8, 1))[:, 0])
        power = (groups @ self.waves[0]).square() + (groups @ self.waves[1]).square()
        return ((power + 1e-8).sqrt() @ self.rates + 1e-3).log().flatten(1)

    def correlation(self, x: Tensor) -> Tensor:
        """Return the correlation of each pair of groups of 4 bands, ``(batch, pair)``."""
        groups = _centered(functional.avg_pool2d(x[:, None], (4, 1))[:, 0])
        groups = groups / (groups.square().sum(2, keepdim=True) + 1e-3).sqrt()
        return (groups @ groups.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]

    def covariance(self, x: Tensor) -> Tensor:
        """Return the signed square roots of the covariances of the cepstral coefficients, ``(batch, pair)``."""
        cepstra = _centered(self.cosines @ x)
        covariance = (cepstra @ cepstra.transpose(1, 2) / x.shape[2])[:, self.covariances[0], self.covariances[1]]
        return covariance.sign() * (covariance.abs() + 1e-4).sqrt()


def _centered(x: Tensor) -> Tensor:
    return x - x.mean(2, keepdim=True)


def _deviation(x: Tensor) -> Tensor:
    return (_centered(x).square().mean(2) + 1e-6).sqrt()
