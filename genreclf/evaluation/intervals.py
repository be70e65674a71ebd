"""Confidence intervals of accuracies, over tracks and over artists.

A model's errors on tracks by the same artist are correlated, so that an interval over tracks is too narrow. For an
interval over artists, all tracks of an artist are drawn together (C. A. Field and A. H. Welsh, "Bootstrapping clustered
data", Journal of the Royal Statistical Society B 69 (3), 2007).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4999
"""Number of bootstrap samples for an interval."""

ROUNDING = 1e-9
"""Maximum difference of means that are the same but for rounding."""

BLOCK = 2**22
"""Approximate number of values to draw at a time, which limits the memory used."""


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion.

    See E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (158), 1927.

    Args:
        correct: Number of correct predictions.
        n: Number of all predictions.

    Returns:
        Lower and upper end, between 0 and 1; ``(0, 1)`` if `n` is 0.

    Raises:
        ValueError: `correct` does not lie between 0 and `n`.
    """
    from scipy.stats import binomtest

    if not 0 <= correct <= n:
        raise ValueError(f"correct={correct} does not lie between 0 and n={n}.")
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def artist_index(track_ids: Sequence[str], artists: Mapping[str, str] | None) -> NDArray[np.int64] | None:
    """Return the index of each track's artist, starting at 0; None if `artists` is None.

    Args:
        track_ids: Ids of the tracks.
        artists: Artist, or group of artists that belong together, by track id; see
            `genreclf.datasets.identity.artist_groups`.

    Returns:
        Indices of the artists, shape ``(track,)``.
    """
    if artists is None:
        return None
    return np.unique([artists[track_id] for track_id in track_ids], return_inverse=True)[1].astype(np.int64)


def artist_metrics(right: NDArray[Any], artist: NDArray[np.int64] | None) -> dict[str, Any]:
    """Return metrics that take the artists of the tracks into account.

    Args:
        right: Whether each track was classified correctly, shape ``(track,)``.
        artist: Index of each track's artist, see `artist_index`; None if unknown.

    Returns:
        ``accuracy_ci95_artists`` (bootstrap over artists, ``[low, high]``), ``artist_accuracy`` (each artist counts
        once), ``effective_n`` (see `effective_tracks`) and ``artists`` (the number of artists). All values are None if
        the artists are unknown or there are no tracks.
    """
    if artist is None or not len(right):
        return dict.fromkeys(("accuracy_ci95_artists", "artist_accuracy", "effective_n", "artists"))
    shares = np.asarray(right, dtype=np.float64)
    return {
        "accuracy_ci95_artists": list(artist_interval(shares[None], artist)),
        "artist_accuracy": artist_accuracy(shares, artist),
        "effective_n": effective_tracks(shares, artist),
        "artists": int(artist.max()) + 1,
    }


def artist_interval(shares: NDArray[np.float64], artist: NDArray[np.int64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of an accuracy over artists and, if there are several, over seeds.

    Artists and seeds are drawn independently of each other, with replacement; the interval spans percentiles. If all
    artists have the same accuracy, a bootstrap of them is meaningless, and the interval also spans Wilson's for the
    number of artists.

    Args:
        shares: Share of the runs with each seed that classified each track correctly, shape ``(seed, track)``.
        artist: Index of each track's artist, shape ``(track,)``; see `artist_index`.
    """
    means = _sums(shares, artist).mean(axis=0) / np.bincount(artist)
    drawn = percentiles(over_seeds(over_artists(shares, artist)))
    if np.ptp(means) > ROUNDING:
        return drawn
    return spanning(drawn, wilson_interval(round(float(means.sum())), len(means)))


def artist_accuracy(shares: NDArray[np.float64], artist: NDArray[np.int64]) -> float:
    """Return the mean of the artists' accuracies; for the arguments see `effective_tracks`."""
    return float((np.bincount(artist, weights=shares) / np.bincount(artist)).mean())


def effective_tracks(shares: NDArray[np.float64], artist: NDArray[np.int64]) -> float | None:
    """Return the effective sample size: the number of tracks by different artists with an equally precise accuracy.

    The effective size is ``n / deff``, with the design effect ``deff`` of L. Kish, "Survey Sampling", 1965: the ratio
    of the variance of the mean over n tracks if artists are drawn to the variance of the mean over n independent
    tracks. With the deviations d of the tracks' shares from their mean, and A artists, the first variance is
    ``A / (A - 1) * sum over artists of (sum of d)^2 / n^2`` and the second is ``sum of d^2 / (n (n - 1))``.

    Args:
        shares: Share of the runs that classified each track correctly, shape ``(track,)``.
        artist: Index of each track's artist, shape ``(track,)``; see `artist_index`.

    Returns:
        The effective sample size, at most n; None if it is undefined, as with fewer than two artists or if all tracks
        have the same share.
    """
    deviations, n = shares - shares.mean(), len(shares)
    of_artist = np.bincount(artist, weights=deviations)
    if len(of_artist) < 2 or not (together := float((of_artist**2).sum()) * len(of_artist) / (len(of_artist) - 1)):
        return None
    return min(float(n), float((deviations**2).sum()) * n**2 / (n - 1) / together)


def over_artists(shares: NDArray[np.float64], artist: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the accuracy of each seed in each bootstrap sample of the artists, shape ``(sample, seed)``.

    For the arguments see `artist_interval`. The samples are the same for the same number of artists, so that
    differences between experiments can be computed.
    """
    sums, sizes = _sums(shares, artist), np.bincount(artist)
    return np.concatenate([draws @ sums.T / (draws @ sizes)[:, None] for draws in _draws(len(sizes), 0)])


def over_seeds(samples: NDArray[np.float64], stream: int = 1) -> NDArray[np.float64]:
    """Return the mean of each sample over seeds that are drawn with replacement, shape ``(sample,)``.

    Args:
        samples: Accuracy of each seed in each sample of the artists, shape ``(sample, seed)``; see `over_artists`.
        stream: Seed of the random draws. Two compared experiments need different streams, as their seeds are
            independent.
    """
    seeds = samples.shape[1]
    drawn: NDArray[np.float64] = (samples * np.concatenate(list(_draws(seeds, stream)))).sum(axis=1) / seeds
    return drawn


def percentiles(samples: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 2.5th and the 97.5th percentile of the samples."""
    low, high = np.quantile(samples, (0.025, 0.975))
    return float(low), float(high)


def spanning(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """Return the interval from the lower of the lower ends of two intervals to the higher of their upper ends."""
    return min(first[0], second[0]), max(first[1], second[1])


def mean_interval(
    values: NDArray[np.float64], unit: NDArray[np.int64], *, bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean, drawing units with replacement.

    If all units have the same mean, it is the interval of `interval_of_equal` instead.

    Args:
        values: Values whose mean is taken, shape ``(value,)``.
        unit: Index of the unit, such as an artist, to which each value belongs, shape ``(value,)``.
        bounds: Least and greatest possible value.
    """
    return interval_of_equal(values, unit, bounds=bounds) or percentiles(over_artists(values[None], unit))


def interval_of_equal(
    values: NDArray[np.float64], unit: NDArray[np.int64], *, bounds: tuple[float, float]
) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean that is the same for all units; None if units differ.

    From equal units, a bootstrap interval or Student's interval would be a point. This interval reaches as far on each
    side as the Wilson interval of a share of 0 over as many units. For the arguments see `mean_interval`.
    """
    sizes = np.bincount(unit)
    if np.ptp(np.bincount(unit, weights=values) / sizes) > ROUNDING:
        return None
    mean, margin = float(values.mean()), wilson_interval(0, len(sizes))[1]
    return max(bounds[0], mean - margin), min(bounds[1], mean + margin)


def _sums(shares: NDArray[np.float64], artist: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.stack([np.bincount(artist, weights=row) for row in shares])


def _draws(n: int, stream: int) -> Iterator[NDArray[np.float64]]:
    """Yield blocks ``(sample, n)`` of how often each of n items is drawn in each of `RESAMPLES` samples."""
    rng, block = np.random.default_rng(stream), max(1, BLOCK // n)
    for first in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - first)
        yield rng.multinomial(n, np.full(n, 1 / n), size).astype(np.float64)
