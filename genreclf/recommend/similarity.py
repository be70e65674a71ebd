"""Similarity of songs: a weighted mean of the cosines of the parts of their embeddings and of their genres."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genreclf.inference.prediction import Prediction
from genreclf.recommend.records import Song

STEPS = 4
"""Weights are multiples of ``1 / STEPS``; finer steps would overfit to the few validation tracks."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Similarity:
    """Similarity measure that maps songs to unit vectors; the cosine of two vectors is the similarity of the songs.

    A song is described by the parts of its embedding and by the square roots of its genre probabilities, whose dot
    product is the coefficient of A. Bhattacharyya (1943). Each part is centered, which reduces hubs, songs that are
    near many others (I. Suzuki et al., "Centering similarity measures to reduce hubs", EMNLP 2013), and scaled to
    length 1, so that a part with many values does not outweigh the others.
    """

    sizes: tuple[int, ...]
    """Number of values in each part of an embedding."""
    weights: tuple[float, ...]
    """Weight of each part of an embedding, then that of the genres; the weights sum to 1."""
    center: NDArray[np.float64]
    """Mean over all songs of the values that are compared, shape ``(dimension + genre,)``."""

    def vectors(self, embeddings: NDArray[np.floating], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return unit vectors ``(song, value)`` whose cosines are the similarities of the songs.

        Args:
            embeddings: Embeddings of the songs, shape ``(song, dimension)``.
            probabilities: Genre probabilities of the songs, shape ``(song, genre)``.
        """
        values = compared(embeddings, probabilities) - self.center
        edges = (0, *np.cumsum(self.sizes).tolist(), values.shape[1])
        parts = [
            weight**0.5 * units_of(values[:, start:end])
            for weight, (start, end) in zip(self.weights, pairwise(edges), strict=True)
            if weight
        ]
        return units_of(np.concatenate(parts, axis=1))

    def of_songs(self, songs: Sequence[Song | Prediction]) -> NDArray[np.float64]:
        """Return the unit vectors of songs, all of which must have embeddings, shape ``(song, value)``."""
        embeddings = np.stack([song.embedding for song in songs if song.embedding is not None])
        return self.vectors(embeddings, np.stack([song.probabilities for song in songs]))

    def plain(self) -> dict[str, Any]:
        """Return a dictionary for JSON, which `from_plain` reads back."""
        return {"sizes": list(self.sizes), "weights": list(self.weights), "center": self.center.tolist()}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Create a similarity from the dictionary that `plain` returned.

        Raises:
            KeyError, TypeError, ValueError: The dictionary does not describe a similarity.
        """
        sizes, weights = tuple(map(int, values["sizes"])), tuple(map(float, values["weights"]))
        center = np.array(values["center"], np.float64)
        if not (
            is_weighting(sizes, weights)
            and center.ndim == 1
            and len(center) > sum(sizes)
            and bool(np.isfinite(center).all())
        ):
            raise ValueError("no similarity")
        return cls(sizes=sizes, weights=weights, center=center)


def is_weighting(sizes: Sequence[int], weights: Sequence[float]) -> bool:
    """Return whether there is a valid weight for each part of an embedding and for the genres, and they sum to 1."""
    fits = len(weights) == len(sizes) + 1 and all(size > 0 for size in sizes)
    return fits and all(0 <= weight <= 1 for weight in weights) and abs(sum(weights) - 1) < 1e-6


def usual_weights(sizes: Sequence[int]) -> tuple[float, ...]:
    """Return the default weights: one half for the genres and one half for the first part of the embedding.

    The first part of a network's embedding holds learned features; the parts after it hold features that were computed
    without learning, such as statistics.
    """
    return (0.5, *(0.0 for _ in sizes[1:]), 0.5)


def all_weights(parts: int) -> list[tuple[float, ...]]:
    """Return the candidate weights for a number of parts, counting the genres as one; the most even weights first."""
    counts = (counts for counts in product(range(STEPS + 1), repeat=parts) if sum(counts) == STEPS)
    choices = [tuple(n / STEPS for n in each) for each in counts]
    return sorted(choices, key=lambda weights: (max(weights), weights))


def compared(embeddings: NDArray[np.floating], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the values by which songs are compared, before centering and scaling.

    Args:
        embeddings: Embeddings of the songs, shape ``(song, dimension)``.
        probabilities: Genre probabilities of the songs, shape ``(song, genre)``.

    Returns:
        Embeddings and square roots of the probabilities, shape ``(song, dimension + genre)``.
    """
    return np.concatenate([embeddings.astype(np.float64), np.sqrt(probabilities)], axis=1)


def units_of(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale vectors ``(song, dimension)`` to length 1, except for zero vectors."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: NDArray[np.float64] = vectors / np.where(lengths > 0, lengths, 1)
    return units
