"""How certain an accuracy is: intervals over tracks, and over artists.

Models are right or wrong about several tracks of one artist at once, so that an interval over tracks is too narrow.
Over artists, all tracks of one are drawn together (C. A. Field and A. H. Welsh, "Bootstrapping clustered data",
Journal of the Royal Statistical Society B 69 (3), 2007).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4999
"""Bootstrap samples of an interval."""

BLOCK = 2**22
"""Numbers of draws that are kept at a time."""


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (158), 1927.

    Args:
        correct: How many were right.
        n: Of how many.

    Returns:
        Low and high end, within 0 and 1; ``(0, 1)`` if `n` is 0.

    Raises:
        ValueError: `correct` does not lie within 0 and `n`.
    """
    from scipy.stats import binomtest

    if n == 0:
        return 0.0, 1.0
    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def artist_index(track_ids: Sequence[str], artists: Mapping[str, str] | None) -> NDArray[np.int64] | None:
    """Return the number of the artist of each track, 0 to one less than the artists; None if `artists` is None.

    `artists` are names by track of artists that belong together, see `genreclf.datasets.identity.artist_groups`.
    """
    if artists is None:
        return None
    return np.unique([artists[track_id] for track_id in track_ids], return_inverse=True)[1].astype(np.int64)


def artist_metrics(right: NDArray[Any], artist: NDArray[np.int64] | None) -> dict[str, Any]:
    """Return what the artists of the test tell of an accuracy; None where none are known.

    Args:
        right: Whether each track was recognized, shape ``(track,)``.
        artist: See `artist_index`.

    Returns:
        ``accuracy_ci95_artists`` (bootstrap over artists, ``[low, high]``), ``artist_accuracy`` (each artist counts
        once), ``effective_n`` (see `effective_tracks`) and ``artists``, their number.
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
    """Return the 95 % interval of an accuracy over artists and, where there are several, over seeds.

    Artists and seeds are drawn independently of each other, with replacement; the interval is of percentiles. Where all
    artists have the same share there is nothing to draw, and Wilson's interval for that number of artists is used.

    Args:
        shares: Share of the runs of each seed that classified each track correctly, shape ``(seed, track)``.
        artist: See `artist_index`.
    """
    means = _sums(shares, artist).mean(axis=0) / np.bincount(artist)
    if np.ptp(means) == 0:
        return wilson_interval(round(float(means.sum())), len(means))
    return percentiles(over_seeds(over_artists(shares, artist)))


def artist_accuracy(shares: NDArray[np.float64], artist: NDArray[np.int64]) -> float:
    """Return the mean over artists of the mean share of their tracks, shape ``(track,)``."""
    return float((np.bincount(artist, weights=shares) / np.bincount(artist)).mean())


def effective_tracks(shares: NDArray[np.float64], artist: NDArray[np.int64]) -> float | None:
    """Return how many tracks of as many different artists would tell the accuracy as exactly as these tracks do.

    It is ``n / deff``, with the design effect ``deff`` of L. Kish, "Survey Sampling", 1965: the variance of the mean
    over n tracks, artists being drawn, by that of n independent tracks. With the deviations d of the shares of the
    tracks from their mean, and A artists, the first is ``A / (A - 1) * sum over artists of (sum of d)^2 / n^2`` and the
    second ``sum of d^2 / (n (n - 1))``. Never more than n.

    Args:
        shares: Share of the runs that classified each track correctly, shape ``(track,)``.
        artist: See `artist_index`.

    Returns:
        None of fewer than two artists, or where all tracks have the same share.
    """
    deviations, n = shares - shares.mean(), len(shares)
    of_artist = np.bincount(artist, weights=deviations)
    if len(of_artist) < 2 or not (together := float((of_artist**2).sum()) * len(of_artist) / (len(of_artist) - 1)):
        return None
    return min(float(n), float((deviations**2).sum()) * n**2 / (n - 1) / together)


def over_artists(shares: NDArray[np.float64], artist: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the accuracy of each seed in each sample of the artists, shape ``(sample, seed)``; see `artist_interval`.

    The samples are the same for the same number of artists, so that differences of experiments can be taken.
    """
    sums, sizes = _sums(shares, artist), np.bincount(artist)
    return np.concatenate([draws @ sums.T / (draws @ sizes)[:, None] for draws in _draws(len(sizes), 0)])


def over_seeds(samples: NDArray[np.float64], stream: int = 1) -> NDArray[np.float64]:
    """Return the mean over seeds, drawn with replacement, of each sample ``(sample, seed)``.

    Two experiments need two streams of draws, as their seeds have nothing in common.
    """
    seeds = samples.shape[1]
    drawn: NDArray[np.float64] = (samples * np.concatenate(list(_draws(seeds, stream)))).sum(axis=1) / seeds
    return drawn


def percentiles(samples: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of the middle 95 % of the samples."""
    low, high = np.quantile(samples, (0.025, 0.975))
    return float(low), float(high)


def mean_interval(values: NDArray[np.float64], unit: NDArray[np.int64]) -> tuple[float, float]:
    """Return the 95 % interval of a mean, whose units, such as artists, are drawn with replacement."""
    return percentiles(over_artists(values[None], unit))


def _sums(shares: NDArray[np.float64], artist: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.stack([np.bincount(artist, weights=row) for row in shares])


def _draws(n: int, stream: int) -> Iterator[NDArray[np.float64]]:
    """Yield, in blocks ``(sample, n)``, how often each of n is drawn in each of `RESAMPLES` samples."""
    rng, block = np.random.default_rng(stream), max(1, BLOCK // n)
    for first in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - first)
        yield rng.multinomial(n, np.full(n, 1 / n), size).astype(np.float64)
