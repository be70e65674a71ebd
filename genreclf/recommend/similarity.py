"""How alike two songs are to a model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genreclf.inference.prediction import Prediction
from genreclf.recommend.records import Song


def likeness_vectors(embeddings: NDArray[np.floating], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return vectors ``(song, dimension + genre)`` of length 1; the cosine of two is the likeness of their songs.

    It is the mean of two cosines: of the embeddings, and of the roots of the probabilities of the genres (the
    coefficient of A. Bhattacharyya, 1943). A model may take much or hardly anything of what an embedding holds for the
    genre, which the embeddings alone do not tell.

    Args:
        embeddings: Shape ``(song, dimension)``.
        probabilities: Shape ``(song, genre)``.
    """
    return np.concatenate([units_of(embeddings.astype(np.float64)), np.sqrt(probabilities)], axis=1) / 2**0.5


def vectors_of(songs: Sequence[Song | Prediction]) -> NDArray[np.float64]:
    """Return the vectors of songs that have embeddings; see `likeness_vectors`."""
    embeddings = np.stack([song.embedding for song in songs if song.embedding is not None])
    return likeness_vectors(embeddings, np.stack([song.probabilities for song in songs]))


def units_of(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vectors ``(song, dimension)`` brought to length 1; those of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: NDArray[np.float64] = vectors / np.where(lengths > 0, lengths, 1)
    return units
