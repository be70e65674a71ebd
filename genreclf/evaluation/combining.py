"""Find weights for averaging the predictions of several models."""

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 500


def mixture_weights(of_target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights that minimize the loss of the weighted mean of several models' probabilities.

    The mean negative log likelihood is convex in the weights. Expectation maximization (Dempster, Laird and Rubin,
    1977), started from equal weights, comes close to its minimum, but only slowly if the models are similar; sequential
    quadratic programming (`scipy.optimize.minimize`) goes on from there.

    Args:
        of_target: Probability that each model assigns to the true genre of each track, shape ``(model, track)``.

    Returns:
        Non-negative weight of each model, shape ``(model,)``; the weights sum to 1.
    """
    from scipy.optimize import minimize

    start: NDArray[np.float64] = np.full(len(of_target), 1 / len(of_target))
    likely = np.maximum(of_target, np.finfo(np.float64).tiny)
    for _ in range(ITERATIONS):
        shares = start[:, None] * likely
        start = (shares / shares.sum(axis=0)).mean(axis=1)

    def loss(weights: NDArray[np.float64]) -> float:
        return -float(np.log(np.maximum(weights @ likely, np.finfo(np.float64).tiny)).mean())

    def gradient(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        slope: NDArray[np.float64] = -(likely / np.maximum(weights @ likely, np.finfo(np.float64).tiny)).mean(axis=1)
        return slope

    found = minimize(
        loss,
        start,
        jac=gradient,
        method="SLSQP",
        bounds=[(0, 1)] * len(start),
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-14, "maxiter": ITERATIONS},
    )
    if not np.isfinite(found.x).all() or found.x.max() <= 0:
        return start
    better: NDArray[np.float64] = np.clip(found.x, 0, None)
    better /= better.sum()
    if loss(better) < loss(start):
        return better
    return start
