"""Block-level features: properties of short blocks of a spectrogram, summarized over all blocks of a clip.

After K. Seyerlehner, G. Widmer and T. Pohle, "Fusing block-level features for music similarity estimation", DAFx 2010,
and K. Seyerlehner, M. Schedl, T. Pohle and P. Knees, "Using block-level features for genre classification, tag
classification and music similarity estimation", MIREX 2010. In contrast to these papers, the features are computed
from log-mel spectrograms instead of spectrograms on a cent scale, and blocks are shortened to fit short clips.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from genreclf.audio.log_mel import FeatureSpec

SPECTRAL_FRAMES, SPECTRAL_HOP = 10, 5
DELTA_FRAMES, DELTA_HOP, DELTA_KEPT, DELTA_LAG_S = 25, 5, 15, 0.07
FLUCTUATION_S, CORRELATION_S, LONG_HOP_S = 11.9, 5.95, 2.97
CONTRAST_S, CONTRAST_HOP_S = 0.93, 0.46
RATES_HZ = (0.25, 6.4)
"""Range of the fluctuation pattern's modulation rates in Hz, divided into `RATES` bins of equal logarithmic width."""
RATES = 20
FINE, COARSE = 32, 16
"""Intended number of groups of bands in the fluctuation and correlation patterns, and in the contrast pattern."""


class BlockLevel(nn.Module):
    """Computes six patterns of scaled log-mels ``(batch, mel, frame)`` and concatenates them, without autocast.

    Each pattern is computed for all blocks of a clip, and then summarized by a percentile or variance over the blocks:

    - spectral pattern: the levels of each band within a block, sorted (90th percentile);
    - delta pattern: the rises of each band within a block, sorted (90th percentile);
    - variance delta pattern: the same rises (variance);
    - logarithmic fluctuation pattern: the strength of each band's modulation at several rates (60th percentile);
    - correlation pattern: the correlation of each pair of bands (50th percentile);
    - spectral contrast pattern: the difference between the strongest and the weakest of neighboring bands, sorted (10th
      percentile).

    Args:
        spec: Parameters of the spectrograms, with at least 16 mel bands and 3 frames.

    Attributes:
        sizes: Number of features of each pattern.
    """

    waves: Tensor
    rates: Tensor
    pairs: Tensor

    def __init__(self, *, spec: FeatureSpec) -> None:
        super().__init__()
        self.frames = spec.clip_frames
        self.lag = max(1, round(DELTA_LAG_S * spec.frames_per_second))

        def block(length_s: float) -> int:
            return max(2, min(round(length_s * spec.frames_per_second), self.frames))

        self.fluctuation, self.correlation, self.contrast = map(block, (FLUCTUATION_S, CORRELATION_S, CONTRAST_S))
        self.long_hop, self.contrast_hop = block(LONG_HOP_S), block(CONTRAST_HOP_S)
        length = self.fluctuation
        low, high = map(math.log, RATES_HZ)
        bin_of: dict[int, list[int]] = {}
        for index in range(1, length // 2 + 1):
            hz = index * spec.frames_per_second / length
            place = math.floor((math.log(hz) - low) / (high - low) * RATES)
            if 0 <= place < RATES:
                bin_of.setdefault(place, []).append(index)
        members = [bin_of[place] for place in sorted(bin_of)] or [[1]]
        used = [index for bins in members for index in bins]
        phase = 2 * math.pi / length * torch.arange(length)[:, None] * torch.tensor(used)
        window = torch.hann_window(length)[:, None] / length
        mean = [[(index in bins) / len(bins) for bins in members] for index in used]
        self.register_buffer("waves", torch.stack([phase.cos(), phase.sin()]) * window, persistent=False)
        self.register_buffer("rates", torch.tensor(mean), persistent=False)
        self.fine, self.coarse = max(1, spec.n_mels // FINE), max(1, spec.n_mels // COARSE)
        fine, coarse = spec.n_mels // self.fine, spec.n_mels // self.coarse
        self.register_buffer("pairs", torch.triu_indices(fine, fine, 1), persistent=False)
        delta = spec.n_mels * min(DELTA_KEPT, DELTA_FRAMES, self.frames - self.lag)
        self.sizes = (
            spec.n_mels * min(SPECTRAL_FRAMES, self.frames),
            delta,
            delta,
            fine * len(members),
            fine * (fine - 1) // 2,
            coarse * self.contrast,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features ``(batch, feature)`` of all patterns, one pattern after the other."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.waves.dtype)
            rises = (x[..., self.lag :] - x[..., : -self.lag]).clamp(min=0)
            rises = _sorted_blocks(rises, DELTA_FRAMES, DELTA_HOP)[..., :DELTA_KEPT]
            fine = functional.avg_pool2d(x[:, None], (self.fine, 1))[:, 0]
            above, below = (functional.max_pool2d(sign * x[:, None], (self.coarse, 1))[:, 0] for sign in (1, -1))
            contrast = _sorted_blocks(above + below, self.contrast, self.contrast_hop)
            patterns = (
                _percentile(_sorted_blocks(x, SPECTRAL_FRAMES, SPECTRAL_HOP), 0.9),
                _percentile(rises, 0.9),
                rises.var(dim=2, unbiased=False),
                _percentile(self._modulation(_blocks(fine, self.fluctuation, self.long_hop)), 0.6),
                _percentile(self._correlation(_blocks(fine, self.correlation, self.long_hop)), 0.5),
                _percentile(contrast, 0.1),
            )
            return torch.cat([pattern.flatten(1) for pattern in patterns], 1)

    def _modulation(self, blocks: Tensor) -> Tensor:
        """Return the logarithm of the modulation at each rate, ``(batch, band, block, rate)``."""
        centered = blocks - blocks.mean(-1, keepdim=True)
        power = (centered @ self.waves[0]).square() + (centered @ self.waves[1]).square()
        return ((power + 1e-8).sqrt() @ self.rates + 1e-3).log()

    def _correlation(self, blocks: Tensor) -> Tensor:
        """Return the correlation of each pair of bands, ``(batch, 1, block, pair)``."""
        centered = (blocks - blocks.mean(-1, keepdim=True)).transpose(1, 2)
        unit = centered / (centered.square().sum(-1, keepdim=True) + 1e-3).sqrt()
        return (unit @ unit.transpose(2, 3))[:, None, :, self.pairs[0], self.pairs[1]]


def _blocks(x: Tensor, length: int, hop: int) -> Tensor:
    """Return blocks ``(batch, band, block, length)`` of ``(batch, band, frame)``; one block if there are few frames."""
    return x.unfold(-1, min(length, x.shape[-1]), hop)


def _sorted_blocks(x: Tensor, length: int, hop: int) -> Tensor:
    blocks = _blocks(x, length, hop)
    return blocks.topk(blocks.shape[-1], dim=-1).values


def _percentile(x: Tensor, share: float) -> Tensor:
    """Return the quantile `share` over the blocks, ``(batch, band, column)``, without interpolation between blocks."""
    blocks = x.shape[2]
    return x.topk(blocks - int(share * (blocks - 1)), dim=2).values[:, :, -1]
