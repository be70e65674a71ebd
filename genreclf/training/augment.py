"""Augmentation of batches of scaled spectrograms, on the device of the batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from genreclf.audio.scaling import Scaling
from genreclf.errors import UserError

WITHOUT_BETA = {"mps"}
"""Device types on which PyTorch cannot sample from the Beta distribution."""

LEAST_DEVIATION = 1e-3
"""Added to the standard deviation of a mel band before dividing by it, since that of a silent band is 0."""

BANDS_UNKNOWN = (
    "augmentation.band_limit needs the frequencies of the bands: set data.rendering=librosa_peak80 if that is how the "
    "pictures were made, or augmentation.band_limit=null."
)
"""Error message for images whose rows have unknown frequencies."""


class SpecAugment(nn.Module):
    """Replace random ranges of mel bands and of frames with the clip's mean, drawn anew per clip (Park et al., 2019).

    Args:
        mel_masks: Number of masks over mel bands.
        mel_fraction: Maximum width of a mask over mel bands, as a fraction of all mel bands.
        frame_masks: Number of masks over frames.
        frame_fraction: Maximum width of a mask over frames, as a fraction of all frames.
    """

    def __init__(
        self, *, mel_masks: int = 2, mel_fraction: float = 0.15, frame_masks: int = 2, frame_fraction: float = 0.15
    ) -> None:
        super().__init__()
        for masks in (mel_masks, frame_masks):
            if masks < 0:
                raise ValueError(f"{masks} masks: the number must not be below 0")
        for fraction in (mel_fraction, frame_fraction):
            if not 0 <= fraction < 1:
                raise ValueError(f"a mask of {fraction} must be at least 0 and below 1")
        self.mel_masks, self.mel_fraction = mel_masks, mel_fraction
        self.frame_masks, self.frame_fraction = frame_masks, frame_fraction

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the masked `x` ``(batch, mel, frame)`` and the unchanged `y` ``(batch, genre)``."""
        mels = self._mask(x, x.shape[1], self.mel_masks, self.mel_fraction)
        frames = self._mask(x, x.shape[2], self.frame_masks, self.frame_fraction)
        masked = mels[:, :, None] | frames[:, None, :]
        return torch.where(masked, x.mean((1, 2), keepdim=True), x), y

    @staticmethod
    def _mask(x: Tensor, size: int, masks: int, fraction: float) -> Tensor:
        """Return which of `size` positions are masked, as a boolean tensor ``(batch, size)``."""
        width = torch.rand(x.shape[0], masks, 1, device=x.device) * fraction * size
        start = torch.rand(x.shape[0], masks, 1, device=x.device) * (size - width)
        place = torch.arange(size, device=x.device)
        return ((place >= start) & (place < start + width)).any(1)


class FilterAugment(nn.Module):
    """Raise and lower the levels of the mel bands by a random, piecewise linear curve, drawn anew for each clip.

    The network thus learns less about how a record was mixed and mastered, which the tracks of an artist share. This is
    the linear FilterAugment of Nam et al. (2022) with knots at fixed positions.

    Args:
        deviation: Standard deviation of the curve at its knots, in units of the scaled spectrogram.
        knots: Number of points, evenly spaced over the mel bands, between which the curve is linear.
    """

    def __init__(self, *, deviation: float = 1.0, knots: int = 7) -> None:
        super().__init__()
        if deviation < 0 or knots < 2:
            raise ValueError("deviation must not be below 0, and knots must be 2 or more")
        self.deviation, self.knots = deviation, knots

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return `x` ``(batch, mel, frame)`` with changed levels and the unchanged `y` ``(batch, genre)``."""
        knots = self.deviation * torch.randn(x.shape[0], 1, self.knots, device=x.device)
        curve = functional.interpolate(knots, x.shape[1], mode="linear", align_corners=True)
        return x + curve.transpose(1, 2), y


class BandLimit(nn.Module):
    """Silence the mel bands above a random cutoff frequency, drawn anew for each clip.

    The network thus learns to do without the highest bands, which lossy files and old recordings lack.

    Args:
        low_hz: Lowest cutoff frequency in Hz.
        high_hz: Highest cutoff frequency in Hz; the cutoff is drawn uniformly between `low_hz` and `high_hz`.
        probability: Probability that a clip is changed.
    """

    centers_hz: Tensor

    def __init__(self, *, low_hz: float = 4000.0, high_hz: float = 11000.0, probability: float = 0.5) -> None:
        super().__init__()
        if not 0 < low_hz <= high_hz:
            raise ValueError("low_hz must be above 0 and at most high_hz")
        if not 0 <= probability <= 1:
            raise ValueError(f"a probability of {probability} must lie between 0 and 1")
        self.low_hz, self.high_hz, self.probability = low_hz, high_hz, probability
        self.register_buffer("centers_hz", torch.zeros(0), persistent=False)
        self._scaling: tuple[Scaling, ...] = ()  # The model's, in a tuple so that it is not a submodule of this one.

    def use(self, scaling: Scaling) -> None:
        """Take the band frequencies and the value of silence from a model's scaling.

        Raises:
            UserError: The frequencies of the bands are unknown, or the model takes no spectrograms.
        """
        if (centers_hz := scaling.spec.centers_hz) is None:
            raise UserError(BANDS_UNKNOWN)
        self.centers_hz, self._scaling = centers_hz, (scaling,)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return `x` ``(batch, mel, frame)`` without its highest bands and the unchanged `y` ``(batch, genre)``."""
        (scaling,) = self._scaling
        drawn = torch.rand(2, x.shape[0], 1, 1, device=x.device)
        cutoff_hz = self.low_hz + drawn[0] * (self.high_hz - self.low_hz)
        silent = (self.centers_hz[:, None] > cutoff_hz) & (drawn[1] < self.probability)
        return torch.where(silent, scaling.floor(x), x), y


class MixStyle(nn.Module):
    """Mix the mean and standard deviation over time of each band with those of another clip (Zhou et al., 2021).

    Mean and deviation depend on how a song was recorded and mixed, so the network learns less about this. With
    statistics of frequency bands instead of channels, as here, the method is known as Freq-MixStyle (Schmid et al.,
    2022).

    Args:
        alpha: Parameter of the Beta(alpha, alpha) distribution from which the share of the clip's own mean and
            deviation is drawn, once per clip.
        probability: Probability that a clip is changed.
    """

    def __init__(self, *, alpha: float = 0.3, probability: float = 0.5) -> None:
        super().__init__()
        if alpha <= 0:
            raise ValueError(f"alpha={alpha} must be above 0")
        if not 0 <= probability <= 1:
            raise ValueError(f"a probability of {probability} must lie between 0 and 1")
        self.alpha, self.probability = alpha, probability

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return `x` ``(batch, mel, frame)`` with changed levels and the unchanged `y` ``(batch, genre)``."""
        deviation, mean = torch.std_mean(x, 2, keepdim=True, correction=0)
        deviation = deviation + LEAST_DEVIATION
        share = _shares(self.alpha, x)[:, None, None]
        share_of_other = 1 - share
        other = torch.randperm(x.shape[0], device=x.device)
        mixed_deviation = share * deviation + share_of_other * deviation[other]
        mixed_mean = share * mean + share_of_other * mean[other]
        mixed = (x - mean) / deviation * mixed_deviation + mixed_mean
        changed = torch.rand(x.shape[0], 1, 1, device=x.device) < self.probability
        return torch.where(changed, mixed, x), y


class Mixup(nn.Module):
    """Mix each clip and its target with another clip of the batch and its target (Zhang et al., 2018).

    Args:
        alpha: Parameter of the Beta(alpha, alpha) distribution from which the share of the clip itself is drawn, once
            per clip; at 0 nothing is mixed.
    """

    def __init__(self, *, alpha: float = 0.3) -> None:
        super().__init__()
        if alpha < 0:
            raise ValueError(f"alpha={alpha} must not be below 0")
        self.alpha = alpha

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed `x` ``(batch, ...)`` and `y` ``(batch, genre)``."""
        if self.alpha == 0:
            return x, y
        share = _shares(self.alpha, x)
        other = torch.randperm(x.shape[0], device=x.device)
        share_x, share_y = share.view(-1, *(1,) * (x.dim() - 1)), share[:, None]
        return share_x * x + (1 - share_x) * x[other], share_y * y + (1 - share_y) * y[other]


class Augment(nn.Module):
    """Applies several augmentations one after the other; each takes and returns a batch and its targets."""

    def __init__(self, *steps: nn.Module) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def use(self, scaling: Scaling) -> None:
        """Pass the model's scaling of spectrograms on to the augmentations that need it."""
        for step in self.steps:
            if isinstance(step, BandLimit):
                step.use(scaling)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the augmented `x` ``(batch, mel, frame)`` and `y` ``(batch, genre)``."""
        for step in self.steps:
            x, y = step(x, y)
        return x, y


def _shares(alpha: float, x: Tensor) -> Tensor:
    """Draw one share from Beta(alpha, alpha) for each clip of `x`."""
    drawn_on = "cpu" if x.device.type in WITHOUT_BETA else x.device
    concentration = torch.full((x.shape[0],), alpha, device=drawn_on)
    return torch.distributions.Beta(concentration, concentration, validate_args=False).sample().to(x.device)
