"""Songs to try the page with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import soundfile

from genreclf.datasets.synthetic import Synthetic
from genreclf.errors import UserError
from genreclf.inference.listing import audio_files
from genreclf.run_directory import atomic_path

SHOWN = 10

SAMPLE_RATE = 22050
DURATION_S = 20.0
SEED = 2**31
"""Of the computed music: no run of ours trains with it."""


@dataclass(frozen=True)
class Example:
    """A song to try.

    Attributes:
        name: What its button says.
        path: The file.
        track: Its number in the computed music; None for a file of the user's.
    """

    name: str
    path: Path
    track: int | None = None


class Examples:
    """Ten songs at most; computed ones are computed when they are first asked for.

    Args:
        songs: In the order of the buttons.
        music: What computes those that are computed.
    """

    def __init__(self, songs: Sequence[Example], *, music: Synthetic | None = None) -> None:
        self.songs = tuple(songs)
        self.music = music
        self._one_at_a_time = Lock()

    @classmethod
    def of_folder(cls, folder: Path) -> "Examples":
        """Take the first audio files of a folder.

        Raises:
            UserError: It holds none.
        """
        found = [path for path, reason in audio_files([str(folder)]) if reason is None][:SHOWN]
        if not folder.is_dir() or not found:
            raise UserError(f"--songs {folder} is no folder with audio files; name one, or leave --songs out.")
        return cls([Example(path.stem, path) for path in found])

    @classmethod
    def computed(cls, folder: Path) -> "Examples":
        """Describe a computed song of each of the ten genres, to be written into a folder."""
        music = Synthetic(tracks_per_genre=1, artists_per_genre=1, duration_s=DURATION_S, seed=SEED)
        folder.mkdir(parents=True, exist_ok=True)
        tracks = music.tracks()
        return cls(
            [Example(track.genre, folder / f"{track.genre}.wav", i) for i, track in enumerate(tracks)], music=music
        )

    @property
    def are_computed(self) -> bool:
        """Whether they are computed music."""
        return self.music is not None

    def path(self, number: int) -> Path:
        """Return the file of a song, computed if it is not there."""
        song = self.songs[number]
        if self.music is not None and song.track is not None:
            with self._one_at_a_time:
                if not song.path.exists():
                    samples = self.music.waveform(self.music.tracks()[song.track], SAMPLE_RATE)
                    with atomic_path(song.path) as partial:
                        soundfile.write(partial, samples, SAMPLE_RATE)
        return song.path
