"""CNN14 of PANNs (Kong et al., 2020), a network that tags sounds."""

import io
from pickle import UnpicklingError
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from genreclf.audio.log_mel import mel_filters
from genreclf.errors import UserError, first_line
from genreclf.models.encoders.base import Encoder, Origin
from genreclf.models.encoders.weights import cached_weights, file_of

RATE, WINDOW, HOP, MELS = 32000, 1024, 320, 64
"""Parameters of the log-mel: sample rate in Hz, window length, hop size, number of bands (from 50 to 14,000 Hz)."""

CHANNELS = (64, 128, 256, 512, 1024, 2048)
"""Number of output channels of each block."""


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each with batch normalization and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature maps ``(batch, output, frame, mel)``."""
        return functional.relu(self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))))


class Cnn14(Encoder):
    """A tagger of sounds with six blocks of convolutions over the log-mel and a dense layer.

    The entries of `layers` are the six blocks and the dense layer. The blocks' outputs are averaged over the bands and
    pooled to the number of frames of the last block. The dense layer is computed from the whole waveform, so that its
    output is the same in all frames.

    Args:
        **origin: Arguments passed on to `Encoder`; `weights` is the published checkpoint, which is needed only until
            the converted weights are in the cache.
    """

    name = "panns_cnn14"
    sample_rate = RATE
    layers = (*(f"block{number}" for number in range(1, 7)), "embedding")
    window_s = hop_s = 10.0

    filters: Tensor
    window: Tensor

    def __init__(self, **origin: Unpack[Origin]) -> None:
        super().__init__(**origin)
        self.bn0 = nn.BatchNorm2d(MELS)
        for number, (inputs, outputs) in enumerate(zip((1, *CHANNELS), CHANNELS, strict=False), 1):
            self.add_module(f"conv_block{number}", ConvBlock(inputs, outputs))
        self.fc1 = nn.Linear(CHANNELS[-1], CHANNELS[-1])
        self.dimension = (*CHANNELS, CHANNELS[-1])
        self.register_buffer("filters", mel_filters(WINDOW, 50.0, 14000.0, MELS, RATE), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def load(self) -> None:
        """Load the pretrained weights into the network."""
        try:
            self.load_state_dict(cached_weights(self.name, self.provenance.sha256, self._read, self._convert))
        except RuntimeError as error:
            raise UserError(f"encoder.weights={self.weights} do not fit CNN14 ({error}).") from error

    def _read(self) -> bytes:
        if self.weights is None:
            raise UserError(
                "encoder=panns_cnn14 needs its weights: download Cnn14_mAP=0.431.pth from doi:10.5281/zenodo.3987831, "
                "and set encoder.weights to that file and encoder.sha256 to its hash."
            )
        return file_of(self.weights).read_bytes()

    def _convert(self, content: bytes) -> dict[str, Tensor]:
        try:
            checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            return {key: checkpoint["model"][key] for key in self.state_dict()}
        except (KeyError, TypeError, RuntimeError, UnpicklingError) as error:
            raise UserError(
                f"encoder.weights={self.weights} has no weights of CNN14, or contains code ({first_line(error)})."
            ) from error

    def log_mel(self, x: Tensor) -> Tensor:
        """Return the log-mels ``(batch, 1, frame, mel)``, in dB, of waveforms ``(batch, sample)``."""
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.stft(x.float(), WINDOW, HOP, window=self.window, return_complex=True).abs().square()
            return 10 * (spectrum.transpose(1, 2) @ self.filters).clamp(min=1e-10).log10()[:, None]

    def embed(self, x: Tensor) -> Tensor:
        """Return the outputs of the layers, ``(batch, layer, frame, dimension)``, for waveforms ``(batch, sample)``."""
        x = self.bn0(self.log_mel(x).transpose(1, 3)).transpose(1, 3)
        outputs: list[Tensor] = []
        for number in range(1, 7):
            x = self.get_submodule(f"conv_block{number}")(x)
            x = functional.avg_pool2d(x, 2) if number < 6 else x
            outputs.append(x.mean(3))
        last = outputs[-1]
        outputs.append(functional.relu(self.fc1(last.amax(2) + last.mean(2)))[:, :, None])
        frames = last.shape[2]
        return torch.stack(
            [
                functional.pad(
                    functional.adaptive_avg_pool1d(each, frames).transpose(1, 2), (0, CHANNELS[-1] - each.shape[1])
                )
                for each in outputs
            ],
            1,
        )

    def blocks(self) -> list[nn.Module]:
        """Return the blocks of convolutions, and the dense layer."""
        first, *others = (self.get_submodule(f"conv_block{number}") for number in range(1, 7))
        return [nn.ModuleList([self.bn0, first]), *others, self.fc1]
