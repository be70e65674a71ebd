"""Base class of the networks that take a whole GTZAN track as a spectrogram of 128 x 660 values."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from genreclf.models.layers import FitTo
from genreclf.models.published.fixed import FixedInput

Resize = Literal["pad", "shear"]
"""How a track is resized to 660 frames, see `WholeTrack.resized`."""

TRACK_FRAMES = 647
"""Number of frames of most GTZAN tracks at 22,050 Hz and hop 1024; the longest track has 660."""


class WholeTrack(FixedInput):
    """A classifier whose network takes 128 mel bands x 660 frames, the longest track of GTZAN at hop 1024."""

    frames: ClassVar[int] = 660

    def resized(self, resize: Resize) -> nn.Sequential:
        """Return the first stage of the network, which resizes clips to the size of its input.

        Args:
            resize: ``pad`` takes the clip as it is, with silence after a shorter track. ``shear`` reproduces a fault of
                the published systems: the result of NumPy's ``ndarray.resize`` on a track of 128 x 647 values.

        Raises:
            ValueError: `resize` is neither ``pad`` nor ``shear``.
        """
        kinds: dict[str, list[FitTo | Shear]] = {"pad": [], "shear": [Shear(track_frames=TRACK_FRAMES)]}
        if resize not in kinds:
            raise ValueError(f"resize must be pad or shear, not {resize}.")
        return nn.Sequential(self.fit_to(), *kinds[resize])


class Shear(nn.Module):
    """Reproduces NumPy's ``ndarray.resize`` of a track of `track_frames` frames to more frames.

    The rows of the first `track_frames` frames follow one another without gaps, so that each row is shifted relative to
    the previous one. ``ndarray.resize`` fills the end with zeros, which stand for the peak level in dB below the peak.

    Args:
        track_frames: Number of frames of the track before it is resized.
    """

    def __init__(self, *, track_frames: int) -> None:
        super().__init__()
        self.track_frames = track_frames

    def forward(self, x: Tensor) -> Tensor:
        """Return the sheared spectrograms ``(batch, mel, frame)``, in the same shape as `x`."""
        values = x[..., : self.track_frames].flatten(1)
        peak = x.amax((1, 2))[:, None].expand(-1, x.shape[1:].numel() - values.shape[1])
        return torch.cat([values, peak], 1).reshape(x.shape)
