"""The prediction of a model for a song."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genreclf.evaluation.calibration import Calibration, tempered
from genreclf.evaluation.metrics import logarithms

CHANGING_BITS = 0.5
"""Least entropy of the windows' mean of a song that changes: that of two genres at 89 and 11 %."""

SAME_S = 1e-6
"""Times that are no further apart than this are the same."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Timeline:
    """The genre probabilities of a song over time, in overlapping windows: the same grid of clips as in the test."""

    genres: tuple[str, ...]
    """The classes, in the order of the columns."""
    start_s: NDArray[np.float64]
    """Where each window starts in the song, in seconds, shape ``(window,)``."""
    end_s: NDArray[np.float64]
    """Where it ends, at the end of the song at the latest, shape ``(window,)``."""
    probabilities: NDArray[np.float64]
    """Shape ``(window, genre)``; a row sums to 1."""

    def __repr__(self) -> str:
        return f"<Timeline: {len(self.start_s)} windows from {clock(self.start_s[0])} to {clock(self.end_s[-1])}>"

    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Average the windows that cover each moment.

        Returns:
            Edges in seconds, shape ``(moment + 1,)``, and shares between them, shape ``(moment, genre)``.
        """
        edges = np.unique(np.concatenate([self.start_s, self.end_s]))
        # Windows that adjoin are rounded to times that may differ by 1e-15 s, between which there is no window.
        edges = edges[np.diff(edges, prepend=-1.0) > SAME_S]
        change = np.zeros((len(edges), len(self.genres) + 1))
        entries = np.column_stack([self.probabilities, np.ones(len(self.start_s))])
        for times, sign in ((self.start_s, 1.0), (self.end_s, -1.0)):
            np.add.at(change, np.searchsorted(edges, times + SAME_S) - 1, sign * entries)
        covered = change.cumsum(axis=0)[:-1]
        return edges, covered[:, :-1] / covered[:, -1:]

    def stretches(self) -> list[tuple[float, str]]:
        """Return the times in seconds at which the most probable genre changes, and the new genre, from the start."""
        edges, shares = self.shares()
        likeliest = shares.argmax(axis=1)
        changes = np.flatnonzero(np.diff(likeliest, prepend=-1))
        return [(float(edges[i]), self.genres[likeliest[i]]) for i in changes]

    def plain(self) -> list[dict[str, Any]]:
        """Return a dictionary for each window, for JSON."""
        return [
            {"start_s": round(start, 6), "end_s": round(end, 6), "probabilities": _by_genre(self.genres, row)}
            for start, end, row in zip(self.start_s.tolist(), self.end_s.tolist(), self.probabilities, strict=True)
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """The genre probabilities of a song, as a whole and over time, with its embedding and spectrogram."""

    path: str | None
    """The file; None for a waveform."""
    genres: tuple[str, ...]
    """The classes, in the order of the probabilities."""
    probabilities: NDArray[np.float64]
    """The mean over the windows, shape ``(genre,)``; they sum to 1."""
    timeline: Timeline
    """The genres of each window."""
    embedding: NDArray[np.float32] | None
    """Input of the classifier, the mean over the windows, shape ``(dimension,)``; None if the network does not end in a
    linear layer."""
    spectrogram_db: NDArray[np.float32]
    """Log-mel for display, in dB relative to 1, shape ``(mel, column)``, of what was analyzed; at most 1500 columns."""
    range_hz: tuple[float, float]
    """Lowest and highest frequency of its mels, in Hz."""
    analyzed_s: tuple[float, float]
    """Start and end of what was analyzed, in seconds of the song."""
    duration_s: float
    """Length of the whole song, in seconds."""
    calibration: Calibration | None = None
    """Of the model, see `genreclf.evaluation.calibration`; None if it has none. The windows are calibrated;
    `probabilities` are those of the test, and `confidence` is calibrated."""
    warning: str | None = None
    """One sentence that a user should read before trusting the prediction."""

    def __repr__(self) -> str:
        song = "a waveform" if self.path is None else repr(self.path)
        shares = ", ".join(f"{100 * share:.1f} % {genre}" for genre, share in self.top(3))
        return f"<Prediction of {song}: {shares}; {self.certainty}, confidence {self.confidence:.2f}>"

    @property
    def genre(self) -> str:
        """The most probable genre; of equals, the first."""
        return self.genres[int(self.probabilities.argmax())]

    @property
    def entropy_bits(self) -> float:
        """Entropy of the probabilities, 0 if one genre is certain, log2 of the number of genres if all are equal."""
        return float(_entropy_bits(self.probabilities))

    @property
    def confidence(self) -> float:
        """How likely the most probable genre is right, which is its probability, calibrated on validation tracks."""
        temperature = 1.0 if self.calibration is None else self.calibration.track
        return float(tempered(logarithms(self.probabilities), temperature).max())

    @property
    def certainty(self) -> Literal["sure", "unsure", "changing"]:
        """Whether the model is sure of a song, unsure, or sure of different genres at different times.

        The entropy of the windows' mean has two parts: the mean of their own entropies, where the model is unsure of
        each window, and the rest, where the windows differ (A. Malinin and M. Gales, "Predictive uncertainty
        estimation via prior networks", NeurIPS 2018). A song is ``changing`` if the second makes more than half of at
        least `CHANGING_BITS`; otherwise ``unsure`` if its most probable genre is more likely wrong than right;
        otherwise ``sure``.
        """
        windows = self.timeline.probabilities
        total = float(_entropy_bits(windows.mean(axis=0)))
        if total >= CHANGING_BITS and total - float(_entropy_bits(windows).mean()) > total / 2:
            return "changing"
        return "sure" if self.confidence >= 0.5 else "unsure"

    def top(self, k: int | None = None) -> list[tuple[str, float]]:
        """Return the `k` most probable genres (default: all) with their probabilities, in descending order."""
        if k is not None and k < 1:
            raise ValueError(f"k={k} must be at least 1")
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.genres[i], float(self.probabilities[i])) for i in order]

    def plain(self) -> dict[str, Any]:
        """Return the prediction as a dictionary for JSON."""
        return {
            "path": self.path,
            "genre": self.genre,
            "probabilities": _by_genre(self.genres, self.probabilities),
            "timeline": self.timeline.plain(),
            "confidence": round(self.confidence, 6),
            "certainty": self.certainty,
            "temperature": None if self.calibration is None else self.calibration.plain()["temperature"],
            "entropy_bits": round(self.entropy_bits, 6),
            "duration_s": round(self.duration_s, 6),
            **({} if self.warning is None else {"warning": self.warning}),
        }


def _entropy_bits(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropies of distributions ``(..., genre)``."""
    from scipy.special import entr

    bits: NDArray[np.float64] = entr(probabilities).sum(-1) / np.log(2)
    return bits


def _by_genre(genres: tuple[str, ...], probabilities: NDArray[np.float64]) -> dict[str, float]:
    return {genre: round(float(value), 9) for genre, value in zip(genres, probabilities, strict=True)}


def clock(seconds: float) -> str:
    """Return a time in a song as a listener reads it, such as 3:05."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
