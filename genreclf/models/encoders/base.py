"""What every pretrained encoder has: its input, its layers, and where its weights come from."""

import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, NotRequired, TypedDict

from torch import Tensor, nn

NON_COMMERCIAL = ("-nc", "non-commercial", "noncommercial")
"""What the names of licenses that forbid commercial use contain, in lower case."""


@dataclass(frozen=True)
class Provenance:
    """Where the weights of an encoder come from, which stands beside every figure that is reached with them."""

    pretrained_on: str
    """The data that it was trained on."""
    license: str
    """Of the weights, as SPDX names it where it does."""
    revision: str
    """The version of the weights, such as that of a package or a commit."""
    sha256: str
    """Of the file that holds the weights, 64 hexadecimal digits."""
    citation: str
    """The publication."""
    overlap: str = "unknown"
    """Overlap of the pretraining data with the test: ``none``, ``unknown`` or ``known (n)``, n tracks."""

    def __post_init__(self) -> None:
        """Check that nothing is missing.

        Raises:
            ValueError: Something is, or the hash or the overlap cannot be.
        """
        for key, value in asdict(self).items():
            if not isinstance(value, str) or not value.strip():
                raise ValueError(f"{key} is missing: it must be known before the weights are used")
        if len(self.sha256) != 64 or not set(self.sha256) <= set("0123456789abcdef"):
            raise ValueError(f"sha256={self.sha256} is not 64 hexadecimal digits")
        if not re.fullmatch(r"none|unknown|known \(\d+\)", self.overlap):
            raise ValueError(f"overlap={self.overlap} is not one of none, unknown, and known (n), for n test tracks")

    @property
    def non_commercial(self) -> bool:
        """Whether the license forbids commercial use."""
        return any(word in self.license.lower() for word in NON_COMMERCIAL)


class Origin(TypedDict):
    """The arguments of `Encoder`, which every encoder passes on."""

    pretrained_on: NotRequired[str | None]
    license: NotRequired[str | None]
    revision: NotRequired[str | None]
    sha256: NotRequired[str | None]
    citation: NotRequired[str | None]
    overlap: NotRequired[str]
    weights: NotRequired[str | None]


class Encoder(nn.Module, ABC):
    """A pretrained network that maps a waveform or a log-mel to the outputs of several of its layers.

    A subclass builds its network without weights, and gets them in `load`, so that stored embeddings can be found by
    its `provenance` alone.

    Args:
        pretrained_on: See `Provenance`, as the next five; all must be given.
        license: Of the weights.
        revision: Of the weights.
        sha256: Of the file that holds them.
        citation: The publication.
        overlap: Of the pretraining data with the test.
        weights: The file, where it is not found by itself.

    Raises:
        ValueError: One of them is missing.
    """

    name: str
    """Short name, used in the names of stores and of files of weights."""

    sample_rate: int | None
    """Of the waveform that it takes, in Hz; None if it takes the log-mel of the store."""

    layers: tuple[str, ...]
    """Names of the layers whose outputs `embed` returns, from input to output."""

    dimension: int | tuple[int, ...]
    """Values of an embedding, or those of each layer if these have different numbers."""

    window_s: float = 1.0
    """Seconds of a waveform that are embedded at a time."""

    longest_s: float | None = None
    """The longest waveform that `embed` takes, in seconds; None if it takes any."""

    hop_s: float = 1.0
    """Seconds from one such window to the next."""

    options: dict[str, Any]
    """Settings that change what `embed` returns, beside the weights, where they are not the usual ones."""

    is_torch: bool = True
    """Whether `embed` computes with PyTorch alone, so that it can be exported."""

    def __init__(
        self,
        *,
        pretrained_on: str | None = None,
        license: str | None = None,
        revision: str | None = None,
        sha256: str | None = None,
        citation: str | None = None,
        overlap: str = "unknown",
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.provenance = Provenance(
            pretrained_on=pretrained_on or "",
            license=license or "",
            revision=revision or "",
            sha256=sha256 or "",
            citation=citation or "",
            overlap=overlap,
        )
        self.weights = weights
        self.options = {}

    @property
    def dimensions(self) -> tuple[int, ...]:
        """The number of values of each layer."""
        return (self.dimension,) * len(self.layers) if isinstance(self.dimension, int) else self.dimension

    def fetch(self) -> None:
        """See that the weights are there and are the right ones; nothing is computed.

        Raises:
            UserError: They are not; the message names the ways out.
        """
        self.load()

    @abstractmethod
    def load(self) -> None:
        """Put the pretrained weights into the network.

        Raises:
            UserError: They are not there, or are other ones than `provenance` says; the message names the ways out.
        """

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Return the outputs of the layers, shape ``(batch, layer, frame, dimension)``.

        Args:
            x: Waveforms ``(batch, sample)`` at `sample_rate` with full scale at 1, or log-mels
                ``(batch, mel, frame)`` in dB if that is None.

        Returns:
            A layer of fewer values than the largest ends in zeros.
        """

    def embed_scaled(self, x: Tensor) -> Tensor:
        """Return what `embed` does of its input as a network gets it in training.

        Args:
            x: Waveforms, or log-mels ``(batch, mel, frame)`` scaled as `genreclf.audio.scaling.Scaling` does, by
                default to mean 0 and deviation 1 in each band.
        """
        return self.embed(x)

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Return the parts of the network from input to output, of which the last ones may be trained on."""

    def record(self) -> dict[str, Any]:
        """Return what ``metrics.json`` says under ``pretrained``."""
        return {"name": self.name, **asdict(self.provenance), "non_commercial": self.provenance.non_commercial}
