"""Resample whole waveforms; `genreclf.audio.streaming` does the same block by block."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

RESAMPLING_QUALITY = "HQ"
"""Quality setting of soxr; it is librosa's default, ``soxr_hq``."""


def resample(samples: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Resample a waveform as `librosa.resample` does by default (soxr_hq).

    Args:
        samples: Waveform, shape ``(sample,)``.
        from_rate: Sample rate of `samples` in Hz.
        to_rate: Target sample rate in Hz.

    Returns:
        The resampled waveform, shape ``(sample,)``; `samples` itself if the rates are equal.
    """
    if from_rate == to_rate:
        return samples
    import soxr

    resampled = soxr.resample(samples, from_rate, to_rate, quality=RESAMPLING_QUALITY)
    n_samples = resampled_length(len(samples), from_rate, to_rate)
    return cast(NDArray[np.float32], np.pad(resampled, (0, max(0, n_samples - len(resampled))))[:n_samples])


def resampled_length(n_samples: int, from_rate: int, to_rate: int) -> int:
    """Return the number of samples at `to_rate` Hz that cover `n_samples` at `from_rate` Hz."""
    return -(-n_samples * to_rate // from_rate)
