"""Networks that take spectrograms of one size."""

from typing import ClassVar, Unpack

from genreclf.models.layers import FitTo
from genreclf.training.module import GenreClassifier, Training


class FixedInput(GenreClassifier):
    """A classifier whose network takes `mels` x `frames`; other clips are stretched to that, with a notice."""

    mels: ClassVar[int] = 128
    frames: ClassVar[int] = 128

    def __init__(self, **training: Unpack[Training]) -> None:
        """Compare the size of the clips with that of the network's input."""
        super().__init__(**training)
        spec = self.spec
        size = f"{spec.n_mels} mels x {spec.clip_frames} frames ({spec.clip_frames / spec.frames_per_second:.1f} s)"
        fits = (spec.n_mels, spec.clip_frames) == (self.mels, self.frames)
        self.warnings.append(
            f"{type(self).__name__} takes {self.mels} x {self.frames}: clips of {size} are "
            + ("taken as they are." if fits else "stretched to that by linear interpolation.")
        )

    def fit_to(self) -> FitTo:
        """Return the first stage of the network."""
        return FitTo(mels=self.mels, frames=self.frames)
