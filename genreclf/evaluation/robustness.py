"""Measure how changes of the music affect accuracy and predictions, with intervals over tracks and artists."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from genreclf.evaluation.intervals import artist_index, artist_interval, mean_interval, wilson_interval
from genreclf.evaluation.predictions import TrackPredictions

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Effect of one change of the music on the predictions."""

    name: str
    """Name of the change."""
    n: int
    """Number of tracks."""
    accuracy: float
    """Accuracy on the changed tracks."""
    drop: float
    """Accuracy on the unchanged tracks minus accuracy on the changed tracks."""
    drop_ci95: Interval
    """95 % interval of `drop` over tracks, see `mean_interval`."""
    drop_ci95_artists: Interval | None
    """95 % interval of `drop` over artists; None if the artists are unknown."""
    flips: float
    """Share of the tracks whose predicted genre changes, whether correct or not."""
    flips_ci95: Interval
    """95 % Wilson interval of `flips` over tracks."""
    flips_ci95_artists: Interval | None
    """95 % interval of `flips` from a bootstrap over artists; None if the artists are unknown."""

    @classmethod
    def of(
        cls, name: str, before: TrackPredictions, after: TrackPredictions, artists: Mapping[str, str] | None
    ) -> "Robustness":
        """Compare the predictions for the same tracks before and after a change.

        Args:
            name: Name of the change.
            before: Predictions for the unchanged tracks.
            after: Predictions for the changed tracks.
            artists: Artist of each track, see `genreclf.datasets.identity.artist_groups`; None if unknown.

        Raises:
            ValueError: The predictions are for different tracks.
        """
        if before.track_ids != after.track_ids:
            raise ValueError("predictions of different tracks cannot be compared")
        artist = artist_index(before.track_ids, artists)
        right = after.predicted == after.targets
        lost = (before.predicted == before.targets).astype(np.float64) - right
        flipped = before.predicted != after.predicted
        n = len(right)
        return cls(
            name=name,
            n=n,
            accuracy=float(right.mean()),
            drop=float(lost.mean()),
            drop_ci95=mean_interval(lost, np.arange(n), bounds=(-1.0, 1.0)),
            drop_ci95_artists=None if artist is None else mean_interval(lost, artist, bounds=(-1.0, 1.0)),
            flips=float(flipped.mean()),
            flips_ci95=wilson_interval(int(flipped.sum()), n),
            flips_ci95_artists=None if artist is None else artist_interval(flipped[None].astype(np.float64), artist),
        )
