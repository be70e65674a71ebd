"""Check the tracks, waveforms and images that a dataset, possibly a user's own, returns before they are used."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genreclf.datasets.base import AudioDataset, Dataset, ImageDataset, Track
from genreclf.errors import UnreadableTrack, UserError
from genreclf.run_directory import reason_of

SUBSETS = (None, "train", "val", "test")
"""Allowed values of `genreclf.datasets.base.Track.subset`."""

LARGEST_PEAK = 100.0
"""Largest accepted absolute sample, above what decoders overshoot to, but below 16-bit integers of quiet music."""


def check_name(dataset: Dataset) -> None:
    """Raise a `UserError` if a dataset has no name."""
    if not _is_text(getattr(dataset, "name", None)):
        raise UserError(f"data: {type(dataset).__name__} has no name: set one in the class.")


def checked_tracks(dataset: Dataset) -> list[Track]:
    """Return all tracks of a dataset after checking them.

    Raises:
        UserError: The dataset has no name, there are no tracks, two have the same id, or a value is not a
            `genreclf.datasets.base.Track` with a valid id, genre, artist and subset.
    """
    check_name(dataset)
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
    """Return the waveform of a track after checking it, see `genreclf.datasets.base.AudioDataset.waveform`.

    Raises:
        UserError: The waveform is not a one-dimensional array of floating-point numbers, or exceeds `LARGEST_PEAK`.
        UnreadableTrack: The waveform is empty or contains NaN or infinity, or the dataset cannot read the track.
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


def checked_rate(dataset: ImageDataset, tracks: Sequence[Track]) -> float:
    """Return the columns per second of the images of `tracks`; `UserError` if they are not a positive number."""
    rate: Any = _made(lambda: dataset.frames_per_second(tracks), dataset, "frames_per_second failed")
    if not (isinstance(rate, int | float | np.number) and np.isfinite(rate) and rate > 0):
        raise UserError(
            f"data: {type(dataset).__name__}.frames_per_second returned {rate!r}: return the number of columns of an "
            "image per second of music, more than 0."
        )
    return float(rate)


def checked_picture(dataset: ImageDataset, track: Track) -> NDArray[np.uint8]:
    """Return the image of a track after checking it, see `genreclf.datasets.base.ImageDataset.picture`.

    Raises:
        UserError: The image is not a two-dimensional array of uint8, or its number of rows is not ``dataset.n_mels``.
        UnreadableTrack: The image has no columns, or the dataset cannot read the track.
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
    """Call a dataset's method; if a user's own dataset fails, raise an error with `failed`, which names the track."""
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
