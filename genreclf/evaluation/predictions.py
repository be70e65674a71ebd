"""Predictions of a model for clips, and their means for tracks."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genreclf.errors import UserError
from genreclf.limits import refuse_device
from genreclf.run_directory import atomic_write_text, csv_of

TRACK_COLUMNS = ("track_id", "genre", "predicted")
CLIP_COLUMNS = ("track_id", "clip", "start_s", "genre", "predicted")


@dataclass(frozen=True, eq=False, kw_only=True)
class TrackPredictions:
    """Predicted probability of each genre for each track."""

    genres: tuple[str, ...]
    """Genres, in the order of the columns of `probabilities`."""
    track_ids: tuple[str, ...]
    """Ids of the tracks, sorted."""
    targets: NDArray[np.int64]
    """Index of the true genre, shape ``(track,)``."""
    probabilities: NDArray[np.float64]
    """Probabilities, shape ``(track, genre)``; each row sums to 1."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Index of the most probable genre of each track, the first in a tie, shape ``(track,)``."""
        return _likeliest(self.probabilities)


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipPredictions:
    """Logits of the clips of one subset of a split, sorted by track and clip, with each clip once.

    Raises:
        ValueError: Shapes do not match, an index is out of range, or the tracks or clips are not sorted.
    """

    genres: tuple[str, ...]
    """Genres, in the order of the columns of `logits`."""
    track_ids: tuple[str, ...]
    """Ids of all tracks of the subset, sorted."""
    targets: NDArray[np.int64]
    """Index of the true genre of each track, shape ``(track,)``."""
    track: NDArray[np.int64]
    """Index of each clip's track in `track_ids`, shape ``(clip,)``."""
    clip: NDArray[np.int64]
    """Number of each clip within its track, shape ``(clip,)``."""
    start_s: NDArray[np.float64]
    """Start of each clip within its track in seconds, shape ``(clip,)``."""
    logits: NDArray[np.float32]
    """Logits of each clip, shape ``(clip, genre)``."""

    def __post_init__(self) -> None:
        """Check that the arrays belong together."""
        clips, tracks, genres = len(self.track), len(self.track_ids), len(self.genres)
        shapes = {
            "targets": (self.targets.shape, (tracks,)),
            "clip": (self.clip.shape, (clips,)),
            "start_s": (self.start_s.shape, (clips,)),
            "logits": (self.logits.shape, (clips, genres)),
        }
        for name, (shape, expected) in shapes.items():
            if shape != expected:
                raise ValueError(f"{name} has shape {shape}, expected {expected}")
        if not all(first < second for first, second in zip(self.track_ids, self.track_ids[1:], strict=False)):
            raise ValueError("track_ids must be sorted, each once")
        for name, index, size in (("targets", self.targets, genres), ("track", self.track, tracks)):
            if np.any((index < 0) | (index >= size)):
                raise ValueError(f"{name} must be in 0..{size - 1}")
        track_step, clip_step = np.diff(self.track), np.diff(self.clip)
        if np.any((track_step < 0) | ((track_step == 0) & (clip_step <= 0))):
            raise ValueError("clips must be in the order (track, clip), each once; use ClipPredictions.gathered")

    @classmethod
    def gathered(
        cls,
        *,
        genres: Sequence[str],
        track_ids: Sequence[str],
        targets: ArrayLike,
        track: ArrayLike,
        clip: ArrayLike,
        start_s: ArrayLike,
        logits: ArrayLike,
    ) -> Self:
        """Sort the predictions of several ranks and drop repeated clips.

        Clips are repeated so that every rank has the same number of clips; scoring the repeated clips twice would make
        the result depend on the number of ranks. Of repeated clips, the first is kept. The clips of all ranks are
        concatenated, in any order.

        Args:
            genres: Genres, in the order of the logits.
            track_ids: Ids of all tracks of the subset, sorted.
            targets: Index of the true genre of each track, shape ``(track,)``.
            track: Index of each clip's track in `track_ids`, shape ``(clip,)``.
            clip: Number of each clip within its track, shape ``(clip,)``.
            start_s: Start of each clip within its track in seconds, shape ``(clip,)``.
            logits: Logits of each clip, shape ``(clip, genre)``.

        Raises:
            ValueError: Shapes do not match, an index is out of range, or `track_ids` are not sorted.
        """
        track_of = np.asarray(track, dtype=np.int64)
        clip_of = np.asarray(clip, dtype=np.int64)
        order = np.lexsort((clip_of, track_of))  # lexsort is stable: the first of repeated clips stays first.
        changes = (np.diff(track_of[order]) != 0) | (np.diff(clip_of[order]) != 0)
        keep = order[np.concatenate((np.ones(min(len(order), 1), dtype=bool), changes))]
        return cls(
            genres=tuple(genres),
            track_ids=tuple(track_ids),
            targets=np.asarray(targets, dtype=np.int64),
            track=track_of[keep],
            clip=clip_of[keep],
            start_s=np.asarray(start_s, dtype=np.float64)[keep],
            logits=np.asarray(logits, dtype=np.float32).reshape(-1, len(genres))[keep],
        )

    @classmethod
    def none(cls, genres: Sequence[str]) -> Self:
        """Return empty predictions, for a subset without tracks."""
        return cls.gathered(genres=genres, track_ids=(), targets=(), track=(), clip=(), start_s=(), logits=())

    @property
    def log_probabilities(self) -> NDArray[np.float64]:
        """Log-softmax of the logits, in float64, shape ``(clip, genre)``."""
        from scipy.special import log_softmax

        normalized: NDArray[np.float64] = log_softmax(self.logits.astype(np.float64), axis=1)
        return normalized

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Softmax of the logits, in float64, shape ``(clip, genre)``."""
        return np.exp(self.log_probabilities)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Index of the most probable genre of each clip, the first in a tie, shape ``(clip,)``."""
        return _likeliest(self.logits)

    def per_track(self) -> TrackPredictions:
        """Average the probabilities of each track's clips.

        Returns:
            Predictions for the tracks that have clips: all tracks, unless the number of batches was limited.
        """
        present, first, clips = np.unique(self.track, return_index=True, return_counts=True)
        probabilities = np.zeros((0, len(self.genres)))
        if len(present):
            probabilities = np.add.reduceat(self.probabilities, first, axis=0) / clips[:, None]
        return TrackPredictions(
            genres=self.genres,
            track_ids=tuple(self.track_ids[index] for index in present),
            targets=self.targets[present],
            probabilities=probabilities,
        )


def write_clip_csv(path: Path, clips: ClipPredictions) -> None:
    """Write a CSV file with one row per clip: `CLIP_COLUMNS`, then the probability of each genre with 9 decimals."""
    probabilities, predicted = clips.probabilities, clips.predicted
    rows = (
        [
            clips.track_ids[track],
            int(clips.clip[row]),
            f"{clips.start_s[row]:.6f}",
            clips.genres[clips.targets[track]],
            clips.genres[predicted[row]],
            *_decimals(probabilities[row]),
        ]
        for row, track in enumerate(clips.track)
    )
    atomic_write_text(path, csv_of([*CLIP_COLUMNS, *clips.genres], rows))


def write_track_csv(path: Path, tracks: TrackPredictions) -> None:
    """Write a CSV file with one row per track: `TRACK_COLUMNS`, then the probability of each genre with 9 decimals."""
    predicted = tracks.predicted
    names = [(tracks.genres[true], tracks.genres[said]) for true, said in zip(tracks.targets, predicted, strict=True)]
    parts = zip(tracks.track_ids, names, tracks.probabilities, strict=True)
    rows = ([track_id, *both, *_decimals(probabilities)] for track_id, both, probabilities in parts)
    atomic_write_text(path, csv_of([*TRACK_COLUMNS, *tracks.genres], rows))


def read_track_csv(path: Path) -> TrackPredictions:
    """Read a CSV file written by `write_track_csv`.

    Returns:
        Predictions, sorted by track id; the probabilities have the 9 decimals of the file. Where several genres have
        the highest one, that of the predicted genre is raised to the next number, so that it is predicted again.

    Raises:
        UserError: The file is missing, or it was not written by `write_track_csv`; the message names an invalid line.
    """
    try:
        refuse_device(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): give the predictions.csv of a finished run."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8: give the predictions.csv of a finished run.") from error
    genres = tuple(header[len(TRACK_COLUMNS) :])
    if tuple(header[: len(TRACK_COLUMNS)]) != TRACK_COLUMNS or not genres or len(set(genres)) < len(genres):
        raise UserError(
            f"The first line of {path} must be {','.join(TRACK_COLUMNS)} and one column per genre, each once: "
            "give the predictions.csv of a finished run."
        )
    index = {genre: number for number, genre in enumerate(genres)}
    tracks: dict[str, tuple[int, list[float]]] = {}
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        try:
            track_id, genre, predicted, *cells = row
            target, likeliest = index[genre], index[predicted]
            probabilities = [float(cell) for cell in cells]
        except (ValueError, KeyError):
            probabilities, track_id = [], ""
        if len(probabilities) != len(genres) or not all(0 <= value <= 1 for value in probabilities):
            raise UserError(
                f"Line {number} of {path} must hold a track, two of the genres in the first line and a probability "
                "for each genre: write the file again with `python -m genreclf evaluate RUN`."
            )
        if track_id in tracks:
            raise UserError(f"Line {number} of {path} repeats the track {track_id!r}: remove one of the lines.")
        highest = max(probabilities)
        if probabilities[likeliest] == highest and probabilities.count(highest) > 1:
            probabilities[likeliest] = math.nextafter(highest, 1)
        tracks[track_id] = (target, probabilities)
    ordered = sorted(tracks)
    return TrackPredictions(
        genres=genres,
        track_ids=tuple(ordered),
        targets=np.array([tracks[track_id][0] for track_id in ordered], dtype=np.int64),
        probabilities=np.array([tracks[track_id][1] for track_id in ordered], dtype=np.float64).reshape(
            len(ordered), len(genres)
        ),
    )


def _likeliest(scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def _decimals(probabilities: NDArray[np.float64]) -> list[str]:
    return [f"{value:.9f}" for value in probabilities]
