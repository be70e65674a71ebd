"""Check what a dataset returns, which may be a user's own, before anything is made of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genreclf.datasets.base import AudioDataset, Dataset, ImageDataset, Track
from genreclf.errors import UnreadableTrack, UserError
from genreclf.run_directory import reason_of

SUBSETS = (None, "train", "val", "test")
"""What `Track.subset` may be."""

LARGEST_PEAK = 100.0
"""More than any decoder overshoots full scale, and less than the integers of quiet music."""


def checked_tracks(dataset: Dataset) -> list[Track]:
    """Return all tracks of a dataset.

    Raises:
        UserError: There are none, two have the same id, or one lacks an id or a genre.
    """
    returned = f"data: {type(dataset).__name__}.tracks() returned"
    tracks = list(dataset.tracks() or ())
    if not tracks:
        raise UserError(f"{returned} no tracks: check the settings of data.")
    known: set[str] = set()
    for track in tracks:
        if not isinstance(track, Track):
            raise UserError(f"{returned} a value of type {type(track).__name__}: return objects of type Track.")
        if not _is_text(track.id):
            raise UserError(f"{returned} a track with the id {track.id!r}: give each track a text as its id.")
        if track.id in known:
            raise UserError(f"{returned} two tracks with the id {track.id!r}: give each track an id of its own.")
        known.add(track.id)
        if not _is_text(track.genre):
            raise UserError(f"{returned} track {track.id!r} with the genre {track.genre!r}: name one, or leave it out.")
        if not (track.artist is None or isinstance(track.artist, str)):
            raise UserError(f"{returned} track {track.id!r} with the artist {track.artist!r}: give a text or None.")
        if track.subset not in SUBSETS:
            raise UserError(f"{returned} track {track.id!r} with the subset {track.subset!r}, none of {SUBSETS}.")
    return tracks


def checked_waveform(dataset: AudioDataset, track: Track, sample_rate: int) -> NDArray[np.float32]:
    """Return the waveform of a track, see `AudioDataset.waveform`.

    Raises:
        UserError: It is no array of floating-point numbers, or has several dimensions.
        UnreadableTrack: It is empty or holds NaN or infinity, or the dataset says so.
    """
    samples: Any = _made(lambda: dataset.waveform(track, sample_rate), dataset, f"waveform failed for {track.id!r}")
    returned = f"{type(dataset).__name__}.waveform returned"
    is_array = isinstance(samples, np.ndarray) and samples.dtype in (np.float16, np.float32, np.float64)
    if not (is_array and samples.ndim == 1):
        raise UserError(
            f"data: {returned} {_kind(samples)} for track {track.id!r}: return a mono waveform as a NumPy array of "
            "float32, shape (sample,), full scale at 1."
        )
    if not len(samples):
        raise UnreadableTrack(f"{returned} no samples for track {track.id!r}")
    if not np.isfinite(samples).all():
        raise UnreadableTrack(f"{returned} NaN or infinity for track {track.id!r}")
    if (peak := float(np.abs(samples).max())) > LARGEST_PEAK:
        raise UserError(
            f"data: {returned} values up to {peak:,.0f} for track {track.id!r}: full scale is 1, so divide 16-bit "
            "integers by 32768."
        )
    return np.ascontiguousarray(samples)


def checked_picture(dataset: ImageDataset, track: Track) -> NDArray[np.uint8]:
    """Return the picture of a track, see `ImageDataset.picture`.

    Raises:
        UserError: It is no array of 8-bit numbers, or has another number of rows.
        UnreadableTrack: It has no columns, or the dataset says so.
    """
    picture: Any = _made(lambda: dataset.picture(track), dataset, f"picture failed for {track.id!r}")
    returned = f"{type(dataset).__name__}.picture returned"
    is_array = isinstance(picture, np.ndarray) and picture.dtype == np.uint8
    if not (is_array and picture.ndim == 2 and len(picture) == dataset.n_mels):
        raise UserError(
            f"data: {returned} {_kind(picture)} for track {track.id!r}: return a NumPy array of uint8, shape "
            f"({dataset.n_mels}, frame)."
        )
    if not picture.shape[1]:
        raise UnreadableTrack(f"{returned} no frames for track {track.id!r}")
    return np.asarray(picture, np.uint8)


def _made(make: Callable[[], object], dataset: Dataset, failed: str) -> object:
    """Call what may be a user's own code, and name the track at which it failed."""
    try:
        return make()
    except (UserError, UnreadableTrack):
        raise
    except Exception as error:
        if type(dataset).__module__.startswith("genreclf."):
            raise
        raise UserError(
            f"data: {type(dataset).__name__}.{failed} ({reason_of(error)}); debug=true shows where."
        ) from error


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}, shape {value.shape},"
    return f"a value of type {type(value).__name__}"
