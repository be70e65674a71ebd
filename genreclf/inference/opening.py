"""Open a song that a user gives as a file or a waveform."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genreclf.audio.decode import AudioStream, open_audio, stream_of
from genreclf.datasets.checks import LARGEST_PEAK
from genreclf.errors import UserError


@contextmanager
def open_song(song: Any, sample_rate: int | None) -> Iterator[AudioStream]:
    """Open a file or a waveform as a stream.

    Args:
        song: Path of a file; or a waveform ``(sample,)`` or ``(channel, sample)`` of floats with full scale at 1.
        sample_rate: Sample rate of a waveform in Hz; None for a file.

    Raises:
        UserError: `song` is neither a path nor such a waveform, or `sample_rate` does not belong to it.
        UnreadableTrack: The file or the waveform cannot be decoded.
    """
    if isinstance(song, str | PathLike):
        if sample_rate is not None:
            raise UserError("sample_rate is a waveform's; a file knows its own.")
        with open_audio(Path(song)) as stream:
            yield stream
        return
    if isinstance(song, Tensor):
        song = song.detach().cpu()
        song = song.float() if song.dtype == torch.bfloat16 else song  # NumPy has no bfloat16.
    try:
        waveform = np.asarray(song)
    except (TypeError, ValueError):  # For example a sparse tensor, or a tuple of waveform and rate.
        waveform = np.empty(0, object)
    if waveform.dtype.kind not in "fiu":
        kind = type(song).__name__
        raise UserError(
            f"A song is a path, or a waveform as an array of floats with its sample_rate, not of the type {kind}; "
            "predict several songs one by one."
        )
    if sample_rate is None:
        raise UserError("A waveform needs its sample_rate in Hz.")
    if waveform.dtype.kind != "f":
        raise UserError(
            f"A waveform holds floats with full scale at 1, not {waveform.dtype}: divide it (32768 for int16)."
        )
    if waveform.ndim not in (1, 2) or (waveform.ndim == 2 and not 0 < len(waveform) <= 1024):
        raise UserError(f"A waveform has the shape (sample,) or (channel, sample), not {waveform.shape}.")
    if LARGEST_PEAK < (peak := float(max(waveform.max(initial=0), -waveform.min(initial=0)))) < math.inf:
        raise UserError(
            f"A waveform holds floats with full scale at 1, and this one has values up to {peak:,.0f}: divide 16-bit "
            "integers by 32768."
        )
    yield stream_of(waveform, sample_rate)
