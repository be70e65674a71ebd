"""Ensembles: one network that averages the probabilities of several trained networks."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from genreclf.audio.scaling import Scaling
from genreclf.models.encoders.base import Encoder
from genreclf.training.module import GenreClassifier, Training


class Ensemble(GenreClassifier):
    """Averages the probabilities of several trained networks; the command ``ensemble`` creates one from finished runs.

    Each member scales the stored values as it did in training, so that its probabilities are the same as without the
    ensemble.

    Args:
        members: Model classes, or partials of them, which are called with the arguments of `GenreClassifier`.
        runs: Runs that the members come from; they are only recorded.
        weights: Weights of the members, which must sum to 1; equal weights by default.
        encoder: Pretrained encoder that the members were fine-tuned from, if any; each member is given a copy.
        **training: Arguments passed on to `GenreClassifier`.

    Raises:
        ValueError: A member is not a model class or overrides ``forward``, or `weights` does not have one number of at
            least 0 for each member, with a sum of 1.
    """

    def __init__(
        self,
        *,
        members: Sequence[Callable[..., Any]],
        runs: Sequence[str] = (),
        weights: Sequence[float] | None = None,
        encoder: Encoder | None = None,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(**training)
        self.scaling = Unscaled(spec=self.spec)
        stages = []
        for make in members:
            kind, given = getattr(make, "func", make), {"spec": self.spec, "genres": self.genres}
            if not (isinstance(kind, type) and issubclass(kind, GenreClassifier)):
                raise ValueError("members must be models with _partial_: true")
            if kind.forward is not GenreClassifier.forward:
                raise ValueError(f"{kind.__name__} does more than its network, so it cannot be a member")
            model = make(**given, **({} if encoder is None else {"encoder": copy.deepcopy(encoder)}))
            stages.append(nn.Sequential(OrderedDict(scaling=model.scaling, network=model.network)))
        weights = [1 / len(stages)] * len(stages) if weights is None else weights
        if len(weights) != len(stages) or min(weights) < 0 or abs(sum(weights) - 1) > 1e-3:
            raise ValueError("weights must have one number of at least 0 for each member and sum to 1")
        self.network = MeanOfProbabilities(stages, weights)


class MeanOfProbabilities(nn.ModuleList):
    """Computes logits whose softmax is the weighted mean of the probabilities of several networks.

    Args:
        networks: Networks that map stored values ``(batch, mel, frame)`` to logits ``(batch, genre)``.
        weights: Weights of the networks, which sum to 1.
    """

    log_weights: Tensor

    def __init__(self, networks: Iterable[nn.Module], weights: Sequence[float]) -> None:
        super().__init__(networks)
        self.register_buffer("log_weights", torch.tensor(weights, dtype=torch.float32).log())

    def forward(self, stored: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities as logits ``(batch, genre)``."""
        each = torch.stack([network(stored).log_softmax(1) for network in self])
        return (each + self.log_weights[:, None, None]).logsumexp(0)


class Unscaled(Scaling):
    """Leaves stored values unchanged, for networks that scale the values themselves."""

    def forward(self, log_mel_q: Tensor) -> Tensor:
        """Return the stored values unchanged."""
        return log_mel_q

    def fit(self, log_mel_q: Tensor) -> None:
        """Do nothing, since there is nothing to fit."""

    @property
    def is_fitted(self) -> bool:
        """Always True, since there is nothing to fit."""
        return True
