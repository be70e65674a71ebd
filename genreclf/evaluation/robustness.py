"""Accuracy on changed test tracks, its drop, and changed predictions, with intervals over tracks and artists."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from genreclf.evaluation.intervals import artist_index, artist_interval, mean_interval, wilson_interval
from genreclf.evaluation.predictions import TrackPredictions

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """The effect of one change of the music on the predictions."""

    name: str
    """Of the change."""
    n: int
    """Number of tracks."""
    accuracy: float
    """Share of the changed tracks that is right."""
    drop: float
    """How much less that is than of the same tracks unchanged."""
    drop_ci95: Interval
    """Its interval by a bootstrap over tracks."""
    drop_ci95_artists: Interval | None
    """The same over artists; None where none are known."""
    flips: float
    """Share of the tracks whose prediction changes, right or wrong."""
    flips_ci95: Interval
    """Its interval over tracks (Wilson)."""
    flips_ci95_artists: Interval | None
    """The same by a bootstrap over artists; None where none are known."""

    @classmethod
    def of(
        cls, name: str, before: TrackPredictions, after: TrackPredictions, artists: Mapping[str, str] | None
    ) -> "Robustness":
        """Compare the predictions of the same tracks; for artists see `genreclf.datasets.identity.artist_groups`."""
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
            drop_ci95=mean_interval(lost, np.arange(n)),
            drop_ci95_artists=None if artist is None else mean_interval(lost, artist),
            flips=float(flipped.mean()),
            flips_ci95=wilson_interval(int(flipped.sum()), n),
            flips_ci95_artists=None if artist is None else artist_interval(flipped[None].astype(np.float64), artist),
        )
