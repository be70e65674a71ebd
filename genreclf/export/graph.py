"""One module from a waveform to genres, made of operations that can be exported."""

import copy
from fractions import Fraction
from typing import cast

import torch
from torch import Tensor, nn

from genreclf.audio.log_mel import STEP_DB, LogMel, in_steps
from genreclf.data.clips import Short
from genreclf.errors import UserError
from genreclf.models import GenreClassifier


class WaveformClassifier(nn.Module):
    """What `genreclf.inference` does with a song, in one segment: log-mel, grid of clips, network, mean of the clips.

    The steps of 1/256 dB of quantized log-mels are part of it, and so is clipping below a song's peak where the
    model was trained so. All clips of all songs go through the network at once, so memory grows with the songs' length.

    Args:
        model: Trained on audio; its network is copied.
        grid_overlap: By what fraction neighboring clips overlap at least.
        short: What is done with songs shorter than a clip.

    Raises:
        UserError: The model was trained on pictures.
    """

    def __init__(self, *, model: GenreClassifier, grid_overlap: float = 0.5, short: Short = "pad") -> None:
        super().__init__()
        spec = model.spec
        if not (spec.sample_rate and spec.n_fft and spec.hop_length):
            raise UserError(
                "The model was trained on pictures, whose making an exported file does not hold: "
                "export a run trained on audio, or use predict."
            )
        self.log_mel = LogMel(
            sample_rate=spec.sample_rate, n_fft=spec.n_fft, hop_length=spec.hop_length, n_mels=spec.n_mels
        )
        self.scaling = copy.deepcopy(model.scaling)
        self.network = copy.deepcopy(model.network)
        self.clip_frames = spec.clip_frames
        self.stride_frames = Fraction(max(1.0, spec.clip_frames * (1 - grid_overlap))).limit_denominator(10_000)
        self.silence = float(spec.silence) if short == "pad" else None
        self.top_steps = None if spec.top_db is None else in_steps(spec.top_db)
        self.eval().cpu()

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the probabilities ``(batch, genre)`` of mono songs of one length ``(batch, sample)``."""
        steps = (self.log_mel(waveform) / STEP_DB).round()
        if self.top_steps is not None:
            steps = steps.maximum(steps.amax((-2, -1), keepdim=True) - self.top_steps)
        count, start = self.grid(steps.shape[-1])
        place = start[:, None] + torch.arange(self.clip_frames)
        # A tensor, as the ONNX exporter knows no remainder by a number that is not constant.
        length = torch.full((1,), steps.shape[-1])
        clips = steps[..., place.remainder(length)]
        if self.silence is not None:
            clips = clips.masked_fill(place >= length, self.silence)
        # (batch, mel, clip, frame) -> (batch * clip, mel, frame)
        clips = clips.transpose(1, 2).flatten(0, 1)
        shares = self.network(self.scaling(clips)).softmax(1)
        return cast(Tensor, shares.unflatten(0, (waveform.shape[0], count)).mean(1))

    def grid(self, length_frames: int) -> tuple[int, Tensor]:
        """Return the number of clips of `genreclf.data.clips.grid_clips` and their first frames ``(clip,)``.

        A song of one clip gets it twice, which leaves the mean as it is: torch.export would fix a size of 1.
        """
        room = cast(int, torch.sym_max(length_frames - self.clip_frames, 0))
        stride = self.stride_frames
        gaps = cast(int, torch.sym_max((room * stride.denominator + stride.numerator - 1) // stride.numerator, 1))
        return gaps + 1, (torch.arange(gaps + 1) * room / gaps).long()
