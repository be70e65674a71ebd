"""A support vector machine on block-level features: the strongest baseline without a deep network."""

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genreclf.data.datamodule import ClipDataModule
from genreclf.errors import UserError
from genreclf.escaping import say
from genreclf.models.block_level import BlockLevel
from genreclf.models.closed_form import ClosedFormClassifier
from genreclf.models.layers import Network
from genreclf.training.module import Training

PENALTIES = (0.3, 1.0, 3.0, 10.0)
"""Values of the regularization constant C that are tried."""
FOLDS = 5
MOST_CLIPS = 20_000
"""Largest number of training clips; the similarities of all pairs of more clips would not fit in memory."""
FARTHEST = 5.0
"""Number of standard deviations from the mean at which features are clipped."""


class SVM(ClosedFormClassifier):
    """A linear support vector machine (SVM) on block-level features that separates each genre from all others.

    Features are standardized, and the six patterns have the same weight, however many features each one has. Two
    constants are chosen by the loss on training clips when their artists are held out: the regularization constant C,
    and the temperature that turns decision values into probabilities (the one-parameter form of J. Platt,
    "Probabilistic outputs for support vector machines", 1999). The fitted weights are stored in a linear layer, so that
    prediction does not need scikit-learn.
    """

    def __init__(self, **training: Unpack[Training]) -> None:
        super().__init__(**training)
        features = BlockLevel(spec=self.spec)
        self.network = Network(
            features=features,
            norm=Standardize(features.sizes),
            classifier=nn.Linear(sum(features.sizes), len(self.genres)),
        )
        self.network.requires_grad_(False)

    def fit_clips(self, data: ClipDataModule) -> None:
        """Compute the features of all training clips, choose C and the temperature, and fit the SVM.

        Raises:
            UserError: There are too many training clips, or all of them are by one artist.
        """
        segments = data.segments("train")
        rows = data.grid("train")
        if len(rows) > MOST_CLIPS:
            raise UserError(
                f"model=svm takes up to {MOST_CLIPS:,} training clips, as it compares pairs; here are {len(rows):,}: "
                "set data.clip_seconds=whole or data.grid_overlap=0, or choose another model."
            )
        network: Any = self.network
        features = torch.cat(list(self.each(data, network.features)))
        network.norm.fit(features)
        x = network.norm(features).double().numpy()
        genre = data.tables["train"].genre[rows[:, 0]].numpy()
        artist = [data.group_of.get(id, id) for id in (segments[row].track_id for row in rows[:, 0])]
        # A group without a known artist is named after a track.
        unit = "track" if data.genre_of.keys() >= set(artist) else "artist"
        kernel = x @ x.T
        penalty, temperature, right = _choose(kernel, genre, artist, len(self.genres))
        say(
            f"Note: model=svm chose C={penalty:g}, at which {100 * right:.1f} % of the training clips are right when "
            f"their {unit} is held out."
        )
        dual, bias = solve(kernel, genre, penalty, len(self.genres))
        network.classifier.weight.copy_(torch.from_numpy(dual.T @ x / temperature))
        network.classifier.bias.copy_(torch.from_numpy(bias / temperature))


class Standardize(nn.Module):
    """Standardizes and clips features, and gives each group of features the same total weight.

    Args:
        sizes: Number of features in each group.
    """

    weight: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        weights = [(size * len(sizes)) ** -0.5 for size in sizes]
        repeated = [torch.full((size,), weight) for size, weight in zip(sizes, weights, strict=True)]
        self.register_buffer("weight", torch.cat(repeated), persistent=False)
        self.register_buffer("mean", torch.zeros(sum(sizes)))
        self.register_buffer("scale", torch.ones(sum(sizes)))

    def fit(self, x: Tensor) -> None:
        """Set mean and scale from the features ``(clip, feature)`` of the training clips."""
        self.mean.copy_(x.mean(0))
        self.scale.copy_(1 / x.std(0, correction=0).clamp(min=1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """Return the standardized, clipped and weighted features ``(batch, feature)``."""
        return ((x - self.mean) * self.scale).clamp(-FARTHEST, FARTHEST) * self.weight


def solve(
    kernel: NDArray[np.float64], genre: NDArray[np.int64], penalty: float, genres: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a support vector machine that separates each genre from all others.

    Args:
        kernel: Similarity of each pair of clips, shape ``(clip, clip)``.
        genre: Genre of each clip, shape ``(clip,)``.
        penalty: Regularization constant C.
        genres: Number of genres; for a genre without clips, the decision value is always -1.

    Returns:
        Weight of each clip in the decision for each genre, ``(clip, genre)``, and the biases ``(genre,)``.
    """
    from sklearn.svm import SVC

    dual, bias = np.zeros((len(genre), genres)), np.full(genres, -1.0)
    there = np.unique(genre)
    if len(there) == 1:
        bias[there] = 1.0
        return dual, bias
    for number in there:
        machine = SVC(kernel="precomputed", C=penalty).fit(kernel, genre == number)
        dual[machine.support_, number], bias[number] = machine.dual_coef_[0], machine.intercept_[0]
    return dual, bias


def _choose(
    kernel: NDArray[np.float64], genre: NDArray[np.int64], artist: Sequence[str], genres: int
) -> tuple[float, float, float]:
    """Return C and the temperature with the lowest loss on clips of held-out artists, and the accuracy on these clips.

    Raises:
        UserError: All clips are by one artist.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    n_folds = min(FOLDS, len(set(artist)))
    if n_folds < 2:
        raise UserError("model=svm holds artists out to choose C, but all training clips are by one: add tracks.")
    # If there are few clips, as at the start of a learning curve, not every fold can have every genre.
    is_stratified = np.bincount(genre).max() >= n_folds
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0) if is_stratified else GroupKFold(n_folds)
    parts = list(folds.split(genre, genre, artist))
    found = []
    for penalty in PENALTIES:
        decisions = np.zeros((len(genre), genres))
        for fitted, held_out in parts:
            dual, bias = solve(kernel[np.ix_(fitted, fitted)], genre[fitted], penalty, genres)
            decisions[held_out] = kernel[np.ix_(held_out, fitted)] @ dual + bias

        def loss(log_temperature: float, decisions: NDArray[np.float64] = decisions) -> float:
            scores = log_softmax(decisions / np.exp(log_temperature), axis=1)
            return -float(scores[np.arange(len(genre)), genre].mean())

        best = minimize_scalar(loss, bounds=(-5, 5), method="bounded")
        found.append((best.fun, penalty, float(np.exp(best.x)), float((decisions.argmax(axis=1) == genre).mean())))
    return min(found)[1:]
