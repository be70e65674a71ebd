"""Base class of the networks that take a whole GTZAN track of 128 x 660."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from genreclf.models.layers import FitTo
from genreclf.models.published.fixed import FixedInput

Resize = Literal["pad", "shear"]
"""How a track is brought to 660 frames, see `WholeTrack.resized`."""

TRACK_FRAMES = 647
"""Of most GTZAN tracks at 22,050 Hz and hop 1024; the longest has 660."""


class WholeTrack(FixedInput):
    """A classifier whose network takes 128 mels x 660 frames, the longest track of GTZAN at hop 1024."""

    frames: ClassVar[int] = 660

    def resized(self, resize: Resize) -> nn.Sequential:
        """Return the first stage of the network.

        Args:
            resize: ``pad``: the clip as it is, a shorter track followed by silence. ``shear``: what NumPy's
                ``ndarray.resize`` makes of a track of 128 x 647, the fault of the published systems.
        """
        kinds: dict[str, list[FitTo | Shear]] = {"pad": [], "shear": [Shear(track_frames=TRACK_FRAMES)]}
        if resize not in kinds:
            raise ValueError(f"resize must be pad or shear, not {resize}.")
        return nn.Sequential(self.fit_to(), *kinds[resize])


class Shear(nn.Module):
    """Reproduce NumPy's ``ndarray.resize`` of a track of `track_frames` frames to more frames.

    The rows of the first `track_frames` frames follow one another without gaps, so that each is shifted against the one
    before. ``resize`` fills the end with zeros, which in dB below the peak is the peak.
    """

    def __init__(self, *, track_frames: int) -> None:
        super().__init__()
        self.track_frames = track_frames

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, mel, frame)`` of the shape of `x`."""
        values = x[..., : self.track_frames].flatten(1)
        peak = x.amax((1, 2))[:, None].expand(-1, x.shape[1:].numel() - values.shape[1])
        return torch.cat([values, peak], 1).reshape(x.shape)
