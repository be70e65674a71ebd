"""The similarity of songs to a model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genreclf.inference.prediction import Prediction
from genreclf.recommend.records import Song


def similarity_vectors(embeddings: NDArray[np.floating], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return vectors ``(song, dimension + genre)`` of length 1; the cosine of two is their similarity.

    It is the mean of two cosines: of the embeddings, and of the square roots of the genres' probabilities (the
    coefficient of A. Bhattacharyya, 1943), since embeddings alone do not tell how much of them matters for the genre.

    Args:
        embeddings: Shape ``(song, dimension)``.
        probabilities: Shape ``(song, genre)``.
    """
    return np.concatenate([units_of(embeddings.astype(np.float64)), np.sqrt(probabilities)], axis=1) / 2**0.5


def vectors_of(songs: Sequence[Song | Prediction]) -> NDArray[np.float64]:
    """Return the vectors of songs that have embeddings; see `similarity_vectors`."""
    embeddings = np.stack([song.embedding for song in songs if song.embedding is not None])
    return similarity_vectors(embeddings, np.stack([song.probabilities for song in songs]))


def units_of(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale vectors ``(song, dimension)`` to length 1, except for zero vectors."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: NDArray[np.float64] = vectors / np.where(lengths > 0, lengths, 1)
    return units
