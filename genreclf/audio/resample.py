"""From an audio file to a waveform."""

from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from genreclf.errors import UnreadableTrack
from genreclf.limits import check_is_file, check_track

RESAMPLING_QUALITY = "HQ"
"""Of soxr: librosa's default, ``soxr_hq``."""


def decode(path: Path) -> tuple[NDArray[np.float32], int]:
    """Read a whole audio file.

    Args:
        path: A WAV, AU, FLAC, OGG or MP3 file.

    Returns:
        The waveform, shape ``(channel, sample)``, full scale at 1 (16-bit integers are divided by 32768), and its
        sample rate in Hz.

    Raises:
        UnreadableTrack: The file cannot be used; the message says why in a few words, without the path.
    """
    import soundfile

    check_is_file(path)
    try:
        with soundfile.SoundFile(path) as file:
            sample_rate = file.samplerate
            check_track(file.frames, file.channels, sample_rate)
            steps = None
            if file.subtype == "PCM_16":
                # What libsndfile would do, five times faster.
                steps = file.read(dtype="int16", always_2d=True)
                waveform = np.multiply(steps, np.float32(1 / 32768), dtype=np.float32)
            else:
                waveform = file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UnreadableTrack(f"not readable as audio: {error.error_string.strip().rstrip('.')}") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise UnreadableTrack(f"not readable as audio: {error}") from None
    except MemoryError:
        raise UnreadableTrack("too large for the memory that is free") from None
    n_samples = len(waveform)
    if n_samples == 0:
        raise UnreadableTrack("zero length")
    if n_samples < 2:
        raise UnreadableTrack("1 sample")
    # The sum is quick, and may overflow. Whole numbers are always finite.
    if steps is None and not np.isfinite(waveform.sum()) and not np.isfinite(waveform).all():
        raise UnreadableTrack("holds NaN or infinity")
    return np.ascontiguousarray(waveform.T), int(sample_rate)


def mono_at(waveform: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Average the channels and resample as `librosa.resample` does by default (soxr_hq).

    Args:
        waveform: Shape ``(channel, sample)``.
        from_rate: Sample rate of `waveform` in Hz.
        to_rate: Sample rate wanted, in Hz.

    Returns:
        Shape ``(sample,)``; untouched where there is one channel at the rate wanted.
    """
    samples = mono(waveform)
    if from_rate == to_rate:
        return samples
    import soxr

    resampled = soxr.resample(samples, from_rate, to_rate, quality=RESAMPLING_QUALITY)
    n_samples = resampled_length(len(samples), from_rate, to_rate)
    return cast(NDArray[np.float32], np.pad(resampled, (0, max(0, n_samples - len(resampled))))[:n_samples])


def mono(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the channels of a waveform ``(channel, sample)`` to ``(sample,)``."""
    samples: NDArray[np.float32] = waveform[0] if len(waveform) == 1 else np.mean(waveform, axis=0, dtype=np.float32)
    return samples


def resampled_length(n_samples: int, from_rate: int, to_rate: int) -> int:
    """Return how many samples at `to_rate` Hz cover `n_samples` at `from_rate` Hz."""
    return -(-n_samples * to_rate // from_rate)


def header_duration_s(path: Path) -> float | None:
    """Return the length in seconds that the file's header claims, or None where there is no readable header."""
    import soundfile

    try:
        header = soundfile.info(path)
    except (OSError, RuntimeError):
        return None
    return float(header.frames / header.samplerate)
