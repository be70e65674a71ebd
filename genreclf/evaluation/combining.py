"""Find the weights with which to average the predictions of several models."""

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 500


def mixture_weights(of_target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of a mean of probabilities that lose least on some tracks.

    The mean negative log likelihood is convex in the weights; expectation maximization (Dempster, Laird and Rubin,
    1977) goes down to its least value from equal weights.

    Args:
        of_target: The probability that each model gives the true genre of each track, shape ``(model, track)``.

    Returns:
        One weight a model, none below 0, which sum to 1: shape ``(model,)``.
    """
    weights: NDArray[np.float64] = np.full(len(of_target), 1 / len(of_target))
    likely = np.maximum(of_target, np.finfo(np.float64).tiny)
    for _ in range(ITERATIONS):
        shares = weights[:, None] * likely
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    return weights
