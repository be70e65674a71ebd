"""Log-mel spectrograms: how they are made from audio, what a source's are like, and how a network's input is scaled."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

STEP_DB = 1 / 256
"""What one unit of a stored int16 spectrogram means, in dB; half a unit is the rounding error, 0.002 dB."""

FLOOR_DB = -100.0
"""The lowest level that is kept, in dB relative to 1: that of the power 1e-10."""

PICTURE_RANGE_DB = 80.0
"""What a picture's 0 lies below its 255, in dB."""

TOP_DB = 80.0
"""How far below a track's peak `librosa.power_to_db` clips by default, in dB."""

MELS_AT_ONCE = 16
"""Bands that `LogMel` adds up in one product; measured against 8, 32, 64 and all 128."""


@dataclass(frozen=True)
class FeatureSpec:
    """What the spectrograms of a source are. A model is built from it, its checkpoint keeps it, prediction obeys it.

    Attributes:
        n_mels: Rows of a spectrogram.
        clip_frames: Columns of one clip.
        frames_per_second: Columns a second of music takes.
        step_db: What one unit of a stored value means, in dB.
        zero_db: The level of the stored value 0, in dB; relative to 1 for audio, to the track's peak for pictures.
        silence: The stored value of silence, used to pad short tracks.
        sample_rate: In Hz; None for pictures, as are the next two.
        n_fft: Window length in samples.
        hop_length: Samples from one column to the next.
        rendering: How pictures were made of audio, one of `genreclf.datasets.images.RENDERINGS`; None where it is not
        known. top_db: Levels further below their track's peak are raised to that level, in dB; None leaves them as they
        are.
    """

    n_mels: int
    clip_frames: int
    frames_per_second: float
    step_db: float
    zero_db: float
    silence: int
    sample_rate: int | None = None
    n_fft: int | None = None
    hop_length: int | None = None
    rendering: str | None = None
    top_db: float | None = None

    @classmethod
    def of_audio(
        cls,
        *,
        sample_rate: int,
        n_fft: int,
        hop_length: int,
        n_mels: int,
        clip_seconds: float,
        top_db: float | None = None,
    ) -> "FeatureSpec":
        """Describe clips of `clip_seconds` cut out of the spectrograms that `LogMel` makes."""
        frames_per_second = sample_rate / hop_length
        return cls(
            n_mels=n_mels,
            clip_frames=max(1, round(clip_seconds * frames_per_second)),
            frames_per_second=frames_per_second,
            step_db=STEP_DB,
            zero_db=0.0,
            silence=in_steps(FLOOR_DB),
            sample_rate=sample_rate,
            n_fft=n_fft,
            hop_length=hop_length,
            top_db=top_db,
        )

    @classmethod
    def of_pictures(
        cls, *, n_mels: int, frames_per_second: float, clip_seconds: float, rendering: str | None = None
    ) -> "FeatureSpec":
        """Describe clips of `clip_seconds` cut out of 8-bit pictures that span 80 dB below each track's peak."""
        return cls(
            n_mels=n_mels,
            clip_frames=max(1, round(clip_seconds * frames_per_second)),
            frames_per_second=frames_per_second,
            step_db=PICTURE_RANGE_DB / 255,
            zero_db=-PICTURE_RANGE_DB,
            silence=0,
            rendering=rendering,
        )

    @classmethod
    def from_plain(cls, values: "FeatureSpec | Mapping[str, Any]") -> "FeatureSpec":
        """Return `values` as a spec; a mapping is what `plain` gave."""
        return values if isinstance(values, FeatureSpec) else cls(**values)

    def plain(self) -> dict[str, Any]:
        """Return the spec as a dictionary of numbers, as checkpoints keep it."""
        return asdict(self)


class LogMel(nn.Module):
    """Waveform to log-mel in dB relative to 1, equal to librosa's within 0.01 dB.

    That is `librosa.power_to_db(librosa.feature.melspectrogram(...), ref=1, amin=1e-10, top_db=None)`: Hann window,
    centered frames with zero padding, power, Slaney's mel scale and normalization (Slaney, Auditory Toolbox, 1998).
    As in librosa, the Fourier transform is computed in float64: rounding in float32 covers what lies far below the
    loudest bin of a frame.

    Args:
        sample_rate: Of the waveform, in Hz.
        n_fft: Window length in samples.
        hop_length: Samples from one frame to the next.
        n_mels: Bands from 0 Hz to half the sample rate.
    """

    window: Tensor

    def __init__(self, *, sample_rate: int, n_fft: int, hop_length: int, n_mels: int) -> None:
        """Prepare the window and the filter bank."""
        super().__init__()
        from torchaudio.functional import melscale_fbanks

        self.n_fft, self.hop_length = n_fft, hop_length
        self.register_buffer("window", torch.hann_window(n_fft, dtype=torch.float64), persistent=False)
        bank = melscale_fbanks(n_fft // 2 + 1, 0.0, sample_rate / 2, n_mels, sample_rate, "slaney", "slaney")
        # Mels hear neighboring bins only, so that a few of them need a narrow part of the spectrum.
        self.spans: list[tuple[int, int]] = []
        for first in range(0, n_mels, MELS_AT_ONCE):
            part = bank[:, first : first + MELS_AT_ONCE]
            heard = part.any(1).nonzero()[:, 0].tolist() or [0]
            span = slice(heard[0], heard[-1] + 1)
            # Each weight twice: for the square of the real and of the imaginary part.
            self.register_buffer(f"weights_{len(self.spans)}", part[span].repeat_interleave(2, 0), persistent=False)
            self.spans.append((2 * span.start, 2 * span.stop))

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the spectrogram, shape ``(..., mel, frame)`` in dB, of a waveform ``(..., sample)``."""
        return self.of_frames(self.frames(waveform))

    def frames(self, waveform: Tensor) -> Tensor:
        """Return the frames ``(..., frame, sample)`` of a waveform ``(..., sample)``, which share their memory."""
        return functional.pad(waveform, (self.n_fft // 2, self.n_fft // 2)).unfold(-1, self.n_fft, self.hop_length)

    def of_frames(self, frames: Tensor) -> Tensor:
        """Return the spectrogram, shape ``(..., mel, frame)`` in dB, of some `frames` ``(..., frame, sample)``."""
        spectrum = torch.fft.rfft(frames * self.window)
        squares = torch.view_as_real(spectrum).flatten(-2).float().square_()
        weights = (self.get_buffer(f"weights_{part}") for part in range(len(self.spans)))
        power = torch.cat([squares[..., a:b] @ weight for (a, b), weight in zip(self.spans, weights, strict=True)], -1)
        return power.clamp_(min=1e-10).log10_().mul_(10.0).transpose(-2, -1)


def to_steps(level_db: Tensor) -> Tensor:
    """Return levels in dB as int16 in steps of 1/256 dB, the form in which spectrograms are stored."""
    limits = torch.iinfo(torch.int16)
    return (level_db / STEP_DB).round_().clamp_(limits.min, limits.max).to(torch.int16)


def in_steps(level_db: float) -> int:
    """Return a level in dB in steps of 1/256 dB."""
    return round(level_db / STEP_DB)
