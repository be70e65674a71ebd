"""genreclf's network as a model of autrainer, found by the name in its configuration."""

from autrainer.models import AbstractModel
from torch import Tensor

from benchmarks.peers.task import build_network


class GenreCRNN(AbstractModel):  # type: ignore[misc, unused-ignore]
    """The network of the other systems.

    Args:
        output_dim: Genres.
        channels_last: See `Task`.
    """

    def __init__(self, output_dim: int, channels_last: bool) -> None:
        super().__init__(output_dim)
        self.channels_last = channels_last
        self.network = build_network(output_dim, channels_last=channels_last)

    def embeddings(self, features: Tensor) -> Tensor:
        """Return what the classifier gets, ``(batch, unit)``."""
        embeddings: Tensor = self.network.embed(features.squeeze(1).transpose(1, 2))
        return embeddings

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(batch, genre)`` of scaled spectrograms ``(batch, 1, frame, mel)``."""
        logits: Tensor = self.network(features.squeeze(1).transpose(1, 2))
        return logits
