"""Calibrate probabilities by temperature scaling, and choose confidence thresholds for keeping predictions."""

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
"""Bounds of the temperature search; with few validation tracks, all of them correct, it would otherwise reach 0."""

COVERAGES = tuple(percent / 100 for percent in range(5, 101, 5))
"""Shares of the most confident validation tracks for which `Calibration` holds confidence and accuracy."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Temperature scaling of a model's probabilities, fitted to validation tracks.

    The logarithms of the probabilities are divided by a temperature (C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger,
    "On calibration of modern neural networks", ICML 2017); temperatures above 1 reduce the confidence. The ranking of
    the genres, and so the accuracy, does not change.
    """

    track: float = 1.0
    """Temperature for a track's probabilities, which are the mean over its clips."""
    clip: float = 1.0
    """Temperature for a clip's probabilities."""
    confidence: tuple[float, ...] = ()
    """Lowest calibrated probability of the predicted genre among the most confident validation tracks, for each of
    `COVERAGES`."""
    accuracy: tuple[float, ...] = ()
    """Accuracy on the most confident validation tracks, for each of `COVERAGES`."""

    @classmethod
    def fit(cls, clips: ClipPredictions) -> Self | None:
        """Fit the temperatures that minimize the loss on validation clips and on their tracks; None without clips."""
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
        """Create a calibration from the ``metrics.json`` of a run; None if the run is unfinished or not calibrated.

        Raises:
            KeyError, TypeError, ValueError: The calibration in the metrics is invalid.
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
        """Return the calibration of a run; None if the run has none.

        Raises:
            UserError: The metrics are damaged.
        """
        if not run.metrics.exists():
            return None
        try:
            return cls.of_metrics(run.read_metrics())
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{run.metrics} is damaged (calibration: {reason_of(error)}); remove it to predict without calibration."
            ) from error

    def plain(self) -> dict[str, Any]:
        """Return the calibration as a dictionary for ``metrics.json``."""
        known = asdict(self)
        temperature = {key: known.pop(key) for key in ("track", "clip")}
        return {"temperature": temperature, "coverage": COVERAGES, **known}

    def least_confidence(self, coverage: float) -> float:
        """Return the confidence threshold that keeps a share `coverage` of the validation tracks."""
        return float(np.interp(coverage, COVERAGES, self.confidence))

    def accuracy_at(self, coverage: float) -> float:
        """Return the accuracy on the most confident validation tracks, of which `coverage` is the share."""
        return float(np.interp(coverage, COVERAGES, self.accuracy))

    def scores(self, clips: ClipPredictions) -> dict[str, dict[str, float]]:
        """Return ``calibration_error`` and ``loss`` of the calibrated predictions, for ``track`` and for ``clip``."""
        tracks = clips.per_track()
        return {
            "track": _scores(logarithms(tracks.probabilities), self.track, tracks.targets),
            "clip": _scores(clips.log_probabilities, self.clip, clips.targets[clips.track]),
        }


def fit_temperature(log_probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """Return the temperature that maximizes the likelihood of the true genres.

    Args:
        log_probabilities: Logarithms of the predicted probabilities, shape ``(prediction, genre)``.
        targets: Index of the true genre, shape ``(prediction,)``.

    Returns:
        The temperature, rounded to 6 decimals; 1 if any logarithm is not finite.
    """
    from scipy.optimize import minimize_scalar

    if not np.isfinite(log_probabilities).all():
        return 1.0
    bounds = np.log([LOWEST, HIGHEST])
    found = minimize_scalar(lambda t: _loss(log_probabilities, np.exp(t), targets), bounds=bounds, method="bounded")
    return round(float(np.exp(found.x)), 6)  # Rounded as in metrics.json, so that a later test gets the same scores.


def tempered(log_probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return the probabilities at a temperature.

    Args:
        log_probabilities: Logarithms of the probabilities at temperature 1, shape ``(..., genre)``.
        temperature: Temperature by which the logarithms are divided.

    Returns:
        Probabilities of the same shape.
    """
    from scipy.special import softmax

    probabilities: NDArray[np.float64] = softmax(log_probabilities / temperature, axis=-1)
    return probabilities


def risk(tracks: TrackPredictions) -> NDArray[np.float64]:
    """Return the error rate among the 1, 2, ... most confident tracks, shape ``(track,)``."""
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
