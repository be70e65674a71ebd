"""Measure the sound of a track: length, clipping, silence, channels and bandwidth."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genreclf.audio.decode import decode_channels
from genreclf.audio.log_mel import FeatureSpec
from genreclf.datasets.base import AudioDataset, Track
from genreclf.datasets.checks import checked_waveform
from genreclf.datasets.folder import Folder
from genreclf.errors import UnreadableTrack

SILENCE = 1e-4
"""Amplitude below which samples count as silence, 80 dB below full scale."""

FLAT_SAMPLES = 3
"""Smallest number of consecutive samples at a channel's peak that count as clipped."""

BAND_EDGE_DB = 50.0
"""Level below the peak of the mean spectrum, in dB, that frequencies above the band edge no longer reach."""

CANCELING = -0.9
"""Correlation below which two channels largely cancel each other when they are averaged."""

_WINDOW = 4096
_WINDOWS = 256


@dataclass(frozen=True, kw_only=True)
class Sound:
    """Measurements of the sound of one track."""

    digest: str
    """Hash of the samples or pixels, equal for tracks that are exactly the same."""
    duration_s: float
    """Length in seconds."""
    silence_s: float
    """Length of the longest silence, in seconds."""
    band_edge: float
    """Highest frequency in Hz (for an image, index of the highest mel band) that holds more than noise."""
    sample_rate: int | None = None
    """Sample rate in Hz; None for images."""
    channels: int | None = None
    """Number of channels; None for images."""
    clipped: float | None = None
    """Share of the samples that are clipped, from 0 to 1; None for images."""
    stereo: str | None = None
    """``mono``, ``stereo``, or the problem of the channels: ``identical``, ``one silent``, ``canceling``; None for
    images."""


def measure_audio(dataset: AudioDataset, track: Track, sample_rate: int) -> Sound:
    """Measure the audio of a track.

    Args:
        dataset: Dataset of the track. If `Folder.waveform` reads its tracks, all channels of their files are measured
            at their own sample rate; otherwise the waveform that the dataset returns is measured.
        track: Track to measure.
        sample_rate: Sample rate in Hz of the waveform of other datasets.

    Raises:
        UnreadableTrack: The track cannot be read, or the samples contain NaN or infinity.
        UserError: The dataset returns no valid waveform, see `genreclf.datasets.checks.checked_waveform`.
    """
    if isinstance(dataset, Folder) and type(dataset).waveform is Folder.waveform:
        waveforms, sample_rate = decode_channels(track.path)
    else:
        waveforms = checked_waveform(dataset, track, sample_rate)[None]
    if not np.isfinite(waveforms).all():
        raise UnreadableTrack("contains NaN or infinity")
    digest = hashlib.sha256(f"{sample_rate} {waveforms.shape}".encode())
    digest.update(np.ascontiguousarray(waveforms).data)
    return Sound(
        digest=digest.hexdigest(),
        duration_s=waveforms.shape[1] / sample_rate,
        silence_s=_longest_run((np.abs(waveforms) < SILENCE).all(axis=0)) / sample_rate,
        band_edge=_bandwidth_hz(waveforms.mean(axis=0), sample_rate),
        sample_rate=sample_rate,
        channels=len(waveforms),
        clipped=_clipped(waveforms),
        stereo=_stereo(waveforms),
    )


def measure_picture(log_mel_q: NDArray[np.generic], spec: FeatureSpec) -> Sound:
    """Measure the quantized log-mel spectrogram ``(mel, frame)`` of an image."""
    levels: NDArray[Any] = np.asarray(log_mel_q)
    digest = hashlib.sha256(f"{levels.shape}".encode())
    digest.update(np.ascontiguousarray(levels).data)
    means = levels.mean(axis=1) * spec.step_db
    return Sound(
        digest=digest.hexdigest(),
        duration_s=levels.shape[1] / spec.frames_per_second,
        silence_s=_longest_run((levels == levels.min()).all(axis=0)) / spec.frames_per_second,
        band_edge=float(np.flatnonzero(means >= means.max() - BAND_EDGE_DB)[-1]),
    )


def _clipped(waveforms: NDArray[np.float32]) -> float:
    """Return the share of samples in runs at the peak of their channel, or at full scale if the peak exceeds it."""
    flat = 0
    for waveform in np.abs(waveforms):
        peak = min(1.0, float(waveform.max(initial=0.0)))
        at_peak = waveform >= peak * (1 - 2**-14)  # In 16 bits, full scale is 32767 above zero and 32768 below.
        lengths = _run_lengths(at_peak) if peak > SILENCE else np.zeros(0, np.int64)
        flat += int(lengths[lengths >= FLAT_SAMPLES].sum())
    return flat / max(1, waveforms.size)


def _stereo(waveforms: NDArray[np.float32]) -> str:
    if len(waveforms) == 1:
        return "mono"
    if (waveforms == waveforms[:1]).all():
        return "identical"
    if (np.abs(waveforms).max(axis=1) < SILENCE).any():
        return "one silent"
    first, second = waveforms[:2].astype(np.float64)
    correlation = first @ second / max(np.sqrt((first @ first) * (second @ second)), 1e-12)
    return "canceling" if correlation < CANCELING else "stereo"


def _bandwidth_hz(waveform: NDArray[np.float32], sample_rate: int) -> float:
    """Return the highest frequency in Hz whose mean power is within `BAND_EDGE_DB` of the strongest frequency's."""
    if len(waveform) < _WINDOW:
        waveform = np.pad(waveform, (0, _WINDOW - len(waveform)))
    last = len(waveform) - _WINDOW
    starts = np.unique(np.linspace(0, last, min(_WINDOWS, last // _WINDOW + 1)).astype(int))
    frames = waveform[starts[:, None] + np.arange(_WINDOW)] * np.hanning(_WINDOW)
    power = (np.abs(np.fft.rfft(frames)) ** 2).mean(axis=0)
    smooth = np.convolve(power, np.full(9, 1 / 9), "same")
    if not smooth.max() > 0:
        return 0.0
    strong = np.flatnonzero(smooth >= smooth.max() * 10 ** (-BAND_EDGE_DB / 10))
    return float(strong[-1] * sample_rate / _WINDOW)


def _run_lengths(flags: Any) -> NDArray[np.int64]:
    """Return the lengths of all runs of True in a boolean array."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    lengths: NDArray[np.int64] = edges[1::2] - edges[::2]
    return lengths


def _longest_run(flags: Any) -> int:
    return int(_run_lengths(flags).max(initial=0))
