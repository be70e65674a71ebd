"""Limits on the size of files, so that a single file cannot use up all memory or time."""

import errno
import os
import stat
from pathlib import Path

from genreclf.errors import UnreadableTrack

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 1_000_000
"""Lowest and highest accepted sample rate in Hz; resampled from 1 Hz, each sample would become 22,050."""

LONGEST_TRACK_S = 2 * 3600
"""Maximum length in seconds of a track that is decoded as a whole, for training; 640 MB at 22,050 Hz."""

LARGEST_TRACK_SAMPLES = 2**29
"""Maximum number of samples of a track, all channels together; 2 GB, or 1 h 41 min of CD audio."""

LONGEST_SONG_S = 24 * 3600
"""Maximum length in seconds of a song that is decoded in blocks, for prediction; its spectrogram takes 1 GB of disk."""

VISITORS_SONG_MB, VISITORS_SONG_MIN = 50.0, 15.0
"""Default maximum size in MB (10^6 bytes) and length in minutes of a song that is uploaded to the web page."""

LARGEST_PICTURE_PIXELS = 2**24
"""Maximum number of pixels of an image; finding its color map takes 50 bytes per pixel, or 800 MB."""

WIDEST_PICTURE = 2**17
"""Maximum number of columns of an image; 50 min of music at 43 frames per second."""


def refuse_device(path: Path) -> None:
    """Raise `OSError` if a path is a device or a pipe, which could be read forever or block; it need not exist."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "a device or a pipe, not a file", str(path))


def check_is_file(path: Path) -> None:
    """Raise `UnreadableTrack`, with the reason in a few words, unless a path is a readable, nonempty regular file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UnreadableTrack("a link to a missing file" if path.is_symlink() else "the file is missing") from None
    except (OSError, ValueError) as error:
        raise UnreadableTrack(getattr(error, "strerror", None) or str(error)) from None
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableTrack("a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableTrack("a device or a pipe, not a file")
    if status.st_size == 0:
        raise UnreadableTrack("empty file")
    if not os.access(path, os.R_OK):
        raise UnreadableTrack("no permission to read it")


def check_rate(sample_rate: int) -> None:
    """Raise `UnreadableTrack` if a sample rate in Hz is not plausible."""
    if not LOWEST_RATE_HZ <= sample_rate <= HIGHEST_RATE_HZ:
        raise UnreadableTrack(f"its sample rate of {sample_rate} Hz is not between 1 kHz and 1 MHz")


def check_track(n_samples: int, n_channels: int, sample_rate: int) -> None:
    """Raise `UnreadableTrack` if the header of an audio file claims an implausible sample rate or too many samples.

    Args:
        n_samples: Number of samples of each channel.
        n_channels: Number of channels.
        sample_rate: Sample rate in Hz.
    """
    check_rate(sample_rate)
    if n_samples > LONGEST_TRACK_S * sample_rate:
        raise UnreadableTrack(
            f"its header claims {n_samples / sample_rate / 3600:,.1f} h, more than the "
            f"{LONGEST_TRACK_S / 3600:g} h that a track may have; cut it into segments"
        )
    if n_samples * n_channels > LARGEST_TRACK_SAMPLES:
        raise UnreadableTrack(
            f"its header claims {n_samples * n_channels:,} samples in {n_channels} channels, more than the "
            f"{LARGEST_TRACK_SAMPLES:,} that a track may have; cut it into segments or mix the channels"
        )


def check_picture(width: int, height: int) -> None:
    """Raise `UnreadableTrack` if an image is too large to decode; `width` and `height` are in pixels."""
    if width * height > LARGEST_PICTURE_PIXELS or width > WIDEST_PICTURE:
        raise UnreadableTrack(
            f"a picture of {width} x {height} pixels, more than {LARGEST_PICTURE_PIXELS:,} in all "
            f"or {WIDEST_PICTURE:,} in a row; cut it into segments"
        )
