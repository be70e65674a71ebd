"""Base classes of datasets; `genreclf.datasets.folder.Folder` is the shortest example."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Track:
    """One track of a dataset."""

    id: str
    """Unique in its dataset, such as ``genre.NNNNN`` for GTZAN, ``genre/stem`` elsewhere."""
    genre: str
    """The class."""
    path: Path
    """The file; a synthetic track has a path that does not exist."""
    artist: str | None = None
    """The artists, separated by semicolons, or None if unknown."""
    duration_s: float | None = None
    """Length in seconds, or None if the file must be decoded to know it."""
    fingerprint: str = ""
    """Identifies the content, such as by size and modification time of the file; a change makes the store compute the
    track again."""
    group: str = ""
    """Tracks of a group stay in one subset of a grouped split, since they share an artist or are known repeats; see
    `genreclf.datasets.identity.groups`. A track of unknown artist is a group of its own."""
    subset: str | None = None
    """``train``, ``val`` or ``test`` in the split that the dataset was published with, if there is one."""


class Dataset(ABC):
    """A set of tracks. Subclass `AudioDataset` or `ImageDataset`."""

    name: str
    """Short name, used in reports and in the names of stores."""

    warnings: list[str]
    """What a user should know about the tracks, such as a known broken one that was left out; filled by `tracks`."""

    def __init__(self) -> None:
        self.warnings = []

    @property
    def dataset(self) -> str:
        """Identifies the dataset, so that tracks of the same `dataset` and id are the same track.

        It is `name`, unless the settings choose among different tracks of the same ids.
        """
        return self.name

    @property
    def genres(self) -> list[str]:
        """The genres of all tracks, sorted."""
        return sorted({track.genre for track in self.tracks()})

    @abstractmethod
    def tracks(self) -> list[Track]:
        """Return all tracks, sorted by id, without decoding any.

        Raises:
            UserError: There are none; the message names the place and the ways out.
        """


class AudioDataset(Dataset):
    """A dataset of waveforms."""

    @abstractmethod
    def waveform(self, track: Track, sample_rate: int) -> NDArray[np.float32]:
        """Return the track, mono, at `sample_rate` Hz, shape ``(sample,)``, full scale at 1.

        Raises:
            UnreadableTrack: The track cannot be used; the message says why.
        """


class ImageDataset(Dataset):
    """A dataset of ready-made spectrogram pictures."""

    n_mels: int
    """Rows of every picture."""

    rendering: str | None = None
    """How the pictures were rendered from audio, one of `genreclf.datasets.images.RENDERINGS`; None if unknown."""

    @abstractmethod
    def frames_per_second(self, tracks: Sequence[Track]) -> float:
        """Return how many columns of these pictures a second of music takes."""

    @abstractmethod
    def picture(self, track: Track) -> NDArray[np.uint8]:
        """Return the picture, ``(mel, frame)``, low frequency first, 255 at the track's peak and 0 at 80 dB below.

        Raises:
            UnreadableTrack: The track cannot be used; the message says why.
        """
