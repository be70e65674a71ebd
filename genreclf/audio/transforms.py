"""Transformations of a recording that a listener hardly notices, or that do not change its genre."""

import io
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genreclf.audio.log_mel import FeatureSpec
from genreclf.audio.resample import resample
from genreclf.errors import UserError

MP3_KBPS = {32_000: (32, 320), 16_000: (8, 160), 0: (8, 64)}
"""Lowest and highest bitrate of MP3 in kbit/s, keyed by the lowest sample rate in Hz to which they apply."""

FILTER_ORDER = 8
"""Order of the Butterworth filters, which run forward and backward, so that nothing is shifted in time."""


class Transformation(ABC):
    """A deterministic change of a waveform, and possibly of a spectrogram image."""

    @abstractmethod
    def of_waveform(self, samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """Return the changed samples, at the same sample rate.

        Args:
            samples: Waveform, shape ``(sample,)``, with full scale at 1.
            sample_rate: Sample rate in Hz.
        """

    def of_picture(self, stored: Tensor, spec: FeatureSpec) -> Tensor | None:
        """Return the changed image; None if the change can only be applied to waveforms.

        Args:
            stored: Image, shape ``(frame, mel)``, with the value 0 at the floor.
            spec: Parameters of the image.
        """
        return None


class Gain(Transformation):
    """Raise or lower the level by `gain_db`."""

    def __init__(self, *, gain_db: float) -> None:
        self.gain_db = gain_db

    def of_waveform(self, samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """Return the samples multiplied by the gain."""
        return samples * np.float32(10 ** (self.gain_db / 20))


class Noise(Transformation):
    """Add white noise, the same for each track, at a signal-to-noise ratio of `snr_db`."""

    def __init__(self, *, snr_db: float) -> None:
        self.snr_db = snr_db

    def of_waveform(self, samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """Return the samples with added noise."""
        noise = np.random.default_rng(0).standard_normal(len(samples), np.float32)
        level = np.sqrt(np.mean(np.square(samples, dtype=np.float64)) / 10 ** (self.snr_db / 10))
        return samples + np.float32(level) * noise


class LowPass(Transformation):
    """Remove frequencies above `cutoff_hz`, where the level is 6 dB lower."""

    _kind = "lowpass"

    def __init__(self, *, cutoff_hz: float) -> None:
        if cutoff_hz <= 0:
            raise ValueError(f"cutoff_hz={cutoff_hz} must be above 0")
        self.cutoff_hz = cutoff_hz

    def of_waveform(self, samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """Return the filtered samples; raise `UserError` if `cutoff_hz` is not below half the sample rate."""
        from scipy.signal import butter, sosfiltfilt

        if self.cutoff_hz >= sample_rate / 2:
            raise UserError(f"cutoff_hz={self.cutoff_hz:g} is not below half the sample rate of {sample_rate} Hz")
        sections = butter(FILTER_ORDER, self.cutoff_hz, self._kind, fs=sample_rate, output="sos")
        return np.asarray(sosfiltfilt(sections, samples, padtype=None), np.float32)

    def of_picture(self, stored: Tensor, spec: FeatureSpec) -> Tensor | None:
        """Return the image with the removed bands set to the floor; None if the frequencies are not known."""
        if spec.centers_hz is None:
            return None
        return stored.masked_fill(self._removed(spec.centers_hz), spec.silence)

    def _removed(self, centers_hz: Tensor) -> Tensor:
        return centers_hz > self.cutoff_hz


class HighPass(LowPass):
    """Remove frequencies below `cutoff_hz`, where the level is 6 dB lower."""

    _kind = "highpass"

    def _removed(self, centers_hz: Tensor) -> Tensor:
        return centers_hz < self.cutoff_hz


class Mp3(Transformation):
    """Encode as MP3 at a constant bitrate of `bitrate_kbps` kbit/s and decode again."""

    def __init__(self, *, bitrate_kbps: float) -> None:
        self.bitrate_kbps = bitrate_kbps

    def of_waveform(self, samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """Return the samples after encoding and decoding.

        Raises:
            UserError: The installed libsndfile cannot write MP3, or does not support this bitrate or sample rate.
        """
        import soundfile

        if "MP3" not in soundfile.available_formats():
            raise UserError("the installed libsndfile cannot write MP3; install the soundfile wheel, or remove mp3")
        low, high = next(ends for rate, ends in MP3_KBPS.items() if sample_rate >= rate)
        if not low <= self.bitrate_kbps <= high:
            raise UserError(f"bitrate_kbps={self.bitrate_kbps:g} must be between {low} and {high} at {sample_rate} Hz")
        file, level = io.BytesIO(), (high - self.bitrate_kbps) / (high - low)
        try:
            soundfile.write(file, samples, sample_rate, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
        except soundfile.LibsndfileError as error:
            raise UserError(f"MP3 at {sample_rate} Hz cannot be written ({error})") from error
        file.seek(0)
        decoded, _ = soundfile.read(file, dtype="float32")
        return np.asarray(decoded, np.float32)


class Resampling(Transformation):
    """Resample to `sample_rate` Hz and back."""

    def __init__(self, *, sample_rate: int) -> None:
        self.sample_rate = sample_rate

    def of_waveform(self, samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """Return the samples after resampling to the other rate and back."""
        return resample(resample(samples, sample_rate, self.sample_rate), self.sample_rate, sample_rate)[: len(samples)]


class _Faster(Transformation):
    """Base class of transformations that make a song faster, by a factor above 1, or slower."""

    def __init__(self, *, factor: float) -> None:
        if not 0.1 <= factor <= 10:
            raise ValueError(f"factor={factor} must be between 0.1 and 10")
        self.factor = factor


class Speed(_Faster):
    """Play faster or slower by a factor, as a record or a tape does: pitch and tempo both change."""

    def of_waveform(self, samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """Return the changed samples, which are fewer if the song becomes faster."""
        return resample(samples, round(sample_rate * self.factor), sample_rate)


class Pitch(Transformation):
    """Change the pitch by some semitones and keep the tempo, with librosa's phase vocoder."""

    def __init__(self, *, semitones: float) -> None:
        self.semitones = semitones

    def of_waveform(self, samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """Return the changed samples, as many as before."""
        import librosa

        return np.asarray(librosa.effects.pitch_shift(samples, sr=sample_rate, n_steps=self.semitones), np.float32)


class TimeStretch(_Faster):
    """Change the tempo by a factor and keep the pitch, with librosa's phase vocoder."""

    def of_waveform(self, samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """Return the changed samples, which are fewer if the song becomes faster."""
        import librosa

        return np.asarray(librosa.effects.time_stretch(samples, rate=self.factor), np.float32)

    def of_picture(self, stored: Tensor, spec: FeatureSpec) -> Tensor | None:
        """Return the image with linearly interpolated columns, which are fewer if the song becomes faster."""
        columns = max(1, round(len(stored) / self.factor))
        levels = torch.nn.functional.interpolate(stored.T[None].float(), columns, mode="linear", align_corners=False)
        return levels[0].T.round().to(stored.dtype)
