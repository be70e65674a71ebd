"""Base class of pretrained encoders, with their input, their layers, and the provenance of their weights."""

import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, NotRequired, TypedDict

from torch import Tensor, nn

NON_COMMERCIAL = ("-nc", "non-commercial", "noncommercial")
"""Words, in lower case, that occur in the names of licenses that forbid commercial use."""


@dataclass(frozen=True)
class Provenance:
    """Provenance of an encoder's weights, which is reported with every result that is achieved with them."""

    pretrained_on: str
    """Data that the encoder was trained on."""
    license: str
    """License of the weights, as an SPDX identifier if there is one."""
    revision: str
    """Version of the weights, such as a version of a package or a commit."""
    sha256: str
    """SHA-256 hash of the file of weights, 64 hexadecimal digits."""
    citation: str
    """Publication to cite."""
    overlap: str = "unknown"
    """Overlap of the pretraining data with the test tracks: ``none``, ``unknown``, or ``known (n)`` for n tracks."""

    def __post_init__(self) -> None:
        """Check that no field is missing or malformed.

        Raises:
            ValueError: A field is missing, or `sha256` or `overlap` is malformed.
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
    """Arguments of `Encoder`, which every encoder passes on."""

    pretrained_on: NotRequired[str | None]
    license: NotRequired[str | None]
    revision: NotRequired[str | None]
    sha256: NotRequired[str | None]
    citation: NotRequired[str | None]
    overlap: NotRequired[str]
    weights: NotRequired[str | None]


class Encoder(nn.Module, ABC):
    """A pretrained network that maps a waveform or a log-mel to the outputs of several of its layers.

    A subclass builds its network without the pretrained weights and loads them in `load`, so that stored embeddings can
    be found by `provenance` alone.

    Args:
        pretrained_on: Data that the encoder was trained on; required, like the next four arguments, see `Provenance`.
        license: License of the weights.
        revision: Version of the weights.
        sha256: SHA-256 hash of the file of weights.
        citation: Publication to cite.
        overlap: Overlap of the pretraining data with the test tracks, see `Provenance`.
        weights: Path of the file of weights, if the encoder cannot find it by itself.

    Raises:
        ValueError: A required argument is missing, or `sha256` or `overlap` is malformed.
    """

    name: str
    """Short name, used in the names of stores and of files of weights."""

    sample_rate: int | None
    """Sample rate in Hz of the waveforms that the encoder takes; None if it takes the log-mels of the store."""

    layers: tuple[str, ...]
    """Names of the layers whose outputs `embed` returns, from input to output."""

    dimension: int | tuple[int, ...]
    """Number of values of an embedding, or a tuple with the number for each layer if layers differ."""

    window_s: float = 1.0
    """Length in seconds of the windows that are embedded, each by itself."""

    fills_up: bool = False
    """Whether `embed` takes waveforms shorter than a window as they are; for other encoders, they are repeated."""

    longest_s: float | None = None
    """Length in seconds of the longest waveform that `embed` takes; None if there is no limit."""

    hop_s: float = 1.0
    """Time in seconds from the start of one window to the start of the next."""

    options: dict[str, Any]
    """Settings other than the weights that change the results of `embed`, if they differ from the defaults."""

    is_torch: bool = True
    """Whether `embed` uses PyTorch alone, so that the encoder can be exported."""

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
        """Number of values of an embedding for each layer."""
        return (self.dimension,) * len(self.layers) if isinstance(self.dimension, int) else self.dimension

    def fetch(self) -> None:
        """Check that the weights are available and intact, without computing any embeddings.

        Raises:
            UserError: The weights are missing or do not match `provenance`; the message says what to do.
        """
        self.load()

    @abstractmethod
    def load(self) -> None:
        """Load the pretrained weights into the network.

        Raises:
            UserError: The weights are missing or do not match `provenance`; the message says what to do.
        """

    def check_size(self, mels: int, frames: int) -> None:
        """Check that `embed` takes log-mels of a size; by default, it takes all.

        Args:
            mels: Number of mel bands.
            frames: Number of frames of a clip or, for a probe, of a window.

        Raises:
            UserError: It does not take them.
        """

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Return the outputs of the layers, shape ``(batch, layer, frame, dimension)``.

        Args:
            x: Waveforms ``(batch, sample)`` at `sample_rate` with full scale at 1; or, if `sample_rate` is None,
                log-mels ``(batch, mel, frame)`` in dB.

        Returns:
            Outputs of the layers; those of layers with fewer values than the largest layer are padded with zeros.
        """

    def embed_scaled(self, x: Tensor) -> Tensor:
        """Return the same outputs as `embed`, for input that is scaled as in training.

        Args:
            x: Waveforms, or log-mels ``(batch, mel, frame)`` scaled as `genreclf.audio.scaling.Scaling` does, by
                default to mean 0 and standard deviation 1 in each band.
        """
        return self.embed(x)

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Return the parts of the network from input to output, of which the last ones can be fine-tuned."""

    def record(self) -> dict[str, Any]:
        """Return the entry ``pretrained`` of ``metrics.json``."""
        return {"name": self.name, **asdict(self.provenance), "non_commercial": self.provenance.non_commercial}
