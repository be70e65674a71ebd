"""Provide example songs for visitors of the page who have no song at hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Self

import soundfile

from genreclf.datasets.base import Dataset, Track
from genreclf.datasets.fma import Fma
from genreclf.datasets.folder import Folder
from genreclf.datasets.genres import map_genres, read_genre_map
from genreclf.datasets.gtzan import Gtzan
from genreclf.datasets.synthetic import Synthetic
from genreclf.errors import UserError
from genreclf.inference.listing import audio_files
from genreclf.run_directory import RunDirectory, atomic_path
from genreclf.splits.base import Split

SHOWN = 10

SAMPLE_RATE = 22050
DURATION_S = 20.0
SEED = 2**31
"""Seed of the synthetic music, with which no run of the project is trained."""


@dataclass(frozen=True)
class Example:
    """One example song of the page."""

    name: str
    """Label of the example's button."""
    path: Path
    """Path of the audio file."""
    track: int | None = None
    """Number of the track in the synthetic music; None for an existing file."""
    genre: str | None = None
    """Genre of the song; None if unknown."""


class Examples:
    """At most ten example songs; a synthetic song is computed when it is first requested.

    Args:
        songs: Examples, in the order of the buttons.
        about: A sentence that describes the examples.
        music: Dataset that computes the synthetic songs; None if there are none.
    """

    def __init__(self, songs: Sequence[Example], *, about: str, music: Synthetic | None = None) -> None:
        self.songs = tuple(songs)
        self.about = about
        self.music = music
        self._one_at_a_time = Lock()

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """Create examples from the first audio file in each genre's subfolder, or else from the first files.

        Raises:
            UserError: `folder` is not a folder or has no audio files.
        """
        found = [path for path, reason in audio_files([str(folder)]) if reason is None]
        if not folder.is_dir() or not found:
            raise UserError(f"--songs {folder} is not a folder with audio files; choose another or omit --songs.")
        genres: dict[str, Path] = {}
        for path in found:
            if len(parts := path.relative_to(folder).parts) > 1:
                genres.setdefault(parts[0], path)
        if len(genres) > 1:
            songs = [Example(genre, path, genre=genre) for genre, path in genres.items()]
            return cls(songs[:SHOWN], about="A song of each genre.")
        return cls([Example(path.stem, path) for path in found[:SHOWN]], about="Songs chosen for this page.")

    @classmethod
    def of_run(cls, run: RunDirectory, folder: Path) -> Self:
        """Create examples from one test track per genre of a run's dataset, or synthetic ones if there are no files.

        Args:
            run: Run directory.
            folder: Folder for the files of synthetic songs.
        """
        try:
            tested = {segment.track_id for segment in Split.from_json(run.read_json(run.split)).subsets["test"]}
            tracks = {track.genre: track for track in reversed(_tracks_of(run)) if track.id in tested}
        except UserError:  # The files may have been moved since.
            return cls.computed(folder)
        songs = [Example(genre, tracks[genre].path, genre=genre) for genre in sorted(tracks)]
        about = "A song of each genre from the test set of the model."
        return cls(songs[:SHOWN], about=about) if songs else cls.computed(folder)

    @classmethod
    def computed(cls, folder: Path) -> Self:
        """Create one synthetic example for each of the ten genres, whose files will be written into a folder."""
        music = Synthetic(tracks_per_genre=1, artists_per_genre=1, duration_s=DURATION_S, seed=SEED)
        folder.mkdir(parents=True, exist_ok=True)
        songs = [
            Example(track.genre, folder / f"{track.genre}.wav", number, track.genre)
            for number, track in enumerate(music.tracks())
        ]
        return cls(songs, about="Computer-generated music in the style of each genre.", music=music)

    def path(self, number: int) -> Path:
        """Return the path of a song's file, which is computed if it does not exist.

        Args:
            number: Index of the song in `songs`.
        """
        song = self.songs[number]
        if self.music is not None and song.track is not None:
            with self._one_at_a_time:
                if not song.path.exists():
                    samples = self.music.waveform(self.music.tracks()[song.track], SAMPLE_RATE)
                    with atomic_path(song.path) as partial:
                        soundfile.write(partial, samples, SAMPLE_RATE)
        return song.path


def _tracks_of(run: RunDirectory) -> list[Track]:
    """Return the tracks of a run's dataset, with the run's genres; empty if it does not consist of audio files."""
    data = run.read_config().get("data")
    if not isinstance(data, dict):
        return []
    name = str(data.get("_target_")).rpartition(".")[2]
    root = data.get("root") if isinstance(data.get("root"), str) else None
    dataset: Dataset
    if name == "Gtzan":
        dataset = Gtzan(root=root, download=False)
    elif name == "Fma":
        dataset = Fma(root=root, subset="medium" if data.get("subset") == "medium" else "small")
    elif name == "Folder":
        dataset = Folder(root=root)
    else:
        return []
    return map_genres(dataset.tracks(), read_genre_map(data.get("genre_map")))[0]
