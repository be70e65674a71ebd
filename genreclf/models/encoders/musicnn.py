"""The music taggers of Pons and Serra (2019), with weights from their package musicnn."""

import zipfile
from collections import Counter
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from genreclf.audio.log_mel import LogMel
from genreclf.errors import UserError
from genreclf.models.encoders.base import Encoder, Origin
from genreclf.models.encoders.musicnn_networks import MELS, MusicnnNetwork, VGGNetwork
from genreclf.models.encoders.tensorflow import read_checkpoint
from genreclf.models.encoders.weights import cached_weights, file_of

WHEEL = "musicnn-0.1.0-py3-none-any.whl"

RATE, WINDOW, HOP = 16000, 512, 256
"""Parameters of the log-mel: sample rate in Hz, window length and hop size in samples."""

FRAMES = 187
"""Number of log-mel frames that are embedded at a time, 3 s."""

KINDS = {
    (nn.BatchNorm1d, nn.BatchNorm2d): "batch_normalization",
    (nn.Conv1d, nn.Conv2d): "conv2d",
    (nn.Linear,): "dense",
}
"""TensorFlow's names of kinds of layers; layers of a kind are numbered from input to output."""

PARTS = {
    "batch_normalization": {
        **{"weight": "gamma", "bias": "beta"},
        **{"running_mean": "moving_mean", "running_var": "moving_variance"},
    },
    "conv2d": {"weight": "kernel", "bias": "bias"},
    "dense": {"weight": "kernel", "bias": "bias"},
}
"""TensorFlow's names of the tensors of each kind of layer, by PyTorch's names."""


class MusicTagger(Encoder):
    """A music tagger for windows of 3 seconds, with the outputs of its layers averaged over each window.

    The network's input is ``log10(10000 x + 1)`` of the mel power ``x``, with 96 bands every 16 ms.

    Args:
        architecture: Architecture of the network, ``musicnn`` or ``vgg``.
        dataset: Dataset that the network was trained on, ``MTT`` (MagnaTagATune) or ``MSD`` (Million Song Dataset).
        **origin: Arguments passed on to `Encoder`; `weights` is the wheel of the package or the folder that the wheel
            was unpacked to, by default the wheel in the working directory.

    Raises:
        ValueError: `architecture` or `dataset` has another value.
    """

    sample_rate = RATE
    fills_up = True
    window_s = ((FRAMES - 1) * HOP + WINDOW) / RATE
    hop_s = FRAMES * HOP / RATE

    def __init__(
        self, *, architecture: Literal["musicnn", "vgg"], dataset: Literal["MTT", "MSD"], **origin: Unpack[Origin]
    ) -> None:
        super().__init__(**origin)
        if architecture not in ("musicnn", "vgg") or dataset not in ("MTT", "MSD"):
            raise ValueError("architecture must be musicnn or vgg, and dataset MTT or MSD")
        self.name = f"{architecture}_{dataset.lower()}"
        self.folder = f"musicnn/{dataset}_{architecture}"
        self.network = MusicnnNetwork() if architecture == "musicnn" else VGGNetwork()
        self.layers, self.dimension = self.network.layers, self.network.dimensions

    def load(self) -> None:
        """Load the pretrained weights into the network."""
        read = partial(self._read, ".data-00000-of-00001")
        theirs = cached_weights(self.name, self.provenance.sha256, read, self._tensors)
        try:
            self.network.load_state_dict(_by_our_names(theirs, self.network))
        except (KeyError, RuntimeError) as error:
            raise UserError(f"The weights of {self.name} do not fit its network ({error}).") from error

    def _read(self, part: str) -> bytes:
        """Return the content of one file of the checkpoint."""
        if self.weights is None and not Path(WHEEL).is_file():
            raise UserError(
                f"encoder={self.name} needs the weights in the package musicnn 0.1.0: python -m pip download --no-deps "
                f"musicnn==0.1.0, then repeat the command in that folder or with encoder.weights={WHEEL}."
            )
        source, name = file_of(self.weights or WHEEL), f"{self.folder}/{part}"
        try:
            if source.is_dir():
                return (source / name).read_bytes()
            with zipfile.ZipFile(source) as wheel:
                return wheel.read(name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"encoder.weights={source} has no weights of {self.name} ({error}).") from error

    def _tensors(self, data: bytes) -> dict[str, Tensor]:
        """Return the weights in the checkpoint, without the state of the optimizer."""
        try:
            found = read_checkpoint(self._read(".index"), data)
        except ValueError as error:
            raise UserError(f"The weights of {self.name} cannot be read ({error}).") from error
        return {name: values for name, values in found.items() if "Adam" not in name}

    @cached_property
    def _log_mels(self) -> dict[torch.device, LogMel]:
        """Modules that compute the log-mel, for each device that has been used."""
        return {}

    def images(self, x: Tensor) -> Tensor:
        """Return the network's input, ``(batch * window, 1, mel, frame)``, for waveforms ``(batch, sample)``."""
        window, hop = round(self.window_s * RATE), round(self.hop_s * RATE)
        x = functional.pad(x, (0, max(0, window - x.shape[1])))
        if x.device not in self._log_mels:
            settings = {"sample_rate": RATE, "n_fft": WINDOW, "hop_length": HOP, "n_mels": MELS}
            with torch.device("cpu"):
                self._log_mels[x.device] = LogMel(**settings).to(x.device)
        with torch.autocast(x.device.type, enabled=False):
            frames = x.unfold(1, window, hop).flatten(0, 1).unfold(1, WINDOW, HOP)
            level_db = self._log_mels[x.device].of_frames(frames).to(x.dtype)
            return torch.log10(1 + 10000 * torch.pow(10.0, level_db / 10))[:, None]

    def embed(self, x: Tensor) -> Tensor:
        """Return the outputs of the layers, one frame for each 3 s, as ``(batch, layer, frame, dimension)``.

        Args:
            x: Waveforms ``(batch, sample)``; samples after the last whole window are ignored.
        """
        outputs, _ = self.network(self.images(x))
        widest = max(self.dimensions)
        stacked = torch.stack([functional.pad(each, (0, widest - each.shape[1])) for each in outputs], 1)
        return stacked.view(x.shape[0], -1, *stacked.shape[1:]).transpose(1, 2)

    def blocks(self) -> list[nn.Module]:
        """Return the parts of the network from input to output."""
        return self.network.blocks()


def _by_our_names(theirs: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Convert the weights of a checkpoint, with TensorFlow's names, to the state dictionary of a network."""
    state: dict[str, Tensor] = {}
    counts: Counter[str] = Counter()
    for name, module in network.named_modules():
        kind = next((kind for layers, kind in KINDS.items() if isinstance(module, layers)), None)
        if kind is None:
            continue
        found = _name_of(kind, counts[kind], network)
        counts[kind] += 1
        for ours, key in PARTS[kind].items():
            values = theirs[f"{found}/{key}"]
            if key == "kernel":  # (time, mel, in, out) to (out, in, mel, time); (in, out) to (out, in)
                values = values.permute(*reversed(range(values.ndim))).reshape(module.get_parameter("weight").shape)
            state[f"{name}.{ours}"] = values
        if kind == "batch_normalization":
            state[f"{name}.num_batches_tracked"] = torch.tensor(0)
    return state


def _name_of(kind: str, number: int, network: nn.Module) -> str:
    """Return TensorFlow's name of a layer, given its kind and its number among the layers of that kind."""
    if kind == "conv2d" and isinstance(network, VGGNetwork):
        return f"{number + 1}CNN"
    return f"{kind}_{number}" if number else kind
