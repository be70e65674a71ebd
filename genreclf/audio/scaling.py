"""Scale quantized log-mel spectrograms to the input of a network."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from genreclf.audio.log_mel import PICTURE_RANGE_DB, FeatureSpec
from genreclf.errors import UserError

Scale = Literal["standardize", "decibel", "peak_decibel", "unit", "power"]
"""Kinds of scaling; `Scaling` explains them."""


FULL_SCALE = 2**15
"""Stored value of a waveform's full scale."""

LEAST_DEVIATION = 0.1
"""Minimum standard deviation of a value of an embedding, as a fraction of the mean standard deviation of its layer."""


class Scaling(nn.Module):
    """Scales the input of a network, in the same way in training, test, prediction and export.

    Args:
        spec: Parameters of the spectrograms.
        scale: Kind of scaling, one of

            - ``standardize``: dB, each mel band scaled to mean 0 and standard deviation 1 over the training tracks;
            - ``decibel``: dB; for audio, clipped at `genreclf.audio.log_mel.TOP_DB` below the track's peak;
            - ``peak_decibel``: dB relative to the clip's own peak, clipped at -80;
            - ``unit``: as ``peak_decibel``, mapped to 0..1;
            - ``power``: power instead of dB.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, spec: FeatureSpec, scale: Scale = "standardize") -> None:
        """Create a scaling with mean 0 and standard deviation 1, until `fit` estimates them."""
        super().__init__()
        if scale not in get_args(Scale):
            raise UserError(f"features.scale={scale} is not one of {', '.join(get_args(Scale))}.")
        self.spec = spec
        self.scale = scale
        self.register_buffer("mean", torch.zeros(spec.n_mels, 1))
        self.register_buffer("std", torch.ones(spec.n_mels, 1))
        self._held: tuple[Tensor, Tensor] | None = None

    def hold(self) -> None:
        """Compute the offset and the gain once for all training steps until `release`, instead of in each step.

        The mean and the standard deviation must not change until then.
        """
        if self.scale == "standardize":
            self._held = self._line()

    def release(self) -> None:
        """Compute the offset and the gain in each training step again."""
        self._held = None

    def _line(self) -> tuple[Tensor, Tensor]:
        """Return the offset and the gain, both ``(mel, 1)``, that standardize the stored values of each mel band."""
        return (self.spec.zero_db - self.mean) / self.std, self.spec.step_db / self.std

    def forward(self, log_mel_q: Tensor) -> Tensor:
        """Return scaled spectrograms for quantized ones, both of shape ``(batch, mel, frame)``.

        They are float32, or float64 after ``double()``. Waveforms are returned with shape ``(batch, sample)`` and full
        scale at 1, whatever the kind of scaling. In embeddings, each value is standardized like a mel band.
        """
        dtype = self.mean.dtype
        if self.spec.kind == "waveform":
            return log_mel_q.transpose(1, 2).flatten(1).to(dtype) / FULL_SCALE
        if self.scale == "standardize":
            # Averaged weights, which may be validated in place of the trained ones, have their own mean and deviation.
            offset, gain = self._held if self.training and self._held is not None else self._line()
            return torch.addcmul(offset, log_mel_q.to(dtype), gain)
        level_db = log_mel_q.to(dtype) * self.spec.step_db + self.spec.zero_db
        if self.scale == "power":
            return torch.pow(10.0, level_db / 10.0)
        if self.scale == "decibel":
            return level_db
        below_peak = (level_db - level_db.amax((-2, -1), keepdim=True)).clamp(min=-PICTURE_RANGE_DB)
        return below_peak if self.scale == "peak_decibel" else below_peak / PICTURE_RANGE_DB + 1.0

    def floor(self, x: Tensor) -> Tensor:
        """Return the value of silence in each mel band of scaled spectrograms, shape ``(1 or batch, mel or 1, 1)``.

        If levels are clipped relative to the track's peak, silence is the lowest level of each clip.

        Args:
            x: Scaled spectrograms, shape ``(batch, mel, frame)``.
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
        """Whether the mean and the standard deviation, if they are used, come from `fit` or from a checkpoint."""
        return self.scale != "standardize" or self.spec.kind == "waveform" or bool(self.mean.any())

    def fit(self, log_mel_q: Tensor) -> None:
        """Estimate the mean and standard deviation of each mel band from training clips ``(batch, mel, frame)``."""
        if self.scale != "standardize" or self.spec.kind == "waveform":
            return
        level_db = log_mel_q.double() * self.spec.step_db + self.spec.zero_db
        # The standard deviation of a band that is always silent is 0.
        std, mean = torch.std_mean(level_db, dim=(0, 2), correction=0)
        self.mean.copy_(mean[:, None])
        if self.spec.layers is not None:
            for layer in torch.split(std, [size for _, size in self.spec.layers]):
                layer.clamp_(min=LEAST_DEVIATION * float(layer.mean()) or 1.0)
        else:
            std.clamp_(min=1.0)
        self.std.copy_(std[:, None])
