"""Scale quantized log-mel spectrograms to the input of a network."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from genreclf.audio.log_mel import PICTURE_RANGE_DB, FeatureSpec
from genreclf.errors import UserError

Scale = Literal["standardize", "decibel", "peak_decibel", "unit", "power"]
"""Kinds of scaling; `Scaling` explains each."""


FULL_SCALE = 2**15
"""The stored value of a waveform's full scale."""

LEAST_DEVIATION = 0.1
"""The least standard deviation of an embedding's value, as a share of the mean of those of its layer."""


class Scaling(nn.Module):
    """Scales a network's input, in the same way in training, test, prediction and export.

    Args:
        spec: The parameters of the spectrograms.
        scale: One of

            - ``standardize``: dB, each mel band brought to mean 0 and standard deviation 1 over the training tracks;
            - ``decibel``: dB; of audio, clipped at `TOP_DB` below the track's peak;
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
            raise UserError(f"features.scale={scale} is not one of {', '.join(get_args(Scale))}.")
        self.spec = spec
        self.scale = scale
        self.register_buffer("mean", torch.zeros(spec.n_mels, 1))
        self.register_buffer("std", torch.ones(spec.n_mels, 1))
        self._held: tuple[Tensor, Tensor] | None = None

    def hold(self) -> None:
        """Compute the offset and the gain once for all training steps until `release`, rather than in each step.

        Until then, the mean and the standard deviation must not change.
        """
        if self.scale == "standardize":
            self._held = self._line()

    def release(self) -> None:
        """Compute the offset and the gain in each step again."""
        self._held = None

    def _line(self) -> tuple[Tensor, Tensor]:
        """Return the offset and the gain of each band, ``(mel, 1)`` each, that standardize stored values."""
        return (self.spec.zero_db - self.mean) / self.std, self.spec.step_db / self.std

    def forward(self, log_mel_q: Tensor) -> Tensor:
        """Return the scaled float32 spectrograms of quantized ones, both ``(batch, mel, frame)``.

        Of waveforms, these are ``(batch, sample)`` with full scale at 1, however they are scaled; of embeddings, each
        value is standardized.
        """
        if self.spec.kind == "waveform":
            return log_mel_q.transpose(1, 2).flatten(1).float() / FULL_SCALE
        if self.scale == "standardize":
            # An average of weights, which is validated in their place, has its own mean and deviation.
            offset, gain = self._held if self.training and self._held is not None else self._line()
            return torch.addcmul(offset, log_mel_q.float(), gain)
        level_db = log_mel_q.float() * self.spec.step_db + self.spec.zero_db
        if self.scale == "power":
            return torch.pow(10.0, level_db / 10.0)
        if self.scale == "decibel":
            return level_db
        below_peak = (level_db - level_db.amax((-2, -1), keepdim=True)).clamp(min=-PICTURE_RANGE_DB)
        return below_peak if self.scale == "peak_decibel" else below_peak / PICTURE_RANGE_DB + 1.0

    def floor(self, x: Tensor) -> Tensor:
        """Return the value of silence in each band of scaled spectrograms, ``(1 or batch, mel or 1, 1)``.

        Where levels are clipped below their track's peak, it is the lowest level of each clip.

        Args:
            x: Shape ``(batch, mel, frame)``.
        """
        is_standardized = self.scale == "standardize"
        if self.spec.top_db is not None:
            lowest = (x * self.std + self.mean if is_standardized else x).amin((1, 2), keepdim=True)
            return (lowest - self.mean) / self.std if is_standardized else lowest
        silence_db = self.spec.silence * self.spec.step_db + self.spec.zero_db
        if is_standardized:
            return (silence_db - self.mean[None]) / self.std
        values = {"decibel": silence_db, "peak_decibel": -PICTURE_RANGE_DB, "unit": 0.0}
        return x.new_full((1, 1, 1), values.get(self.scale, 10 ** (silence_db / 10)))

    @property
    def is_fitted(self) -> bool:
        """Whether the mean and the standard deviation, where they count, come from `fit` or from a checkpoint."""
        return self.scale != "standardize" or self.spec.kind == "waveform" or bool(self.mean.any())

    def fit(self, log_mel_q: Tensor) -> None:
        """Estimate each band's mean and standard deviation from training clips ``(batch, mel, frame)``."""
        if self.scale != "standardize" or self.spec.kind == "waveform":
            return
        level_db = log_mel_q.double() * self.spec.step_db + self.spec.zero_db
        # Of a band that is always silent, the standard deviation is 0.
        std, mean = torch.std_mean(level_db, dim=(0, 2), correction=0)
        self.mean.copy_(mean[:, None])
        if self.spec.layers is not None:
            for layer in torch.split(std, [size for _, size in self.spec.layers]):
                layer.clamp_(min=LEAST_DEVIATION * float(layer.mean()) or 1.0)
        else:
            std.clamp_(min=1.0)
        self.std.copy_(std[:, None])
