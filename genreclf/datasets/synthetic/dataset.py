"""A dataset that needs no files: procedural music in the ten GTZAN genres, for first runs, tests and teaching."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genreclf.datasets.base import AudioDataset, Track
from genreclf.datasets.synthetic.score import draw_artist, draw_song
from genreclf.datasets.synthetic.styles import STYLES
from genreclf.datasets.synthetic.synthesis import play
from genreclf.errors import UserError

VERSION = 1
"""Version of the sound. Increase it with every audible change, so that stores are computed again."""

MOST_TRACKS = 100_000
"""Maximum number of tracks per genre; track numbers have five digits."""

LONGEST_S = 3600
"""Maximum length of a track in seconds; each track is computed in one piece."""


class Synthetic(AudioDataset):
    """Synthetic music in ten genres: the same arguments always give the same tracks.

    As in real music, the genres differ in rhythm, harmony, instruments and dynamics, and overlap in all of these.
    All tracks of an artist share a sound, so a split that puts an artist into several subsets leaks, as with real
    data. Scores on this dataset say nothing about real music.
    """

    name = "synthetic"

    def __init__(
        self, *, tracks_per_genre: int = 20, artists_per_genre: int = 5, duration_s: float = 15.0, seed: int = 0
    ) -> None:
        """Define the tracks without computing any.

        Args:
            tracks_per_genre: Number of tracks in each of the ten genres.
            artists_per_genre: Number of artists in each genre; the tracks are assigned to them in turn.
            duration_s: Length of every track in seconds.
            seed: Random seed; each seed gives different artists and tracks.

        Raises:
            UserError: An argument is out of range.
        """
        super().__init__()
        for key, value in (("tracks_per_genre", tracks_per_genre), ("artists_per_genre", artists_per_genre)):
            if value < 1:
                raise UserError(f"data.{key} must be 1 or more, not {value}.")
            if value > MOST_TRACKS:
                raise UserError(f"data.{key} must be {MOST_TRACKS} or less, not {value}.")
        if artists_per_genre > tracks_per_genre:
            raise UserError(
                f"data.artists_per_genre={artists_per_genre} leaves artists without a track: "
                f"lower it to data.tracks_per_genre={tracks_per_genre} or less."
            )
        if not (math.isfinite(duration_s) and duration_s >= 1):
            raise UserError(f"data.duration_s must be 1 second or more, not {duration_s}.")
        if duration_s > LONGEST_S:
            raise UserError(f"data.duration_s must be {LONGEST_S} seconds or less, not {duration_s}.")
        if seed < 0:
            raise UserError(f"data.seed must be 0 or more, not {seed}.")
        self.tracks_per_genre = tracks_per_genre
        self.artists_per_genre = artists_per_genre
        self.duration_s = duration_s
        self.seed = seed

    @property
    def dataset(self) -> str:
        """Identifier of the dataset; it includes the seed and the number of artists, since both change the music."""
        return f"{self.name}, seed {self.seed}, {self.artists_per_genre} artists a genre"

    def tracks(self) -> list[Track]:
        """Return all tracks, sorted by id."""
        return [self._track(genre, number) for genre in sorted(STYLES) for number in range(self.tracks_per_genre)]

    def _track(self, genre: str, number: int) -> Track:
        artist = f"{genre}-artist-{self._artist(number)}" + (f"-of-seed-{self.seed}" if self.seed else "")
        return Track(
            id=f"{genre}/{number:05d}",
            genre=genre,
            path=Path("synthetic", f"seed-{self.seed}", genre, f"{number:05d}"),
            artist=artist,
            duration_s=self.duration_s,
            fingerprint=f"version={VERSION} seed={self.seed} artist={artist} duration_s={self.duration_s}",
            group=artist,
        )

    def _artist(self, number: int) -> int:
        return number % self.artists_per_genre

    def waveform(self, track: Track, sample_rate: int) -> NDArray[np.float32]:
        """Return the mono waveform of a track at `sample_rate` Hz, shape ``(sample,)``, with full scale at 1.

        The music is the same at every sample rate, except that noise is drawn separately for each rate. The result does
        not depend on earlier calls.
        """
        style, _, text = track.id.partition("/")  # Not `track.genre`, which `data.genre_map` may rename.
        number = int(text)
        key = (self.seed, sorted(STYLES).index(style), self._artist(number))
        artist = draw_artist(STYLES[style], np.random.default_rng([*key, 0]))
        rng = np.random.default_rng([*key, number + 1])
        events, mix = draw_song(artist, self.duration_s, rng)
        return play(events, mix=mix, duration_s=self.duration_s, sample_rate=sample_rate, rng=rng)
