"""Find weights for averaging the predictions of several models."""

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 500


def mixture_weights(of_target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights that minimize the loss of the weighted mean of several models' probabilities.

    The mean negative log likelihood is convex in the weights; expectation maximization (Dempster, Laird and Rubin,
    1977), started from equal weights, converges to its minimum.

    Args:
        of_target: Probability that each model assigns to the true genre of each track, shape ``(model, track)``.

    Returns:
        Non-negative weight of each model, shape ``(model,)``; the weights sum to 1.
    """
    weights: NDArray[np.float64] = np.full(len(of_target), 1 / len(of_target))
    likely = np.maximum(of_target, np.finfo(np.float64).tiny)
    for _ in range(ITERATIONS):
        shares = weights[:, None] * likely
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    return weights
