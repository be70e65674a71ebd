"""Intervals and paired tests over tracks, for experiments of one run or of several.

The unit of sampling is the track, not the clip or the run: clips of one track, and runs tested on the same track, are
not independent. An experiment is therefore represented by how many of its runs tested each distinct track, and how many
of those classified it correctly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genreclf.evaluation.metrics import wilson_interval

RESAMPLES = 4999
"""Bootstrap samples of an interval."""

FINEST = 2520
"""Differences between shares are counted in steps of 1/2520 at the finest; every share of up to ten runs fits."""

WILSON, BOOTSTRAP = "Wilson", "bootstrap"
MCNEMAR, PERMUTATION = "McNemar", "permutation"


@dataclass(frozen=True, eq=False, kw_only=True)
class TrackScores:
    """How often each test track was classified correctly.

    Attributes:
        track_ids: Distinct tracks, sorted.
        right: Runs that classified each track correctly, shape ``(track,)``.
        times: Runs that tested each track, at least 1, shape ``(track,)``.
    """

    track_ids: tuple[str, ...]
    right: NDArray[np.int64]
    times: NDArray[np.int64]

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
    """Two experiments compared on the same tracks.

    Attributes:
        difference: Accuracy of the first less that of the second.
        low: Low end of the 95 % interval of the difference, Student's of a mean over tracks; nan for one track.
        high: Its high end.
        first_better: Number of tracks that a larger share of the first's runs classified correctly.
        second_better: The same for the second.
        p: Two-sided.
        method: `MCNEMAR` or `PERMUTATION`.
    """

    difference: float
    low: float
    high: float
    first_better: int
    second_better: int
    p: float
    method: str


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
    return PairedTest(
        difference=float(differences.mean()),
        low=low,
        high=high,
        first_better=first_better,
        second_better=second_better,
        p=mcnemar(first_better, second_better) if once else permutation(steps),
        method=MCNEMAR if once else PERMUTATION,
    )


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
