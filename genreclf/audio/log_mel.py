"""Compute log-mel spectrograms, and describe the spectrograms of a dataset."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genreclf.errors import UserError, first_line

STEP_DB = 1 / 256
"""Step in dB of quantized log-mel spectrograms (``log_mel_q``, int16); the rounding error is half a step, 0.002 dB."""

FLOOR_DB = -100.0
"""Lowest level of a spectrogram in dB relative to 1, which is that of the power 1e-10."""

PICTURE_RANGE_DB = 80.0
"""Range in dB of the 256 values of an image."""

WAVEFORM_SAMPLES = 160
"""Number of samples of a waveform that are stored and cut as one column."""

TOP_DB = 80.0
"""Level in dB below a track's peak at which `librosa.power_to_db` clips by default."""

LIBROSA_PEAK80 = {"sample_rate": 22050, "n_fft": 2048, "hop_length": 512}
"""Parameters of images of librosa's log-mel (``power_to_db`` with ref=max and top_db=80) rendered by matplotlib: black
at the track's lowest level, white at its peak, with the frames averaged over the area of each column."""

MELS_AT_ONCE = 16
"""Number of mel bands that `LogMel` computes in one matrix product; 16 is faster than 8, 32, 64 and all 128."""


@dataclass(frozen=True)
class FeatureSpec:
    """Parameters of a dataset's spectrograms; a model is built from them, and its checkpoint stores them."""

    n_mels: int
    """Number of rows of a spectrogram."""
    clip_frames: int
    """Number of columns of a clip."""
    frames_per_second: float
    """Number of columns per second of music."""
    step_db: float
    """Step of the quantized values (``log_mel_q``), in dB."""
    zero_db: float
    """Level of the quantized value 0 in dB, relative to 1 for audio and to the track's peak for images."""
    silence: int
    """Quantized value of silence, which pads short tracks."""
    sample_rate: int | None = None
    """Sample rate in Hz; None for images, as are `n_fft` and `hop_length`."""
    n_fft: int | None = None
    """Window length in samples."""
    hop_length: int | None = None
    """Number of samples from one column to the next."""
    rendering: str | None = None
    """How images were rendered from audio, one of `genreclf.datasets.images.RENDERINGS`; None if unknown."""
    top_db: float | None = None
    """Level in dB below a track's peak at which its spectrogram is clipped; None for no clipping."""
    kind: str = "log_mel"
    """``log_mel``; ``waveform``, with `WAVEFORM_SAMPLES` samples in each column; or ``embedding``, with the values of
    all layers of an encoder in each column. Levels in dB have no meaning for waveforms and embeddings."""
    layers: tuple[tuple[str, int], ...] | None = None
    """Name and number of values of each layer of the embeddings; None for other kinds."""
    source: "FeatureSpec | None" = None
    """Parameters of the log-mel spectrograms from which embeddings are computed, whose `clip_frames` is not used; None
    if embeddings are computed from waveforms."""
    f_min: float = 0.0
    """Lowest frequency of the mel bands, in Hz."""
    f_max: float | None = None
    """Highest frequency of the mel bands, in Hz; None for half the sample rate."""

    @classmethod
    def of_waveform(cls, *, sample_rate: int, clip_seconds: float) -> "FeatureSpec":
        """Return the parameters of 16-bit waveforms, cut into clips of `clip_seconds`."""
        rate = sample_rate / WAVEFORM_SAMPLES
        return cls._of(clip_seconds, rate, n_mels=WAVEFORM_SAMPLES, sample_rate=sample_rate, kind="waveform")

    @classmethod
    def of_embeddings(
        cls,
        *,
        layers: Mapping[str, int],
        frames_per_second: float,
        sample_rate: int | None,
        clip_seconds: float,
        source: "FeatureSpec | None" = None,
    ) -> "FeatureSpec":
        """Return the parameters of the embeddings of an encoder, cut into clips of `clip_seconds`.

        Args:
            layers: Number of values of each layer, by name.
            frames_per_second: Number of embeddings per second.
            sample_rate: Sample rate in Hz of the waveforms that the encoder takes; None if it takes spectrograms.
            clip_seconds: Length of a clip.
            source: Parameters of the spectrograms that the encoder takes; None if it takes waveforms.
        """
        values, sizes = sum(layers.values()), tuple(layers.items())
        of_source = {"sample_rate": sample_rate, "source": source and replace(source, clip_frames=1)}
        return cls._of(clip_seconds, frames_per_second, n_mels=values, kind="embedding", layers=sizes, **of_source)

    @classmethod
    def of_audio(
        cls,
        *,
        sample_rate: int,
        n_fft: int,
        hop_length: int,
        n_mels: int,
        clip_seconds: float,
        f_min: float = 0.0,
        f_max: float | None = None,
        top_db: float | None = None,
    ) -> "FeatureSpec":
        """Return the parameters of the spectrograms that `LogMel` computes, cut into clips of `clip_seconds`."""
        computed = {"sample_rate": sample_rate, "n_fft": n_fft, "hop_length": hop_length, "top_db": top_db}
        computed |= {"f_min": f_min, "f_max": f_max}
        quantized = {"step_db": STEP_DB, "silence": in_steps(FLOOR_DB)}
        return cls._of(clip_seconds, sample_rate / hop_length, n_mels=n_mels, **computed, **quantized)

    @classmethod
    def of_pictures(
        cls, *, n_mels: int, frames_per_second: float, clip_seconds: float, rendering: str | None = None
    ) -> "FeatureSpec":
        """Return the parameters of 8-bit images of the 80 dB below a track's peak, cut into clips of `clip_seconds`."""
        levels = {"step_db": PICTURE_RANGE_DB / 255, "zero_db": -PICTURE_RANGE_DB}
        return cls._of(clip_seconds, frames_per_second, n_mels=n_mels, rendering=rendering, **levels)

    @classmethod
    def _of(cls, clip_seconds: float, frames_per_second: float, **others: Any) -> "FeatureSpec":
        frames = max(1, round(clip_seconds * frames_per_second))
        others = {"step_db": 1.0, "zero_db": 0.0, "silence": 0, **others}
        return cls(clip_frames=frames, frames_per_second=frames_per_second, **others)

    @classmethod
    def from_plain(cls, values: "FeatureSpec | Mapping[str, Any]") -> "FeatureSpec":
        """Return the parameters that `plain` returned as a `FeatureSpec`; a `FeatureSpec` is returned unchanged."""
        if isinstance(values, FeatureSpec):
            return values
        layers, source = values.get("layers"), values.get("source")
        sizes = None if layers is None else tuple((name, size) for name, size in layers)
        return cls(**{**values, "layers": sizes, "source": None if source is None else cls.from_plain(source)})

    def differing(self, other: "FeatureSpec") -> str:
        """Return the names of the parameters that differ from those of `other`, separated by commas; "" if none do."""
        return ", ".join(name for name, value in vars(self).items() if value != vars(other)[name])

    def plain(self) -> dict[str, Any]:
        """Return the parameters as a dictionary, the form in which checkpoints store them.

        `source`, `f_min` and `f_max` are omitted if they have their default values.
        """
        default = {field.name: field.default for field in fields(self) if field.name in ("source", "f_min", "f_max")}
        values = {**asdict(self), "source": None if self.source is None else self.source.plain()}
        return {key: value for key, value in values.items() if key not in default or value != default[key]}

    @property
    def log_mel(self) -> dict[str, Any] | None:
        """Arguments of the `LogMel` that computes the spectrograms; None if not all of them are known."""
        given = {"sample_rate": self.sample_rate, "n_fft": self.n_fft, "hop_length": self.hop_length}
        window = given if self.rendering is None else LIBROSA_PEAK80
        if self.kind != "log_mel" or None in window.values():
            return None
        return {**window, "n_mels": self.n_mels, "f_min": self.f_min, "f_max": self.f_max}

    @property
    def source_rate(self) -> int | None:
        """Sample rate in Hz of the audio that the spectrograms were computed from; None if it is not known."""
        return self.sample_rate or (None if self.rendering is None else LIBROSA_PEAK80["sample_rate"])

    @property
    def range_hz(self) -> tuple[float, float] | None:
        """Lowest and highest frequency of the mel bands, in Hz; None if there are no mel bands of known frequency."""
        if self.kind != "log_mel" or self.source_rate is None:
            return None
        return self.f_min, self.source_rate / 2 if self.f_max is None else self.f_max

    @property
    def centers_hz(self) -> Tensor | None:
        """Center frequency in Hz of each mel band, shape ``(mel,)``; None if there are no bands of known frequency."""
        if self.range_hz is None:
            return None
        import librosa

        edges_hz = librosa.mel_frequencies(self.n_mels + 2, fmin=self.range_hz[0], fmax=self.range_hz[1])
        return torch.from_numpy(edges_hz[1:-1]).float()


def mel_filters(n_fft: int, f_min: float, f_max: float, n_mels: int, sample_rate: int) -> Tensor:
    """Return the mel filter bank of Slaney with filters of equal area, shape ``(bin, mel)``; it is librosa's default.

    If the sample rate or the window length is odd, librosa computes it: torchaudio rounds the frequencies of the bins.
    The filters are on the CPU, whatever PyTorch's default device is: they cannot be computed on the meta device.

    Raises:
        UserError: The installed torchaudio does not match torch.
    """
    try:
        with torch.device("cpu"):  # torchaudio has constants, which would have no values on the meta device.
            from torchaudio.functional import melscale_fbanks
    except OSError as error:
        raise UserError(
            f"torchaudio cannot be loaded, because its build does not match torch {torch.__version__} "
            f"({first_line(error)}): reinstall both from the same index."
        ) from error
    if is_odd(n_fft, sample_rate):
        import librosa

        weights = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=f_min, fmax=f_max)
        return torch.from_numpy(weights.T.copy())
    bins = n_fft // 2 + 1
    with torch.device("cpu"):
        filters: Tensor = melscale_fbanks(bins, f_min, f_max, n_mels, sample_rate, norm="slaney", mel_scale="slaney")
    return filters


def is_odd(n_fft: int, sample_rate: int) -> bool:
    """Return whether the window length or the sample rate is odd, for which `mel_filters` uses librosa."""
    return n_fft % 2 == 1 or sample_rate % 2 == 1


class LogMel(nn.Module):
    """Log-mel spectrogram in dB relative to 1, equal to librosa's within 0.01 dB.

    The result is that of ``librosa.power_to_db(librosa.feature.melspectrogram(...), ref=1, amin=1e-10, top_db=None)``:
    Hann window, centered frames with zero padding, power, Slaney's mel scale and normalization (Slaney, Auditory
    Toolbox, 1998). As in librosa, the Fourier transform is computed in float64: in float32, rounding errors mask levels
    far below the loudest bin of a frame.

    Args:
        sample_rate: Sample rate of the waveform in Hz.
        n_fft: Window length in samples.
        hop_length: Number of samples from one frame to the next.
        n_mels: Number of mel bands.
        f_min: Lowest frequency of the mel bands, in Hz.
        f_max: Highest frequency of the mel bands, in Hz; half the sample rate by default.
    """

    window: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        n_fft: int,
        hop_length: int,
        n_mels: int,
        f_min: float = 0.0,
        f_max: float | None = None,
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.register_buffer("window", torch.hann_window(n_fft, dtype=torch.float64), persistent=False)
        f_max = sample_rate / 2 if f_max is None else f_max
        bank = mel_filters(n_fft, f_min, f_max, n_mels, sample_rate)
        # A mel band covers neighboring bins only, so a few bands need only a narrow part of the spectrum.
        self.spans: list[tuple[int, int]] = []
        for first in range(0, n_mels, MELS_AT_ONCE):
            part = bank[:, first : first + MELS_AT_ONCE]
            bins = part.any(1).nonzero()[:, 0].tolist() or [0]
            span = slice(bins[0], bins[-1] + 1)
            # Each weight is repeated for the squares of the real and of the imaginary part.
            self.register_buffer(f"weights_{len(self.spans)}", part[span].repeat_interleave(2, 0), persistent=False)
            self.spans.append((2 * span.start, 2 * span.stop))

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the spectrogram, shape ``(..., mel, frame)`` in dB, of a waveform ``(..., sample)``."""
        return self.of_frames(self.frames(waveform))

    def frames(self, waveform: Tensor) -> Tensor:
        """Return the overlapping frames ``(..., frame, sample)`` of a waveform ``(..., sample)``, as a view."""
        return functional.pad(waveform, (self.n_fft // 2, self.n_fft // 2)).unfold(-1, self.n_fft, self.hop_length)

    def of_frames(self, frames: Tensor) -> Tensor:
        """Return the spectrogram, shape ``(..., mel, frame)`` in dB, of `frames` ``(..., frame, sample)``."""
        spectrum = torch.fft.rfft(frames * self.window)
        squares = torch.view_as_real(spectrum).flatten(-2).float().square_()
        weights = (self.get_buffer(f"weights_{part}") for part in range(len(self.spans)))
        power = torch.cat([squares[..., a:b] @ weight for (a, b), weight in zip(self.spans, weights, strict=True)], -1)
        return power.clamp_(min=1e-10).log10_().mul_(10.0).transpose(-2, -1)


def to_steps(level_db: Tensor) -> Tensor:
    """Quantize levels in dB to int16 in steps of 1/256 dB (``log_mel_q``), in which spectrograms are stored."""
    limits = torch.iinfo(torch.int16)
    return (level_db / STEP_DB).round_().clamp_(limits.min, limits.max).to(torch.int16)


def in_steps(level_db: float) -> int:
    """Return a level in dB as a whole number of steps of 1/256 dB."""
    return round(level_db / STEP_DB)
