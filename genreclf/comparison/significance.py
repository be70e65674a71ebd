"""Intervals and paired tests over tracks and over artists, for experiments of one run or of several.

The unit of sampling is the track, or the artist with all its tracks, not the clip or the run: clips of one track, and
runs tested on the same track, are not independent. An experiment is therefore represented by how many of its runs
tested each distinct track, and how many of those classified it correctly.
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
    over_artists,
    over_seeds,
    percentiles,
    wilson_interval,
)

FINEST = 2520
"""Differences between shares are counted in steps of 1/2520 at the finest; every share of up to ten runs fits."""

WILSON, BOOTSTRAP = "Wilson", "bootstrap"
MCNEMAR, PERMUTATION = "McNemar", "permutation"


@dataclass(frozen=True, eq=False, kw_only=True)
class TrackScores:
    """How often each test track was classified correctly."""

    track_ids: tuple[str, ...]
    """Distinct tracks, sorted."""
    right: NDArray[np.int64]
    """Runs that classified each track correctly, shape ``(track,)``."""
    times: NDArray[np.int64]
    """Runs that tested each track, at least 1, shape ``(track,)``."""
    by_seed: NDArray[np.float64] | None = None
    """Share of the runs of each seed that classified each track correctly, shape ``(seed, track)``; None where the
    seeds were not tested on the same tracks."""
    artist: NDArray[np.int64] | None = None
    """Number of the artist of each track, see `genreclf.evaluation.intervals.artist_index`; None if unknown."""

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of the runs that classified each track correctly, shape ``(track,)``."""
        shares: NDArray[np.float64] = self.right / self.times
        return shares

    @property
    def accuracy(self) -> float:
        """Mean of `shares`: the mean over seeds on the same tracks; folds pooled, each distinct track counting once."""
        return float(self.shares.mean())

    @property
    def seeds(self) -> NDArray[np.float64]:
        """Shares from which seeds are drawn: `by_seed`, or `shares` as a single seed, shape ``(seed, track)``."""
        return self.shares[None] if self.by_seed is None else self.by_seed

    @cached_property
    def over_artists(self) -> NDArray[np.float64] | None:
        """Accuracy of each seed in each sample of the artists, ``(sample, seed)``; None where no artists are known."""
        return None if self.artist is None else over_artists(self.seeds, self.artist)

    @cached_property
    def artist_interval(self) -> tuple[float, float] | None:
        """95 % interval of the accuracy over artists and seeds; None where no artists are known."""
        return None if self.artist is None else artist_interval(self.seeds, self.artist)

    @property
    def once(self) -> bool:
        """Whether every track was tested by one run only."""
        return bool((self.times == 1).all())


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of an accuracy and the method that gave it, `WILSON` or `BOOTSTRAP`."""

    low: float
    high: float
    method: str


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Two experiments compared on the same tracks."""

    difference: float
    """Accuracy of the first less that of the second."""
    low: float
    """Low end of the 95 % interval of the difference, Student's of a mean over tracks; nan for one track."""
    high: float
    """Its high end."""
    first_better: int
    """Number of tracks that a larger share of the first's runs classified correctly."""
    second_better: int
    """The same for the second."""
    p: float
    """Two-sided."""
    method: str
    """`MCNEMAR` or `PERMUTATION`."""
    ci95_artists: tuple[float, float] | None
    """95 % interval of the difference over artists and seeds; None where no artists are known, or just one."""
    p_artists: float | None
    """Two-sided, over artists; None where none are known."""


def accuracy_interval(scores: TrackScores) -> Interval:
    """Return the 95 % interval of an accuracy, over tracks.

    Wilson's (1927) where each track was tested once, so that tracks are right or wrong: one run, or folds without
    repeats. Otherwise the bias-corrected and accelerated bootstrap of the mean share over tracks (B. Efron, "Better
    bootstrap confidence intervals", Journal of the American Statistical Association 82 (397), 1987), which keeps what
    all runs said of a track together. Where every track has the same share there is nothing to resample, and Wilson's
    interval for that number of tracks is used instead, which is conservative: a share varies less than a binary
    outcome of the same mean.
    """
    shares = scores.shares
    if scores.once or np.ptp(shares) == 0:
        return Interval(*wilson_interval(round(float(shares.sum())), len(shares)), WILSON)
    return _bootstrap(shares)


def paired_test(first: TrackScores, second: TrackScores) -> PairedTest:
    """Test whether two experiments are equally good on the tracks that both were tested on.

    Where each track was tested once in both: McNemar's test, exact (Q. McNemar, "Note on the sampling error of the
    difference between correlated proportions or percentages", Psychometrika 12, 1947). Otherwise the paired permutation
    test of the mean difference in shares, which swaps the two experiments track by track; McNemar's is its special
    case. Its distribution is computed in full instead of drawn (M. Pagano and D. Tritchler, "On obtaining permutation
    distributions in polynomial time", Journal of the American Statistical Association 78 (382), 1983).

    Over artists it is the same test of the sums of the differences of each artist's tracks, which swaps the two
    experiments artist by artist. The interval is a bootstrap: artists are drawn for both experiments together, seeds
    for each of them. Where the experiments know different artists of the tracks, or all tracks are by one artist, there
    is neither.

    Raises:
        ValueError: The tracks are not the same.
    """
    if first.track_ids != second.track_ids:
        raise ValueError("the experiments were tested on different tracks")
    differences = first.shares - second.shares
    low, high = _student(differences)
    once = first.once and second.once
    steps = _whole_steps(first, second)
    first_better, second_better = int((steps > 0).sum()), int((steps < 0).sum())
    p_artists, ci95_artists = None, None
    samples, others = first.over_artists, second.over_artists
    artist = None if differ_in_artists(first, second) else first.artist
    if artist is not None and artist.any() and samples is not None and others is not None:
        p_artists = permutation(np.bincount(artist, weights=steps).astype(np.int64))
        ci95_artists = percentiles(over_seeds(samples, 1) - over_seeds(others, 2))
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
    """Return whether two experiments on the same tracks know artists that group these differently."""
    return first.artist is not None and second.artist is not None and not np.array_equal(first.artist, second.artist)


def mcnemar(first_only: int, second_only: int) -> float:
    """Return the two-sided exact p of the numbers of tracks that only one experiment got right; 1 if there are none."""
    from scipy.stats import binomtest

    discordant = first_only + second_only
    return float(binomtest(first_only, discordant).pvalue) if discordant else 1.0


def permutation(steps: NDArray[np.int64]) -> float:
    """Return the two-sided exact p of a sum of integer differences, shape ``(track,)``, under random signs."""
    sizes = np.abs(steps[steps != 0])
    if not len(sizes):
        return 1.0
    divisor = np.gcd.reduce(sizes)
    sizes, observed = sizes // divisor, abs(int(steps.sum())) // int(divisor)
    total = int(sizes.sum())
    probability = np.zeros(total + 1)  # of each sum of the differences that fall to the first
    probability[0], reached = 1.0, 0
    for size in sizes:
        before = probability[: reached + 1].copy()
        probability[: reached + 1] *= 0.5
        probability[size : reached + size + 1] += 0.5 * before
        reached += int(size)
    extreme = np.abs(2 * np.arange(total + 1) - total) >= observed
    return min(1.0, float(probability[extreme].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, in the order given.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (2), 1979.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def _whole_steps(first: TrackScores, second: TrackScores) -> NDArray[np.int64]:
    """Return the differences in shares, shape ``(track,)``, as whole multiples of the largest step that fits them."""
    counts = [int(count) for count in np.unique(np.concatenate((first.times, second.times)))]
    scale = min(math.lcm(*counts), FINEST)
    return np.rint((first.shares - second.shares) * scale).astype(np.int64)


def _student(values: NDArray[np.float64]) -> tuple[float, float]:
    from scipy.stats import t

    if len(values) < 2:
        return math.nan, math.nan
    center, half = values.mean(), t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(center - half), float(center + half)


def _bootstrap(values: NDArray[np.float64]) -> Interval:
    from scipy.stats import bootstrap

    result = bootstrap((values,), np.mean, n_resamples=RESAMPLES, batch=500, rng=np.random.default_rng(0))
    return Interval(float(result.confidence_interval.low), float(result.confidence_interval.high), BOOTSTRAP)
