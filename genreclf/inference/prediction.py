"""The prediction of a model for a song, as a whole and over time."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genreclf.evaluation.calibration import Calibration, tempered
from genreclf.evaluation.metrics import logarithms

CHANGING_BITS = 0.5
"""Minimum entropy in bits of the windows' mean for a song to be ``changing``: that of two genres at 89 and 11 %."""

SAME_S = 1e-6
"""Seconds by which two times may differ and still count as the same."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Timeline:
    """Genre probabilities of a song over time, in overlapping windows on the same grid as the clips of the test."""

    genres: tuple[str, ...]
    """Names of the genres, in the order of the columns of `probabilities`."""
    start_s: NDArray[np.float64]
    """Start of each window in the song, in seconds, shape ``(window,)``."""
    end_s: NDArray[np.float64]
    """End of each window, no later than that of the song, in seconds, shape ``(window,)``."""
    probabilities: NDArray[np.float64]
    """Genre probabilities of each window, shape ``(window, genre)``; each row sums to 1."""

    def __repr__(self) -> str:
        return f"<Timeline: {len(self.start_s)} windows from {clock(self.start_s[0])} to {clock(self.end_s[-1])}>"

    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Average the probabilities of the windows that cover each moment of the song.

        Returns:
            Edges of the moments in seconds, shape ``(moment + 1,)``, and the mean probabilities between them, shape
            ``(moment, genre)``.
        """
        edges = np.unique(np.concatenate([self.start_s, self.end_s]))
        # Rounding may put the edges of adjoining windows about 1e-15 s apart, with no window between them.
        edges = edges[np.diff(edges, prepend=-1.0) > SAME_S]
        change = np.zeros((len(edges), len(self.genres) + 1))
        entries = np.column_stack([self.probabilities, np.ones(len(self.start_s))])
        for times, sign in ((self.start_s, 1.0), (self.end_s, -1.0)):
            np.add.at(change, np.searchsorted(edges, times + SAME_S) - 1, sign * entries)
        covered = change.cumsum(axis=0)[:-1]
        return edges, covered[:, :-1] / covered[:, -1:]

    def stretches(self) -> list[tuple[float, str]]:
        """Return the stretches of the song with the same most probable genre: their start in seconds and the genre."""
        edges, shares = self.shares()
        likeliest = shares.argmax(axis=1)
        changes = np.flatnonzero(np.diff(likeliest, prepend=-1))
        return [(float(edges[i]), self.genres[likeliest[i]]) for i in changes]

    def plain(self) -> list[dict[str, Any]]:
        """Return a list with a dictionary for each window, for JSON."""
        return [
            {"start_s": round(start, 6), "end_s": round(end, 6), "probabilities": _by_genre(self.genres, row)}
            for start, end, row in zip(self.start_s.tolist(), self.end_s.tolist(), self.probabilities, strict=True)
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """Genre probabilities of a song, as a whole and over time, with its embedding and spectrogram."""

    path: str | None
    """Path of the file; None for a waveform."""
    genres: tuple[str, ...]
    """Names of the genres, in the order of `probabilities`."""
    probabilities: NDArray[np.float64]
    """Genre probabilities of the song, the mean over its windows, shape ``(genre,)``; they sum to 1."""
    timeline: Timeline
    """Genre probabilities of each window."""
    embedding: NDArray[np.float32] | None
    """Embedding of the song, which is the input of the classifier averaged over the windows, shape ``(dimension,)``;
    None if the network does not end in a linear layer."""
    spectrogram_db: NDArray[np.float32]
    """Log-mel spectrogram of the analyzed part for display, in dB relative to 1, shape ``(mel, column)``, with at most
    1500 columns."""
    range_hz: tuple[float, float]
    """Lowest and highest frequency of the mel bands of `spectrogram_db`, in Hz."""
    analyzed_s: tuple[float, float]
    """Start and end of the analyzed part in the song, in seconds."""
    duration_s: float
    """Length of the whole song, in seconds."""
    calibration: Calibration | None = None
    """Calibration of the model, see `genreclf.evaluation.calibration`; None if the model has none. `timeline` and
    `confidence` are calibrated; `probabilities` are not, as in the test."""
    warning: str | None = None
    """Sentence that a user should read before trusting the prediction."""

    def __repr__(self) -> str:
        song = "a waveform" if self.path is None else repr(self.path)
        shares = ", ".join(f"{100 * share:.1f} % {genre}" for genre, share in self.top(3))
        return f"<Prediction of {song}: {shares}; {self.certainty}, confidence {self.confidence:.2f}>"

    @property
    def genre(self) -> str:
        """Most probable genre; the first one if several are equally probable."""
        return self.genres[int(self.probabilities.argmax())]

    @property
    def entropy_bits(self) -> float:
        """Entropy of the probabilities in bits, from 0 for a certain genre to log2 of their number for equal ones."""
        return float(_entropy_bits(self.probabilities))

    @property
    def confidence(self) -> float:
        """Probability of the most probable genre, calibrated on validation tracks to be the chance that it is right."""
        temperature = 1.0 if self.calibration is None else self.calibration.track
        return float(tempered(logarithms(self.probabilities), temperature).max())

    @property
    def certainty(self) -> Literal["sure", "unsure", "changing"]:
        """Whether the model is sure of the genre, unsure, or sure of different genres at different times.

        The entropy of the mean over the windows has two parts: the mean entropy of the windows, which is high if the
        model is unsure of each window, and the remainder, which is high if the windows differ (A. Malinin and M. Gales,
        "Predictive uncertainty estimation via prior networks", NeurIPS 2018). A song is ``changing`` if the entropy is
        at least `genreclf.inference.prediction.CHANGING_BITS` and the remainder is more than half of it; otherwise it
        is ``unsure`` if its most probable genre is more likely wrong than right, and ``sure`` if not.
        """
        windows = self.timeline.probabilities
        total = float(_entropy_bits(windows.mean(axis=0)))
        if total >= CHANGING_BITS and total - float(_entropy_bits(windows).mean()) > total / 2:
            return "changing"
        return "sure" if self.confidence >= 0.5 else "unsure"

    def top(self, k: int | None = None) -> list[tuple[str, float]]:
        """Return the `k` most probable genres (all by default) and their probabilities, in descending order."""
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
    """Return the entropies in bits of distributions ``(..., genre)``."""
    from scipy.special import entr

    bits: NDArray[np.float64] = entr(probabilities).sum(-1) / np.log(2)
    return bits


def _by_genre(genres: tuple[str, ...], probabilities: NDArray[np.float64]) -> dict[str, float]:
    return {genre: round(float(value), 9) for genre, value in zip(genres, probabilities, strict=True)}


def clock(seconds: float) -> str:
    """Return a time in a song as minutes and seconds, such as 3:05, with hours if there are any."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
