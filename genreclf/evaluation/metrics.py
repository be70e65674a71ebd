"""Metrics of predictions, with confidence intervals.

Everything is summed in float64 in the order (track, clip), so that the result does not depend on ranks or batches.
torchmetrics is similar but works in float32, and its macro F1 counts a genre without tracks as soon as one track is
mistaken for it. The tests compare these functions with torchmetrics and scikit-learn where the definitions agree.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genreclf.errors import UserError
from genreclf.evaluation.intervals import artist_index, artist_metrics, wilson_interval
from genreclf.evaluation.predictions import ClipPredictions, TrackPredictions

CALIBRATION_BINS = 15


class Metric(NamedTuple):
    """A metric computed by `evaluate` that reports show beside the accuracy."""

    key: str
    """Key of the metric in ``track``, and possibly in ``clip``."""
    title: str
    """Name of the metric for readers."""
    is_share: bool = False
    """Whether the metric is shown as a percentage."""
    is_compared: bool = False
    """Whether tables that compare experiments have a column for the metric."""


METRICS = (
    Metric("f1_macro", "macro F1", is_compared=True),
    Metric("top3_accuracy", "top-3 accuracy", is_share=True),
    Metric("calibration_error", "expected calibration error"),
)
"""Metrics that reports show beside the accuracy, in this order."""


def evaluate(clips: ClipPredictions, artists: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Compute the metrics of the predictions for one subset of a split, in validation and testing alike.

    Args:
        clips: Predictions of all ranks; see `genreclf.evaluation.predictions.ClipPredictions.gathered`.
        artists: Artist of each track, see `genreclf.datasets.identity.artist_groups`; None if unknown.

    Returns:
        A dictionary with ``clip``, which holds ``accuracy``, ``f1_macro``, ``calibration_error``, ``loss`` and ``n``;
        ``track``, which holds the same, ``accuracy_ci95`` (Wilson, ``[low, high]``), the metrics of
        `genreclf.evaluation.intervals.artist_metrics` and ``top3_accuracy``; and ``per_genre``, which holds
        ``precision``, ``recall``, ``f1`` and ``n`` of the tracks of each genre. Values are not rounded; see `rounded`.
        Losses are mean negative log likelihoods in nats; the loss of tracks is computed from the averaged
        probabilities. A genre without tracks has ``n`` 0 and is left out of the macro F1. Losses are NaN if logits are.

    Raises:
        UserError: There are no clips.
    """
    clip_targets = _clip_targets(clips)
    clip_counts = _count(clip_targets, clips.predicted, len(clips.genres))
    return {
        "clip": {
            "accuracy": int(np.trace(clip_counts)) / len(clip_targets),
            "f1_macro": _macro_f1(clip_counts),
            "calibration_error": calibration_error(clips.probabilities, clip_targets),
            "loss": _clip_loss(clips),
            "n": len(clip_targets),
        },
        **evaluate_tracks(clips.per_track(), artists),
    }


def accuracies_and_losses(clips: ClipPredictions) -> dict[str, dict[str, float]]:
    """Return ``accuracy`` and ``loss`` for ``clip`` and ``track``, the metrics of `evaluate` that each epoch needs."""
    clip_targets, tracks = _clip_targets(clips), clips.per_track()
    return {
        "clip": {"accuracy": _accuracy(clips.predicted, clip_targets), "loss": _clip_loss(clips)},
        "track": {"accuracy": _accuracy(tracks.predicted, tracks.targets), "loss": track_loss(tracks)},
    }


def evaluate_tracks(tracks: TrackPredictions, artists: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the entries ``track`` and ``per_genre`` of `evaluate`, for the predictions for at least one track."""
    counts = confusion(tracks)
    n, right = len(tracks.targets), int(np.trace(counts))
    return {
        "track": {
            "accuracy": right / n,
            "accuracy_ci95": list(wilson_interval(right, n)),
            **artist_metrics(tracks.predicted == tracks.targets, artist_index(tracks.track_ids, artists)),
            "f1_macro": _macro_f1(counts),
            "top3_accuracy": _top_accuracy(tracks, 3),
            "calibration_error": calibration_error(tracks.probabilities, tracks.targets),
            "loss": track_loss(tracks),
            "n": n,
        },
        "per_genre": genre_scores(tracks),
    }


def scores_by_seen(
    tracks: TrackPredictions, seen: Collection[str], artists: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Compute accuracies separately for test tracks that were seen before the test and for all others.

    Args:
        tracks: Predictions for the test tracks.
        seen: Ids of the tracks that were seen before.
        artists: Artist of each track, see `genreclf.datasets.identity.artist_groups`; None if unknown.

    Returns:
        ``seen`` and ``unseen``, each with an entry ``track`` that holds ``accuracy`` and ``accuracy_ci95`` (Wilson),
        both None if there are no such tracks, the metrics of `genreclf.evaluation.intervals.artist_metrics`, and
        ``n``; an empty dictionary if no track was seen.
    """
    was_seen = np.array([track_id in seen for track_id in tracks.track_ids], dtype=bool)
    if not was_seen.any():
        return {}
    figures: dict[str, Any] = {}
    for name, chosen in (("seen", was_seen), ("unseen", ~was_seen)):
        hits = (tracks.predicted == tracks.targets)[chosen]
        n, right = len(hits), int(hits.sum())
        ids = [track_id for track_id, is_chosen in zip(tracks.track_ids, chosen, strict=True) if is_chosen]
        figures[name] = {
            "track": {
                "accuracy": right / n if n else None,
                "accuracy_ci95": list(wilson_interval(right, n)) if n else None,
                **artist_metrics(hits, artist_index(ids, artists)),
                "n": n,
            }
        }
    return figures


def track_loss(tracks: TrackPredictions) -> float:
    """Return the mean negative log likelihood of the tracks' true genres, in nats."""
    of_target = tracks.probabilities[np.arange(len(tracks.targets)), tracks.targets]
    return -float(logarithms(of_target).mean())


def logarithms(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithms of probabilities, which are finite even for a probability of 0."""
    logs: NDArray[np.float64] = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return logs


def confusion(tracks: TrackPredictions) -> NDArray[np.int64]:
    """Return the confusion matrix: number of tracks by true genre (row) and predicted genre (column)."""
    return _count(tracks.targets, tracks.predicted, len(tracks.genres))


def genre_scores(tracks: TrackPredictions) -> dict[str, dict[str, float]]:
    """Return ``precision``, ``recall``, ``f1`` (0 if undefined) and the number of tracks ``n`` of each genre."""
    counts = confusion(tracks)
    right, true, given = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    columns = zip(
        tracks.genres, _ratio(right, given), _ratio(right, true), _ratio(2 * right, true + given), true, strict=True
    )
    return {
        genre: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "n": int(n)}
        for genre, precision, recall, f1, n in columns
    }


def calibration_error(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """Return the expected calibration error: the mean absolute difference between confidence and accuracy.

    Confidences fall into 15 bins of equal width, each open on the left and closed on the right (C. Guo, G. Pleiss, Y.
    Sun and K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017).

    Args:
        probabilities: Predicted probabilities, shape ``(prediction, genre)``.
        targets: Index of the true genre, shape ``(prediction,)``.
    """
    confidence, accuracy, n = reliability(probabilities, targets)
    return float((np.abs(accuracy - confidence) * n).sum() / len(targets))


def reliability(
    probabilities: NDArray[np.float64], targets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Compute the values of a reliability diagram; for arguments and bins see `calibration_error`.

    Returns:
        Mean confidence, accuracy, and number of predictions in each bin, each ``(bin,)``; 0 in empty bins.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.minimum(np.searchsorted(edges, confidence, side="left") - 1, CALIBRATION_BINS - 1)
    n = np.bincount(bins, minlength=CALIBRATION_BINS)
    sums = (np.bincount(bins, weights=values, minlength=CALIBRATION_BINS) for values in (confidence, right))
    confidences, accuracies = (total / np.maximum(n, 1) for total in sums)
    return confidences, accuracies, n


def best_epoch(history: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> int | None:
    """Return the epoch of the tested checkpoint.

    Args:
        history: Logged values of each epoch.
        metrics: Metrics of the run, which may name the epoch as ``best_epoch``.

    Returns:
        The named epoch, or else the first epoch with the highest ``val/track_accuracy``; None if there is neither.
    """
    if metrics.get("best_epoch") is not None:
        return int(metrics["best_epoch"])
    scored = [row for row in history if not math.isnan(number(row, "val/track_accuracy"))]
    if not scored:
        return None
    return int(max(scored, key=lambda row: number(row, "val/track_accuracy"))["epoch"])


def get_metric(metrics: Mapping[str, Any], dotted: str) -> Any:
    """Return the value at a dotted path such as ``test.track.n`` in nested metrics; None if it is missing."""
    value: Any = metrics
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def number(row: Mapping[str, Any], key: str) -> float:
    """Return a value from a row of a run's history; NaN if it is missing."""
    value = row.get(key)
    return math.nan if value is None else float(value)


def rounded(value: Any) -> Any:
    """Return nested metrics ready for JSON: floats rounded to 6 decimals, and None for those that are not finite."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, np.generic):
        return rounded(value.item())
    if isinstance(value, float):
        return round(value, 6) + 0.0 if math.isfinite(value) else None  # + 0.0: no -0.0
    return value


def _clip_targets(clips: ClipPredictions) -> NDArray[np.int64]:
    """Return the true genre of each clip; raise `UserError` if there are no clips."""
    if not len(clips.track):
        raise UserError("There are no clips to score: raise trainer.limit_val_batches and trainer.limit_test_batches.")
    return clips.targets[clips.track]


def _clip_loss(clips: ClipPredictions) -> float:
    targets = clips.targets[clips.track]
    return -float(clips.log_probabilities[np.arange(len(targets)), targets].mean())


def _accuracy(predicted: NDArray[np.int64], targets: NDArray[np.int64]) -> float:
    return int((predicted == targets).sum()) / len(targets)


def _count(targets: NDArray[np.int64], predicted: NDArray[np.int64], genres: int) -> NDArray[np.int64]:
    pairs = np.bincount(targets * genres + predicted, minlength=genres**2)
    return pairs.reshape(genres, genres).astype(np.int64, copy=False)


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = numerator / np.maximum(denominator, 1)
    return result


def _macro_f1(counts: NDArray[np.int64]) -> float:
    true, given = counts.sum(axis=1), counts.sum(axis=0)
    return float(_ratio(2 * np.diag(counts), true + given)[true > 0].mean())


def _top_accuracy(tracks: TrackPredictions, k: int) -> float:
    likeliest = np.argsort(-tracks.probabilities, axis=1, kind="stable")[:, :k]
    return float((likeliest == tracks.targets[:, None]).any(axis=1).mean())
