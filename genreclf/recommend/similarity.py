"""The similarity of two songs: a weighted mean of cosines of the parts of their embeddings and of their genres."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genreclf.inference.prediction import Prediction
from genreclf.recommend.records import Song

STEPS = 4
"""Weights are chosen among multiples of a quarter: finer ones would follow the chance of few validation tracks."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Similarity:
    """A measure of similarity: turns songs into vectors of length 1 whose cosine is their similarity.

    A song has the parts of its embedding, and the square roots of its genres' probabilities, whose product is the
    coefficient of A. Bhattacharyya (1943). Each part is centered, by which few songs remain that are near to many
    (I. Suzuki et al., "Centering similarity measures to reduce hubs", EMNLP 2013), and scaled to length 1, so that a
    part of many values does not outweigh the others.
    """

    sizes: tuple[int, ...]
    """Number of values of each part of an embedding."""
    weights: tuple[float, ...]
    """Of each part, and of the genres, which come last; they sum to 1."""
    center: NDArray[np.float64]
    """The mean over all songs, shape ``(dimension + genre,)``."""

    def vectors(self, embeddings: NDArray[np.floating], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return vectors ``(song, value)``, of length 1, the cosine of two of which is their similarity.

        Args:
            embeddings: Shape ``(song, dimension)``.
            probabilities: Shape ``(song, genre)``.
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
        """Return the vectors of songs that have embeddings."""
        embeddings = np.stack([song.embedding for song in songs if song.embedding is not None])
        return self.vectors(embeddings, np.stack([song.probabilities for song in songs]))

    def plain(self) -> dict[str, Any]:
        """Return what `from_plain` reads, for JSON."""
        return {"sizes": list(self.sizes), "weights": list(self.weights), "center": self.center.tolist()}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Read back what `plain` returned; `KeyError`, `TypeError` or `ValueError` if it is something else."""
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
    """Return whether weights fit the parts of an embedding and the genres."""
    fits = len(weights) == len(sizes) + 1 and all(size > 0 for size in sizes)
    return fits and all(0 <= weight <= 1 for weight in weights) and abs(sum(weights) - 1) < 1e-6


def usual_weights(sizes: Sequence[int]) -> tuple[float, ...]:
    """Return the weights where none were chosen: half for the genres, the rest for the first part of the embedding.

    Networks put what they learned first, and what they computed without learning, such as statistics, after it.
    """
    return (0.5, *(0.0 for _ in sizes[1:]), 0.5)


def all_weights(parts: int) -> list[tuple[float, ...]]:
    """Return the weights to choose among, for so many parts, the genres included; equal ones first."""
    counts = (counts for counts in product(range(STEPS + 1), repeat=parts) if sum(counts) == STEPS)
    choices = [tuple(n / STEPS for n in each) for each in counts]
    return sorted(choices, key=lambda weights: (max(weights), weights))


def compared(embeddings: NDArray[np.floating], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return what is compared of songs, neither centered nor scaled, shape ``(song, dimension + genre)``."""
    return np.concatenate([embeddings.astype(np.float64), np.sqrt(probabilities)], axis=1)


def units_of(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale vectors ``(song, dimension)`` to length 1, except for zero vectors."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: NDArray[np.float64] = vectors / np.where(lengths > 0, lengths, 1)
    return units
