"""Stored spectrograms to the input of a network."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from genreclf.audio.log_mel import PICTURE_RANGE_DB, FeatureSpec
from genreclf.errors import UserError

Scale = Literal["standardize", "decibel", "peak_decibel", "unit", "power"]
"""What a network gets to see; `Scaling` explains each."""


class Scaling(nn.Module):
    """Stored values to what a network sees; the same in training, test, prediction and export.

    Args:
        spec: What the stored values mean.
        scale: One of

            - ``standardize``: dB, each mel band brought to mean 0 and standard deviation 1 over the training tracks;
            - ``decibel``: dB as they are stored; of audio, clipped at `TOP_DB` below the track's peak;
            - ``peak_decibel``: dB below the clip's own peak, -80 at the least;
            - ``unit``: the same brought to 0..1;
            - ``power``: no logarithm.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, spec: FeatureSpec, scale: Scale = "standardize") -> None:
        """Start with mean 0 and standard deviation 1; `fit` sets them."""
        super().__init__()
        if scale not in get_args(Scale):
            raise UserError(f"features.scale={scale} is none of {', '.join(get_args(Scale))}.")
        self.spec = spec
        self.scale = scale
        self.register_buffer("mean", torch.zeros(spec.n_mels, 1))
        self.register_buffer("std", torch.ones(spec.n_mels, 1))

    def forward(self, stored: Tensor) -> Tensor:
        """Return the scaled float32 spectrogram of stored values, both ``(batch, mel, frame)``."""
        if self.scale == "standardize":
            offset, gain = (self.spec.zero_db - self.mean) / self.std, self.spec.step_db / self.std
            return torch.addcmul(offset, stored.float(), gain)
        level_db = stored.float() * self.spec.step_db + self.spec.zero_db
        if self.scale == "power":
            return torch.pow(10.0, level_db / 10.0)
        if self.scale == "decibel":
            return level_db
        below_peak = (level_db - level_db.amax((-2, -1), keepdim=True)).clamp(min=-PICTURE_RANGE_DB)
        return below_peak if self.scale == "peak_decibel" else below_peak / PICTURE_RANGE_DB + 1.0

    def fit(self, stored: Tensor) -> None:
        """Take each band's mean and deviation from `stored` values ``(batch, mel, frame)`` of training tracks."""
        if self.scale != "standardize":
            return
        level_db = stored.double() * self.spec.step_db + self.spec.zero_db
        # A band that never sounds would be divided by nothing.
        std, mean = torch.std_mean(level_db, dim=(0, 2), correction=0)
        self.mean.copy_(mean[:, None])
        self.std.copy_(std.clamp(min=1.0)[:, None])
