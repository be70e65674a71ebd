"""Base classes of datasets; `genreclf.datasets.folder.Folder` is the shortest example."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Track:
    """One track of a dataset."""

    id: str
    """Identifier, unique within the dataset, such as ``genre.NNNNN`` for GTZAN or ``genre/stem`` for other datasets."""
    genre: str
    """Genre of the track, used as its class label."""
    path: Path
    """Path of the file; for a synthetic track, a path that does not exist."""
    artist: str | None = None
    """Names of the artists, separated by semicolons, or None if unknown."""
    duration_s: float | None = None
    """Length in seconds, or None if the file would have to be decoded to find out."""
    fingerprint: str = ""
    """Fingerprint of the content, such as the size and modification time of the file; if it changes, the spectrogram is
    computed again."""
    group: str = ""
    """Group of tracks that share an artist or are known repeats, and therefore stay in one subset of a grouped split;
    see `genreclf.datasets.identity.groups`. A track whose artist is unknown forms a group of its own."""
    subset: str | None = None
    """Subset (``train``, ``val`` or ``test``) in the official split of the dataset, or None if there is none."""


class Dataset(ABC):
    """Base class of all datasets. To write your own dataset, subclass `AudioDataset` or `ImageDataset`."""

    name: str
    """Short name of the dataset, used in reports and in the names of stores."""

    def __init__(self) -> None:
        self.warnings = []

    @cached_property
    def warnings(self) -> list[str]:
        """Warnings for the user, such as that a known broken track was left out; filled by `tracks`."""
        return []

    @property
    def dataset(self) -> str:
        """Identifier of the dataset, by default its `name`.

        Tracks with the same id and the same `dataset` must be the same track. A dataset whose settings choose among
        different tracks with the same ids therefore overrides this property.
        """
        return self.name

    @property
    def genres(self) -> list[str]:
        """Genres of all tracks, sorted by name."""
        return sorted({track.genre for track in self.tracks()})

    @abstractmethod
    def tracks(self) -> list[Track]:
        """Return all tracks, sorted by id, without decoding any of them.

        Raises:
            UserError: There are no tracks; the message says where they were looked for and what to do.
        """


class AudioDataset(Dataset):
    """Base class of datasets of audio waveforms."""

    @abstractmethod
    def waveform(self, track: Track, sample_rate: int) -> NDArray[np.float32]:
        """Return the mono waveform of a track at `sample_rate` Hz, shape ``(sample,)``, with full scale at 1.

        Raises:
            UnreadableTrack: The track cannot be used; the message says why.
        """


class ImageDataset(Dataset):
    """Base class of datasets of ready-made spectrogram images."""

    n_mels: int
    """Number of rows of every image."""

    rendering: str | None = None
    """How the images were rendered from audio, one of `genreclf.datasets.images.RENDERINGS`; None if unknown."""

    @abstractmethod
    def frames_per_second(self, tracks: Sequence[Track]) -> float:
        """Return the number of image columns per second of music, for the images of `tracks`."""

    @abstractmethod
    def picture(self, track: Track) -> NDArray[np.uint8]:
        """Return the image of a track, shape ``(mel, frame)``, with the lowest frequency first.

        The value 255 is the peak level of the track, and 0 is 80 dB below it.

        Raises:
            UnreadableTrack: The track cannot be used; the message says why.
        """
