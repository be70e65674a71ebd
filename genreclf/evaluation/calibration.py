"""Calibrate probabilities by a temperature, and find how sure a prediction must be to be kept."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genreclf.errors import UserError
from genreclf.evaluation.metrics import calibration_error, logarithms
from genreclf.evaluation.predictions import ClipPredictions, TrackPredictions
from genreclf.run_directory import RunDirectory, reason_of

LOWEST, HIGHEST = 0.25, 10.0
"""Limits of the search for a temperature: with few validation tracks, all of them right, it would go to 0."""

COVERAGES = tuple(percent / 100 for percent in range(5, 101, 5))
"""Shares of the validation tracks for which `Calibration` knows how sure their predictions are."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Calibration of a model's probabilities by temperatures, fitted to validation tracks.

    Temperatures divide the logarithms of the probabilities (C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On
    calibration of modern neural networks", ICML 2017): above 1 they take away certainty. The order of the genres stays,
    and so does the accuracy.
    """

    track: float = 1.0
    """Temperature of a track's probabilities, which are the mean of its clips'."""
    clip: float = 1.0
    """Temperature of a clip's probabilities."""
    confidence: tuple[float, ...] = ()
    """The least calibrated probability of the predicted genre among the surest validation tracks, for each of
    `COVERAGES`."""
    accuracy: tuple[float, ...] = ()
    """The share of these that is right."""

    @classmethod
    def fit(cls, clips: ClipPredictions) -> Self | None:
        """Return the temperatures of the least loss on validation clips and on their tracks; None without clips."""
        if not len(clips.track):
            return None
        tracks = clips.per_track()
        track = fit_temperature(logarithms(tracks.probabilities), tracks.targets)
        clip = fit_temperature(clips.log_probabilities, clips.targets[clips.track])
        confidence = tempered(logarithms(tracks.probabilities), track).max(axis=1)
        order = np.argsort(-confidence, kind="stable")
        right = (tracks.predicted == tracks.targets)[order]
        kept = [max(1, round(coverage * len(order))) for coverage in COVERAGES]
        return cls(
            track=track,
            clip=clip,
            confidence=tuple(float(confidence[order[n - 1]]) for n in kept),
            accuracy=tuple(float(right[:n].mean()) for n in kept),
        )

    @classmethod
    def of_metrics(cls, metrics: Mapping[str, Any]) -> Self | None:
        """Return what ``metrics.json`` of a finished run holds; None of one that knows no temperature.

        Raises:
            KeyError, TypeError, ValueError: It holds what `plain` has not returned.
        """
        known = metrics.get("calibration") if metrics.get("status") == "finished" else None
        if known is None:
            return None
        track, clip = (float(known["temperature"][unit]) for unit in ("track", "clip"))
        confidence, accuracy = (tuple(float(value) for value in known[key]) for key in ("confidence", "accuracy"))
        if not LOWEST / 2 <= min(track, clip) <= max(track, clip) <= 2 * HIGHEST:
            raise ValueError(f"temperature {track} or {clip} is out of range")
        for shares in (confidence, accuracy):
            if len(shares) != len(COVERAGES) or not all(0 <= share <= 1 for share in shares):
                raise ValueError("a confidence or accuracy is not between 0 and 1")
        return cls(track=track, clip=clip, confidence=confidence, accuracy=accuracy)

    @classmethod
    def of_run(cls, run: RunDirectory) -> Self | None:
        """Return a run's calibration, None if it has none; raise `UserError` if the metrics are damaged."""
        if not run.metrics.exists():
            return None
        try:
            return cls.of_metrics(run.read_metrics())
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{run.metrics} is damaged (calibration: {reason_of(error)}); remove it to predict without calibration."
            ) from error

    def plain(self) -> dict[str, Any]:
        """Return what ``metrics.json`` holds of it."""
        known = asdict(self)
        temperature = {key: known.pop(key) for key in ("track", "clip")}
        return {"temperature": temperature, "coverage": COVERAGES, **known}

    def least_confidence(self, coverage: float) -> float:
        """Return how sure a prediction must be so that a share `coverage` of the validation tracks is kept."""
        return float(np.interp(coverage, COVERAGES, self.confidence))

    def accuracy_at(self, coverage: float) -> float:
        """Return the share that is right of the surest validation tracks."""
        return float(np.interp(coverage, COVERAGES, self.accuracy))

    def scores(self, clips: ClipPredictions) -> dict[str, dict[str, float]]:
        """Return ``calibration_error`` and ``loss`` of calibrated predictions, of ``track`` and of ``clip``."""
        tracks = clips.per_track()
        return {
            "track": _scores(logarithms(tracks.probabilities), self.track, tracks.targets),
            "clip": _scores(clips.log_probabilities, self.clip, clips.targets[clips.track]),
        }


def fit_temperature(log_probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """Return the temperature at which the true genres are most probable.

    Args:
        log_probabilities: Shape ``(prediction, genre)``.
        targets: Index of the true genre, shape ``(prediction,)``.
    """
    from scipy.optimize import minimize_scalar

    if not np.isfinite(log_probabilities).all():
        return 1.0
    bounds = np.log([LOWEST, HIGHEST])
    found = minimize_scalar(lambda t: _loss(log_probabilities, np.exp(t), targets), bounds=bounds, method="bounded")
    return round(float(np.exp(found.x)), 6)  # As metrics.json keeps it, so that another test repeats its scores.


def tempered(log_probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return probabilities at a temperature, ``(..., genre)`` like their logarithms at temperature 1."""
    from scipy.special import softmax

    probabilities: NDArray[np.float64] = softmax(log_probabilities / temperature, axis=-1)
    return probabilities


def risk(tracks: TrackPredictions) -> NDArray[np.float64]:
    """Return the share of wrong predictions among the surest 1, 2, ... tracks, shape ``(track,)``."""
    order = np.argsort(-tracks.probabilities.max(axis=1), kind="stable")
    wrong = (tracks.predicted != tracks.targets)[order]
    shares: NDArray[np.float64] = wrong.cumsum() / np.arange(1, len(order) + 1)
    return shares


def _loss(log_probabilities: NDArray[np.float64], temperature: float, targets: NDArray[np.int64]) -> float:
    shares = tempered(log_probabilities, temperature)[np.arange(len(targets)), targets]
    return -float(logarithms(shares).mean())


def _scores(log_probabilities: NDArray[np.float64], temperature: float, targets: NDArray[np.int64]) -> dict[str, float]:
    return {
        "calibration_error": calibration_error(tempered(log_probabilities, temperature), targets),
        "loss": _loss(log_probabilities, temperature, targets),
    }
