"""Base class of networks that take spectrograms of one fixed size."""

from typing import ClassVar, Unpack

from genreclf.models.layers import FitTo
from genreclf.training.module import GenreClassifier, Training


class FixedInput(GenreClassifier):
    """A classifier whose network takes `mels` x `frames` values; clips of other sizes are stretched, with a warning."""

    mels: ClassVar[int] = 128
    """Number of mel bands that the network takes."""
    frames: ClassVar[int] = 128
    """Number of frames that the network takes."""

    def __init__(self, **training: Unpack[Training]) -> None:
        """Add a warning that says whether clips have the size of the network's input or are stretched to it."""
        super().__init__(**training)
        spec = self.spec
        size = f"{spec.n_mels} mels x {spec.clip_frames} frames ({spec.clip_frames / spec.frames_per_second:.1f} s)"
        fits = (spec.n_mels, spec.clip_frames) == (self.mels, self.frames)
        self.warnings.append(
            f"{type(self).__name__} takes {self.mels} x {self.frames}: clips of {size} are "
            + ("taken as they are." if fits else "stretched to that by linear interpolation.")
        )

    def fit_to(self) -> FitTo:
        """Return the first stage of the network, which resizes clips to the size of its input."""
        return FitTo(mels=self.mels, frames=self.frames)
