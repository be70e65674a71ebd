"""Network of genreclf as a model of autrainer, which imports it by its name in the configuration."""

from autrainer.models import AbstractModel
from torch import Tensor

from benchmarks.peers.task import build_network


class GenreCRNN(AbstractModel):  # type: ignore[misc, unused-ignore]
    """The same network as in the other systems.

    Args:
        output_dim: Number of genres.
        channels_last: Whether to put the network into the channels-last memory format.
    """

    def __init__(self, output_dim: int, channels_last: bool) -> None:
        super().__init__(output_dim)
        self.channels_last = channels_last
        self.network = build_network(output_dim, channels_last=channels_last)

    def embeddings(self, features: Tensor) -> Tensor:
        """Return the inputs of the output layer, ``(batch, unit)``, for spectrograms ``(batch, 1, frame, mel)``."""
        embeddings: Tensor = self.network.embed(features.squeeze(1).transpose(1, 2))
        return embeddings

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(batch, genre)`` of scaled spectrograms ``(batch, 1, frame, mel)``."""
        logits: Tensor = self.network(features.squeeze(1).transpose(1, 2))
        return logits
