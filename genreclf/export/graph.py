"""Modules that map waveforms to genre probabilities, made only of operations that can be exported."""

import copy
from fractions import Fraction
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from genreclf.audio.log_mel import STEP_DB, WAVEFORM_SAMPLES, FeatureSpec, LogMel, in_steps
from genreclf.audio.scaling import FULL_SCALE
from genreclf.data.clips import Short
from genreclf.errors import UserError
from genreclf.models import FineTune, GenreClassifier
from genreclf.models.encoders.base import Encoder
from genreclf.models.encoders.store import EmbeddingExtractor
from genreclf.models.probe import ProbeNetwork


class LogMelSteps(nn.Module):
    """Converts waveforms to log-mels as the store keeps them: in steps of 1/256 dB, clipped below the peak if needed.

    Args:
        spec: Parameters of the spectrograms, including how far below the peak they are clipped, if at all.

    Raises:
        UserError: The model was trained on images, which an exported file cannot draw.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        if spec.rendering is not None or spec.log_mel is None:
            raise UserError(
                "The model was trained on pictures, and an exported file cannot draw them: "
                "export a run trained on audio, or use predict."
            )
        self.log_mel = LogMel(**spec.log_mel)
        self.top_steps = None if spec.top_db is None else in_steps(spec.top_db)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return quantized log-mel spectrograms ``(batch, mel, frame)`` of waveforms ``(batch, sample)``."""
        steps: Tensor = (self.log_mel(waveform) / STEP_DB).round()
        if self.top_steps is not None:
            steps = steps.maximum(steps.amax((-2, -1), keepdim=True) - self.top_steps)
        return steps


class StoredColumns(nn.Module):
    """Converts waveforms to columns of `WAVEFORM_SAMPLES` 16-bit samples, as the store keeps them."""

    def forward(self, waveform: Tensor) -> Tensor:
        """Return columns ``(batch, sample of the column, column)`` of waveforms ``(batch, sample)``."""
        columns = (waveform.shape[1] + WAVEFORM_SAMPLES - 1) // WAVEFORM_SAMPLES
        filled = functional.pad(waveform, (0, columns * WAVEFORM_SAMPLES - waveform.shape[1]))
        values = (filled * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1)
        return values.reshape(values.shape[0], columns, WAVEFORM_SAMPLES).transpose(1, 2)


class StoredEmbeddings(nn.Module):
    """Converts waveforms to embeddings as the store keeps them: float16 means over the encoder's frames per window.

    Args:
        extractor: Extractor that computes the embeddings outside an export; its encoder is copied.
        spec: Parameters of the embeddings.

    Raises:
        UserError: The encoder computes its input outside PyTorch.
    """

    def __init__(self, extractor: EmbeddingExtractor, spec: FeatureSpec) -> None:
        super().__init__()
        check_exports(extractor.encoder)
        self.source = spec.source
        self.steps = None if spec.source is None else LogMelSteps(spec.source)
        self.encoder, self.window, self.hop = copy.deepcopy(extractor.make_ready()), extractor.window, extractor.hop

    def forward(self, waveform: Tensor) -> Tensor:
        """Return embeddings ``(batch, value, window)`` of waveforms ``(batch, sample)``."""
        signal = waveform
        if self.steps is not None and self.source is not None:
            signal = self.steps(waveform) * self.source.step_db + self.source.zero_db
        windows = self.windows(signal).movedim(-2, 1)
        layers = self.encoder.embed(windows.flatten(0, 1)).mean(2)
        each = zip(layers.unbind(1), self.encoder.dimensions, strict=True)
        limit = torch.finfo(torch.float16).max
        values = torch.cat([layer[:, :size] for layer, size in each], 1).clamp(-limit, limit).half().float()
        return values.reshape(windows.shape[0], windows.shape[1], values.shape[1]).transpose(1, 2)

    def windows(self, signal: Tensor) -> Tensor:
        """Return the windows ``(..., window, sample)`` of a signal ``(..., sample)``, repeated if it is too short.

        Encoders that fill up short signals themselves do so with zeros.

        A signal of a single window yields this window twice, as a song of one clip does in `WaveformClassifier.grid`.
        """
        last = cast(int, torch.sym_max((signal.shape[-1] - self.window) // self.hop, 0))
        number = torch.arange(cast(int, torch.sym_max(last, 1)) + 1).minimum(torch.full((1,), last))
        place = number[:, None] * self.hop + torch.arange(self.window)
        length = torch.full((1,), signal.shape[-1])
        windows = signal[..., place.remainder(length)]
        return torch.where(place < length, windows, 0.0) if self.encoder.fills_up else windows


def check_exports(encoder: Encoder) -> None:
    """Check that an encoder can be part of an exported program.

    Raises:
        UserError: The encoder computes its input outside PyTorch.
    """
    if not encoder.is_torch:
        raise UserError(
            f"encoder={encoder.name} computes its input outside PyTorch, so it cannot be exported: use predict."
        )


class WaveformClassifier(nn.Module):
    """Classifies songs as `genreclf.inference` does: features, grid of clips, network, mean over the clips.

    Each song is treated as one segment. All clips of all songs go through the network at once, so memory use grows
    with the length of the songs.

    Args:
        model: Model trained on audio; its network is copied.
        grid_overlap: Minimum overlap of neighboring clips, as a fraction of a clip.
        short: How songs shorter than a clip are filled.
        extractor: Extractor of the embeddings, required if the model takes embeddings.

    Raises:
        UserError: The model was trained on images, or has an encoder that cannot be exported.
    """

    def __init__(
        self,
        *,
        model: GenreClassifier,
        grid_overlap: float = 0.5,
        short: Short = "pad",
        extractor: EmbeddingExtractor | None = None,
    ) -> None:
        super().__init__()
        spec = model.spec
        self.features: nn.Module
        if spec.kind == "embedding":
            assert extractor is not None
            self.features = StoredEmbeddings(extractor, spec)
        elif spec.kind == "waveform":
            if isinstance(model, FineTune):
                check_exports(model.body.encoder)
            self.features = StoredColumns()
        else:
            self.features = LogMelSteps(spec)
        self.scaling = copy.deepcopy(model.scaling)
        self.network = copy.deepcopy(model.network)
        if isinstance(self.network, ProbeNetwork):
            self.network.keep_chosen()  # The choice is stored in a tensor, and an export cannot branch on it.
        self.clip_frames = spec.clip_frames
        self.stride_frames = Fraction(max(1.0, spec.clip_frames * (1 - grid_overlap))).limit_denominator(10_000)
        self.silence = float(spec.silence) if short == "pad" else None
        self.eval().cpu()

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the probabilities ``(batch, genre)`` of mono songs of equal length ``(batch, sample)``."""
        steps = self.features(waveform)
        count, start = self.grid(steps.shape[-1])
        place = start[:, None] + torch.arange(self.clip_frames)
        # A tensor, since the ONNX exporter does not support the remainder by a number that is not constant.
        length = torch.full((1,), steps.shape[-1])
        clips = steps[..., place.remainder(length)]
        if self.silence is not None:
            clips = clips.masked_fill(place >= length, self.silence)
        # (batch, mel, clip, frame) -> (batch * clip, mel, frame)
        clips = clips.transpose(1, 2).flatten(0, 1)
        shares = self.network(self.scaling(clips)).softmax(1)
        return cast(Tensor, shares.unflatten(0, (waveform.shape[0], count)).mean(1))

    def grid(self, length_frames: int) -> tuple[int, Tensor]:
        """Return the number of clips in `genreclf.data.clips.grid_clips`, and their first frames ``(clip,)``.

        A song of a single clip yields this clip twice, since torch.export would make a size of 1 a constant. This
        does not change the mean.
        """
        room = cast(int, torch.sym_max(length_frames - self.clip_frames, 0))
        stride = self.stride_frames
        gaps = cast(int, torch.sym_max((room * stride.denominator + stride.numerator - 1) // stride.numerator, 1))
        return gaps + 1, (torch.arange(gaps + 1) * room / gaps).long()
