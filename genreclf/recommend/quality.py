"""Measure the quality of recommendations: the share of songs of the query's genre among its nearest neighbors.

Songs by the query's own artist are left out; otherwise the artist or the album is found rather than the genre
(E. Pampalk, A. Flexer and G. Widmer, "Improvements of audio-based music similarity and genre classification", ISMIR
2005; A. Flexer, "A closer look on artist filters for musical genre classification", ISMIR 2007).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genreclf.audio.log_mel import FeatureSpec
from genreclf.evaluation.intervals import mean_interval
from genreclf.recommend.similarity import Similarity, all_weights, compared, units_of

N_MFCC = 20


@dataclass(frozen=True, eq=False, kw_only=True)
class Collection:
    """Genres and artists of the tracks that serve both as queries and as the collection that is searched."""

    genre: NDArray[np.str_]
    """Genre of each track, shape ``(track,)``."""
    group: NDArray[np.str_]
    """Group of each track, such as its artist, within which tracks do not find each other, shape ``(track,)``."""

    @property
    def allowed(self) -> NDArray[np.bool_]:
        """Whether a query (row) may find a track (column), which must be of another group, shape ``(track, track)``."""
        return np.asarray(self.group[:, None] != self.group[None])

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether a query (row) may find a track (column) and both have the same genre, shape ``(track, track)``."""
        return np.asarray(self.genre[:, None] == self.genre[None]) & self.allowed


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Mean precision over the queries, with its 95 % confidence interval."""

    precision: float
    """Mean precision, from 0 to 1."""
    ci95: tuple[float, float]
    """Ends of the confidence interval over the groups of the queries, see `mean_interval`."""


def precision_at(similarity: NDArray[np.float64], collection: Collection, k: int) -> NDArray[np.float64]:
    """Return the precision at `k` of each query.

    Args:
        similarity: Similarity of each track (column) to each query (row), shape ``(track, track)``.
        collection: Genres and groups of the tracks.
        k: Number of nearest tracks; if a query may find fewer, the missing ones count as wrong.

    Returns:
        Precision of each query, shape ``(track,)``.
    """
    nearest = _nearest(similarity, collection, k)
    precision: NDArray[np.float64] = np.take_along_axis(collection.right, nearest, axis=1).sum(axis=1) / k
    return precision


def hubness(similarity: NDArray[np.float64], collection: Collection, k: int) -> float:
    """Return the skewness of how often each track is among the `k` nearest neighbors of the other tracks.

    If a query may find fewer than `k` tracks, only these count. The skewness is large if a few tracks, the hubs, are
    near many others (M. Radovanovic et al., "Hubs in space", JMLR 11, 2010), and 0 if all tracks occur equally often.
    """
    from scipy.stats import skew

    nearest = _nearest(similarity, collection, k)
    found = nearest[np.take_along_axis(collection.allowed, nearest, axis=1)]
    counts = np.bincount(found, minlength=len(similarity))
    return float(skew(counts)) if np.ptp(counts) else 0.0


def _nearest(similarity: NDArray[np.float64], collection: Collection, k: int) -> NDArray[np.int64]:
    """Return `k` tracks for each query, ``(track, k)``; if it may find fewer, the last ones are not allowed."""
    scores = np.where(collection.allowed, similarity, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def random_precision(collection: Collection, k: int) -> NDArray[np.float64]:
    """Return the expected precision at `k` of each query if tracks are recommended at random, shape ``(track,)``.

    If a query may find fewer than `k` tracks, the missing ones count as wrong, as in `precision_at`.
    """
    allowed = collection.allowed.sum(axis=1)
    shares: NDArray[np.float64] = collection.right.sum(axis=1) / np.maximum(k, allowed)
    return shares


def best_precision(collection: Collection, k: int) -> NDArray[np.float64]:
    """Return the highest precision at `k` that each query can reach, shape ``(track,)``."""
    best: NDArray[np.float64] = np.minimum(k, collection.right.sum(axis=1)) / k
    return best


def quality(
    per_query: NDArray[np.float64], collection: Collection, *, bounds: tuple[float, float] = (0.0, 1.0)
) -> Quality:
    """Return the mean of a metric over the queries, with a percentile bootstrap interval over groups.

    All tracks of a group are drawn together (C. A. Field and A. H. Welsh, "Bootstrapping clustered data", 2007).

    Args:
        per_query: Metric of each query, such as its precision, shape ``(track,)``.
        collection: Groups of the queries.
        bounds: Least and greatest possible value of the metric.
    """
    of = np.unique(collection.group, return_inverse=True)[1].astype(np.int64)
    return Quality(precision=float(per_query.mean()), ci95=mean_interval(per_query, of, bounds=bounds))


def preferred_weights(
    embeddings: NDArray[np.floating],
    probabilities: NDArray[np.floating],
    sizes: tuple[int, ...],
    collection: Collection,
    k: int,
) -> tuple[float, ...] | None:
    """Return the weights that give the highest mean precision at `k` on validation tracks.

    Args:
        embeddings: Embeddings of the tracks, shape ``(track, dimension)``.
        probabilities: Genre probabilities of the tracks, shape ``(track, genre)``.
        sizes: Number of values in each part of an embedding.
        collection: Genres and groups of the tracks.
        k: Number of nearest tracks that count.

    Returns:
        The weights; None if all candidates are equally good, for example if no track may find another of its genre.
    """

    def precision(weights: tuple[float, ...]) -> float:
        vectors = similarity_of(embeddings, probabilities, sizes, weights).vectors(embeddings, probabilities)
        return float(precision_at(vectors @ vectors.T, collection, k).mean())

    precisions = {weights: precision(weights) for weights in all_weights(len(sizes) + 1)}
    best = max(precisions, key=precisions.__getitem__)
    return best if min(precisions.values()) < precisions[best] else None


def similarity_of(
    embeddings: NDArray[np.floating],
    probabilities: NDArray[np.floating],
    sizes: tuple[int, ...],
    weights: tuple[float, ...],
) -> Similarity:
    """Return a similarity measure for tracks, centered at the mean of the same tracks."""
    return Similarity(sizes=sizes, weights=weights, center=compared(embeddings, probabilities).mean(axis=0))


def cosines(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine of each pair of embeddings ``(track, dimension)``, shape ``(track, track)``."""
    units = units_of(embeddings.astype(np.float64))
    similarity: NDArray[np.float64] = units @ units.T
    return similarity


def mfcc_moments(log_mel_q: NDArray[np.generic], spec: FeatureSpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the covariance over time of the MFCCs of a track.

    MFCCs are computed as in librosa: the first 20 coefficients of an orthonormal DCT-II over the mel bands in dB.

    Args:
        log_mel_q: Quantized log-mel spectrogram, shape ``(mel, frame)``.
        spec: Feature settings of the spectrogram.

    Returns:
        Mean ``(coefficient,)`` and slightly regularized covariance ``(coefficient, coefficient)``.
    """
    from scipy.fft import dct

    level_db = log_mel_q.astype(np.float64) * spec.step_db + spec.zero_db
    mfcc = dct(level_db, type=2, norm="ortho", axis=0)[:N_MFCC]
    return mfcc.mean(axis=1), np.cov(mfcc, bias=True) + 1e-3 * np.eye(len(mfcc))


def mfcc_similarities(
    moments: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> Mapping[str, NDArray[np.float64]]:
    """Return two classic similarities of tracks based on MFCCs, by name, each of shape ``(track, track)``.

    They are the negated squared distance between the means, and the negated symmetrized Kullback-Leibler divergence
    between one Gaussian per track (M. Mandel and D. Ellis, "Song-level features and support vector machines for music
    classification", ISMIR 2005).

    Args:
        moments: Mean and covariance of each track, as returned by `mfcc_moments`.
    """
    means = np.stack([mean for mean, _ in moments])
    covariances = np.stack([covariance for _, covariance in moments])
    inverses = np.linalg.inv(covariances)
    difference = means[:, None] - means[None]
    distance = (difference**2).sum(axis=-1)
    traces = np.einsum("aij,bji->ab", inverses, covariances)
    apart = np.einsum("abi,aij,abj->ab", difference, inverses, difference, optimize=True)
    divergence = traces + traces.T + apart + apart.T
    return {"mean MFCC": -distance, "MFCC Gaussians": -divergence}
