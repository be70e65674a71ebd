"""What every source of tracks offers; see `genreclf.datasets.folder.Folder` for the shortest one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Track:
    """One track of a source.

    Attributes:
        id: Unique in its source: ``genre.NNNNN`` for GTZAN, ``genre/stem`` elsewhere.
        genre: The class.
        path: The file; for a synthetic track, a path that names it and does not exist.
        artist: Who made it, several behind semicolons, or None if unknown.
        duration_s: Length in seconds, or None where only decoding would tell.
        fingerprint: What the stored spectrogram of the track depends on beside the features, such as size and change
            time of the file: another fingerprint makes the store compute the track anew.
        group: Tracks of one group never part in a grouped split: those that share an artist or are known repeats, see
            `genreclf.datasets.identity.groups`. A track of unknown artist is a group of its own.
    """

    id: str
    genre: str
    path: Path
    artist: str | None = None
    duration_s: float | None = None
    fingerprint: str = ""
    group: str = ""


class Dataset(ABC):
    """A set of tracks. Subclass `AudioDataset` or `ImageDataset`."""

    name: str
    """Short name, used in reports and in the names of stores."""

    warnings: list[str]
    """What a user should know about the tracks, such as a known broken one that was left out; filled by `tracks`."""

    def __init__(self) -> None:
        """Start without warnings."""
        self.warnings = []

    @property
    def dataset(self) -> str:
        """Which dataset the tracks are of: tracks of one dataset and id are the same track.

        The name of the source, unless its settings choose among different tracks of the same ids.
        """
        return self.name

    @abstractmethod
    def tracks(self) -> list[Track]:
        """Return all tracks, sorted by id, without decoding any.

        Raises:
            UserError: There is nothing to read; the message says where it looked and the ways out.
        """


class AudioDataset(Dataset):
    """A source of waveforms."""

    @abstractmethod
    def waveform(self, track: Track, sample_rate: int) -> NDArray[np.float32]:
        """Return the track, mono, at `sample_rate` Hz, shape ``(sample,)``, full scale at 1.

        Raises:
            UnreadableTrack: The track cannot be used; the message says why.
        """


class ImageDataset(Dataset):
    """A source of ready-made spectrogram pictures."""

    n_mels: int
    """Rows of every picture."""

    rendering: str | None = None
    """How the pictures were made of audio, one of `genreclf.datasets.images.RENDERINGS`; None where it is not known."""

    @abstractmethod
    def frames_per_second(self, tracks: Sequence[Track]) -> float:
        """Return the columns a second of music takes in these pictures."""

    @abstractmethod
    def picture(self, track: Track) -> NDArray[np.uint8]:
        """Return the picture, ``(mel, frame)``, low frequency first, 255 at the track's peak and 0 at 80 dB below.

        Raises:
            UnreadableTrack: The track cannot be used; the message says why.
        """
