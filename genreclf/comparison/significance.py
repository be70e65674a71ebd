"""Confidence intervals and paired tests over tracks and over artists, for experiments of one or several runs.

The unit of sampling is the track, or the artist with all their tracks, not the clip or the run: clips of one track, and
runs tested on the same track, are not independent. An experiment is therefore represented by the number of its runs
that tested each distinct track, and the number of these runs that classified the track correctly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genreclf.evaluation.intervals import (
    RESAMPLES,
    artist_interval,
    interval_of_equal,
    over_artists,
    over_seeds,
    percentiles,
    spanning,
    wilson_interval,
)

FINEST = 2520
"""Differences between shares are rounded to multiples of 1/2520 at the finest, which is exact for up to ten runs."""

WILSON, BOOTSTRAP = "Wilson", "bootstrap"
MCNEMAR, PERMUTATION = "McNemar", "permutation"


@dataclass(frozen=True, eq=False, kw_only=True)
class TrackScores:
    """How often each test track was classified correctly."""

    track_ids: tuple[str, ...]
    """Ids of the distinct tracks, sorted."""
    right: NDArray[np.int64]
    """Number of runs that classified each track correctly, shape ``(track,)``."""
    times: NDArray[np.int64]
    """Number of runs that tested each track, at least 1, shape ``(track,)``."""
    by_seed: NDArray[np.float64] | None = None
    """Share of the runs of each seed that classified each track correctly, shape ``(seed, track)``; None if not
    every seed was tested on all tracks."""
    artist: NDArray[np.int64] | None = None
    """Artist index of each track, see `genreclf.evaluation.intervals.artist_index`; None if no artists are known."""

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of the runs that classified each track correctly, shape ``(track,)``."""
        shares: NDArray[np.float64] = self.right / self.times
        return shares

    @property
    def accuracy(self) -> float:
        """Mean of `shares`: averaged over seeds on the same tracks, pooled over folds; each track counts once."""
        return float(self.shares.mean())

    @property
    def seeds(self) -> NDArray[np.float64]:
        """Shares by seed for the bootstrap: `by_seed`, or `shares` as a single seed, shape ``(seed, track)``."""
        return self.shares[None] if self.by_seed is None else self.by_seed

    @cached_property
    def over_artists(self) -> NDArray[np.float64] | None:
        """Accuracy by seed in each bootstrap sample of artists, ``(sample, seed)``; None if no artists are known."""
        return None if self.artist is None else over_artists(self.seeds, self.artist)

    @cached_property
    def artist_interval(self) -> tuple[float, float] | None:
        """95 % interval of the accuracy over artists and seeds; None if no artists are known."""
        return None if self.artist is None else artist_interval(self.seeds, self.artist)

    @property
    def once(self) -> bool:
        """Whether every track was tested by exactly one run."""
        return bool((self.times == 1).all())


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of an accuracy, and the method by which it was computed, `WILSON` or `BOOTSTRAP`."""

    low: float
    high: float
    method: str


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Result of testing two experiments against each other on the same tracks."""

    difference: float
    """Accuracy of the first experiment minus the accuracy of the second."""
    low: float
    """Lower end of the 95 % interval of the difference over tracks (Student's t), see `paired_test`."""
    high: float
    """Upper end of the 95 % interval of the difference over tracks (Student's t)."""
    first_better: int
    """Number of tracks that a larger share of runs classified correctly in the first experiment than in the second."""
    second_better: int
    """Number of tracks that a larger share of runs classified correctly in the second experiment than in the first."""
    p: float
    """Two-sided p value over tracks, not corrected for multiple tests."""
    method: str
    """Method of the test over tracks, `MCNEMAR` or `PERMUTATION`."""
    ci95_artists: tuple[float, float] | None
    """95 % interval of the difference over artists and seeds; None where `p_artists` is None."""
    p_artists: float | None
    """Two-sided p value over artists; None if not tested, see `genreclf.comparison.significance.paired_test`."""


def accuracy_interval(scores: TrackScores) -> Interval:
    """Return the 95 % interval of the accuracy over tracks.

    If each track was tested once (one run, or folds without repeats), a track is either right or wrong, and Wilson's
    interval (1927) is used. Otherwise it is the bias-corrected and accelerated bootstrap interval of the mean share
    over tracks (B. Efron, "Better bootstrap confidence intervals", Journal of the American Statistical Association 82
    (397), 1987), which keeps the results of all runs on a track together. If every track has the same share, there is
    nothing to resample, and Wilson's interval for that number of tracks is used instead. It is conservative, because a
    share varies less than a binary outcome of the same mean.
    """
    shares = scores.shares
    if scores.once or np.ptp(shares) == 0:
        return Interval(*wilson_interval(round(float(shares.sum())), len(shares)), WILSON)
    return _bootstrap(shares)


def paired_test(first: TrackScores, second: TrackScores) -> PairedTest:
    """Test whether two experiments are equally good on the tracks that both were tested on.

    If both experiments tested each track once, the test over tracks is the exact McNemar test (Q. McNemar, "Note on the
    sampling error of the difference between correlated proportions or percentages", Psychometrika 12, 1947). Otherwise
    it is the paired permutation test of the mean difference in shares, which swaps the two experiments track by track
    and of which McNemar's test is a special case. The permutation distribution is computed exactly instead of sampled
    (M. Pagano and D. Tritchler, "On obtaining permutation distributions in polynomial time", Journal of the American
    Statistical Association 78 (382), 1983).

    The test over artists is the permutation test of the differences summed over the tracks of each artist, which swaps
    the two experiments artist by artist. The interval over artists is a bootstrap interval, for which artists are drawn
    for both experiments together and seeds for each experiment separately. Neither is computed if no artists are known,
    if the experiments know different artists of the tracks, or if all tracks are by one artist.

    If the difference is the same for all tracks, the interval over tracks is that of
    `genreclf.evaluation.intervals.interval_of_equal`. If it is the same for all artists, the interval over artists also
    spans that one, since the bootstrap then shows only how seeds differ.

    Raises:
        ValueError: The two experiments were not tested on the same tracks.
    """
    if first.track_ids != second.track_ids:
        raise ValueError("the experiments were tested on different tracks")
    differences = first.shares - second.shares
    each = np.arange(len(differences))
    low, high = interval_of_equal(differences, each, bounds=(-1.0, 1.0)) or _student(differences)
    once = first.once and second.once
    steps = _whole_steps(first, second)
    first_better, second_better = int((steps > 0).sum()), int((steps < 0).sum())
    p_artists, ci95_artists = None, None
    samples, others = first.over_artists, second.over_artists
    artist = None if differ_in_artists(first, second) else first.artist
    if artist is not None and artist.any() and samples is not None and others is not None:
        p_artists = permutation(np.bincount(artist, weights=steps).astype(np.int64))
        ci95_artists = percentiles(over_seeds(samples, 1) - over_seeds(others, 2))
        if equal := interval_of_equal(differences, artist, bounds=(-1.0, 1.0)):
            ci95_artists = spanning(ci95_artists, equal)
    return PairedTest(
        difference=float(differences.mean()),
        low=low,
        high=high,
        first_better=first_better,
        second_better=second_better,
        p=mcnemar(first_better, second_better) if once else permutation(steps),
        method=MCNEMAR if once else PERMUTATION,
        ci95_artists=ci95_artists,
        p_artists=p_artists,
    )


def differ_in_artists(first: TrackScores, second: TrackScores) -> bool:
    """Return whether two experiments on the same tracks both know artists, but group the tracks by them differently."""
    return first.artist is not None and second.artist is not None and not np.array_equal(first.artist, second.artist)


def mcnemar(first_only: int, second_only: int) -> float:
    """Return the two-sided p value of the exact McNemar test; 1 if no track tells the experiments apart.

    Args:
        first_only: Number of tracks that only the first experiment classified correctly.
        second_only: Number of tracks that only the second experiment classified correctly.
    """
    from scipy.stats import binomtest

    discordant = first_only + second_only
    return float(binomtest(first_only, discordant).pvalue) if discordant else 1.0


def permutation(steps: NDArray[np.int64]) -> float:
    """Return the two-sided p value of the exact permutation test of a sum of paired differences under random signs.

    Args:
        steps: Integer differences, shape ``(track,)`` or ``(artist,)``.
    """
    sizes = np.abs(steps[steps != 0])
    if not len(sizes):
        return 1.0
    divisor = np.gcd.reduce(sizes)
    sizes, observed = sizes // divisor, abs(int(steps.sum())) // int(divisor)
    total = int(sizes.sum())
    probability = np.zeros(total + 1)  # of each possible sum of the differences with a positive sign
    probability[0], reached = 1.0, 0
    for size in sizes:
        before = probability[: reached + 1].copy()
        probability[: reached + 1] *= 0.5
        probability[size : reached + size + 1] += 0.5 * before
        reached += int(size)
    extreme = np.abs(2 * np.arange(total + 1) - total) >= observed
    return min(1.0, float(probability[extreme].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for multiple testing by Holm's method, in the order given.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (2), 1979.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def _whole_steps(first: TrackScores, second: TrackScores) -> NDArray[np.int64]:
    """Return the differences in shares, shape ``(track,)``, as integer multiples of a common unit, see `FINEST`."""
    counts = [int(count) for count in np.unique(np.concatenate((first.times, second.times)))]
    scale = min(math.lcm(*counts), FINEST)
    return np.rint((first.shares - second.shares) * scale).astype(np.int64)


def _student(values: NDArray[np.float64]) -> tuple[float, float]:
    from scipy.stats import t

    center, half = values.mean(), t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(center - half), float(center + half)


def _bootstrap(values: NDArray[np.float64]) -> Interval:
    from scipy.stats import bootstrap

    result = bootstrap((values,), np.mean, n_resamples=RESAMPLES, batch=500, rng=np.random.default_rng(0))
    return Interval(float(result.confidence_interval.low), float(result.confidence_interval.high), BOOTSTRAP)
