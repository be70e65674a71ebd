"""What a model says about a song."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Timeline:
    """Genres of a song over time, a window each clip of the test's grid; neighbors overlap.

    Attributes:
        genres: The classes, in the order of the columns.
        start_s: Where each window starts in the song, in seconds, shape ``(window,)``.
        end_s: Where it ends, at the end of the song at the latest, shape ``(window,)``.
        probabilities: Shape ``(window, genre)``; a row sums to 1.
    """

    genres: tuple[str, ...]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Average the windows that cover each moment.

        Returns:
            Edges in seconds, shape ``(moment + 1,)``, and shares between them, shape ``(moment, genre)``.
        """
        edges = np.unique(np.concatenate([self.start_s, self.end_s]))
        change = np.zeros((len(edges), len(self.genres) + 1))
        entries = np.column_stack([self.probabilities, np.ones(len(self.start_s))])
        np.add.at(change, np.searchsorted(edges, self.start_s), entries)
        np.add.at(change, np.searchsorted(edges, self.end_s), -entries)
        covered = change.cumsum(axis=0)[:-1]
        return edges, covered[:, :-1] / covered[:, -1:]

    def stretches(self) -> list[tuple[float, str]]:
        """Return where in seconds another genre becomes the likeliest, and which, from the start on."""
        edges, shares = self.shares()
        likeliest = shares.argmax(axis=1)
        changes = np.flatnonzero(np.diff(likeliest, prepend=-1))
        return [(float(edges[i]), self.genres[likeliest[i]]) for i in changes]

    def plain(self) -> list[dict[str, Any]]:
        """Return a dictionary a window, as JSON lines hold it."""
        return [
            {"start_s": round(start, 6), "end_s": round(end, 6), "probabilities": _by_genre(self.genres, row)}
            for start, end, row in zip(self.start_s.tolist(), self.end_s.tolist(), self.probabilities, strict=True)
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """Genres of a song.

    Attributes:
        path: The file; None for a waveform.
        genres: The classes, in the order of the probabilities.
        probabilities: The mean over the windows, shape ``(genre,)``; they sum to 1.
        timeline: Each window's.
        embedding: What the classifier's last layer gets, the mean over the windows, shape ``(dimension,)``; None if
            the network does not end in a linear layer.
        spectrogram_db: Log-mel for the eye, in dB relative to 1, shape ``(mel, column)``: what was heard, evenly on
            1500 columns at most.
        sample_rate: At which it was computed, in Hz; the mels reach half of it.
        heard_s: Where what was heard begins and ends in the song, in seconds.
        duration_s: Length of the whole song.
    """

    path: str | None
    genres: tuple[str, ...]
    probabilities: NDArray[np.float64]
    timeline: Timeline
    embedding: NDArray[np.float32] | None
    spectrogram_db: NDArray[np.float32]
    sample_rate: int
    heard_s: tuple[float, float]
    duration_s: float

    @property
    def genre(self) -> str:
        """The likeliest genre, the first of equals."""
        return self.genres[int(self.probabilities.argmax())]

    @property
    def entropy_bits(self) -> float:
        """Entropy of the probabilities: 0 for one genre alone, log2 of the number of genres for no idea."""
        known = self.probabilities[self.probabilities > 0]
        return abs(float((known * np.log2(known)).sum()))

    def top(self, k: int | None = None) -> list[tuple[str, float]]:
        """Return the `k` likeliest genres (all by default) with their probabilities, the likeliest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.genres[i], float(self.probabilities[i])) for i in order]

    def plain(self) -> dict[str, Any]:
        """Return what a JSON line holds."""
        return {
            "path": self.path,
            "genre": self.genre,
            "probabilities": _by_genre(self.genres, self.probabilities),
            "timeline": self.timeline.plain(),
            "entropy_bits": round(self.entropy_bits, 6),
            "duration_s": round(self.duration_s, 6),
        }


def _by_genre(genres: tuple[str, ...], probabilities: NDArray[np.float64]) -> dict[str, float]:
    return {genre: round(float(value), 9) for genre, value in zip(genres, probabilities, strict=True)}


def clock(seconds: float) -> str:
    """Return a time in a song as a listener reads it, such as 3:05."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
