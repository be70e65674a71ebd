"""The music taggers of Pons and Serra (2019), with the weights of their package musicnn."""

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
from genreclf.models.encoders.tensorflow import read_checkpoint
from genreclf.models.encoders.weights import cached_weights, file_of
from genreclf.models.musicnn import SideBySide

WHEEL = "musicnn-0.1.0-py3-none-any.whl"

RATE, WINDOW, HOP, MELS = 16000, 512, 256, 96
"""Of the log-mel: samples a second, of a window and of a hop, and bands."""

FRAMES = 187
"""Frames of the log-mel that are embedded at a time, 3 s."""

EPSILON = 1e-3
"""Of TensorFlow's batch normalization."""

KINDS = {
    (nn.BatchNorm1d, nn.BatchNorm2d): "batch_normalization",
    (nn.Conv1d, nn.Conv2d): "conv2d",
    (nn.Linear,): "dense",
}
"""How TensorFlow numbers layers: each kind from the input on."""

PARTS = {
    "batch_normalization": {
        **{"weight": "gamma", "bias": "beta"},
        **{"running_mean": "moving_mean", "running_var": "moving_variance"},
    },
    "conv2d": {"weight": "kernel", "bias": "bias"},
    "dense": {"weight": "kernel", "bias": "bias"},
}
"""TensorFlow's names of the tensors of a layer."""

MTT_TAGS = (
    *("guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient"),
    *("beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals"),
    *("harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo"),
    *("man", "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello"),
    *("no voice", "weird", "country", "metal", "female voice", "choral"),
)

MSD_TAGS = (
    *("rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock"),
    *("jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "Mellow"),
    *("electronica", "80s", "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient"),
    *("acoustic", "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening"),
    *("sexy", "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop", "sad"),
    *("House", "happy"),
)


class HighestMel(nn.Module):
    """``(batch, channel, mel, frame)`` to ``(batch, channel, frame)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the maximum over the mels."""
        return x.amax(2)


def _highest(layer: nn.Conv2d) -> nn.Sequential:
    """Return a layer of the front end, which keeps the number of frames."""
    frames = layer.kernel_size[1]
    around = nn.ZeroPad2d(((frames - 1) // 2, frames // 2, 0, 0))
    return nn.Sequential(around, layer, nn.ReLU(), nn.BatchNorm2d(layer.out_channels, EPSILON), HighestMel())


class MusicnnNetwork(nn.Module):
    """Filters in the shapes of timbre and rhythm, three layers over time, maximum and mean, and a dense layer.

    Unlike `genreclf.models.Musicnn`, which learned from it, it normalizes after the activation, and its temporal
    filters are applied to every mel.
    """

    layers = ("front_end", "cnn1", "cnn2", "cnn3", "pooled", "penultimate")
    dimensions = (561, 64, 64, 64, 1506, 200)

    def __init__(self) -> None:
        """Build the layers, in the order in which TensorFlow numbers them."""
        super().__init__()
        timbral = [nn.Conv2d(1, 204, (int(share * MELS), 7)) for share in (0.4, 0.7)]
        temporal = [nn.Conv2d(1, 51, (1, width)) for width in (128, 64, 32)]
        self.norm = nn.BatchNorm2d(1, EPSILON)
        self.front_end = SideBySide(*map(_highest, (*timbral, *temporal)))
        self.over_time = nn.ModuleList(
            nn.Sequential(nn.Conv1d(features, 64, 7, padding=3), nn.ReLU(), nn.BatchNorm1d(64, EPSILON))
            for features in (561, 64, 64)
        )
        self.pooled = nn.BatchNorm1d(1506, EPSILON)
        self.dense = nn.Sequential(nn.Linear(1506, 200), nn.ReLU(), nn.BatchNorm1d(200, EPSILON))
        self.tags = nn.Linear(200, 50)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the outputs ``(batch, dimension)`` of the layers, and the logits ``(batch, tag)``.

        Args:
            images: Scaled log-mels ``(batch, 1, mel, frame)``.
        """
        front = self.front_end(self.norm(images))
        first = self.over_time[0](front)
        second = first + self.over_time[1](first)
        third = second + self.over_time[2](second)
        together = torch.cat([front, first, second, third], 1)
        pooled = torch.stack([together.amax(2), together.mean(2)], 2).flatten(1)
        last = self.dense(self.pooled(pooled))
        return [*(each.mean(2) for each in (front, first, second, third)), pooled, last], self.tags(last)

    def blocks(self) -> list[nn.Module]:
        """Return the front end, the layers over time, and the dense layer."""
        return [
            nn.ModuleList([self.norm, self.front_end]),
            *self.over_time,
            nn.ModuleList([self.pooled, self.dense]),
        ]


class VGGNetwork(nn.Module):
    """Five layers of 3x3 filters."""

    layers = ("pool1", "pool2", "pool3", "pool4", "pool5")
    dimensions = (128,) * 5

    def __init__(self) -> None:
        """Build the layers, in the order in which TensorFlow numbers them."""
        super().__init__()
        self.norm = nn.BatchNorm2d(1, EPSILON)
        pools = [((1, 4), 2), *[((2, 2), 2)] * 3, ((4, 4), 4)]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(128 if place else 1, 128, 3, padding=1),
                nn.ReLU(),
                nn.BatchNorm2d(128, EPSILON),
                nn.MaxPool2d(size, stride),
            )
            for place, (size, stride) in enumerate(pools)
        )
        self.tags = nn.Linear(256, 50)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the outputs ``(batch, dimension)`` of the layers, and the logits ``(batch, tag)``.

        Args:
            images: Scaled log-mels ``(batch, 1, mel, frame)``.
        """
        x, outputs = self.norm(images), []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x.mean((2, 3)))
        return outputs, self.tags(x[:, :, 0].transpose(1, 2).flatten(1))

    def blocks(self) -> list[nn.Module]:
        """Return the stages."""
        first, *others = self.stages
        return [nn.ModuleList([self.norm, first]), *others]


class MusicTagger(Encoder):
    """A tagger of 3-second windows of music, whose layers are averaged over each window.

    Its input is ``log10(10000 x + 1)`` of the mel power ``x``, 96 bands every 16 ms.

    Args:
        architecture: ``musicnn`` or ``vgg``.
        dataset: What it was trained on: ``MTT``, MagnaTagATune, or ``MSD``, the Million Song Dataset.
        **origin: Of `Encoder`; the `weights` are the wheel of the package, or the folder that it was unpacked to, and
            by default the wheel in the working directory.
    """

    sample_rate = RATE
    window_s = ((FRAMES - 1) * HOP + WINDOW) / RATE
    hop_s = FRAMES * HOP / RATE

    def __init__(
        self, *, architecture: Literal["musicnn", "vgg"], dataset: Literal["MTT", "MSD"], **origin: Unpack[Origin]
    ) -> None:
        """Build the network."""
        super().__init__(**origin)
        if architecture not in ("musicnn", "vgg") or dataset not in ("MTT", "MSD"):
            raise ValueError("architecture is musicnn or vgg, and dataset MTT or MSD")
        self.name = f"{architecture}_{dataset.lower()}"
        self.folder = f"musicnn/{dataset}_{architecture}"
        self.tags = MTT_TAGS if dataset == "MTT" else MSD_TAGS
        self.network = MusicnnNetwork() if architecture == "musicnn" else VGGNetwork()
        self.layers, self.dimension = self.network.layers, self.network.dimensions

    def load(self) -> None:
        """Put the pretrained weights into the network.

        Raises:
            UserError: They are not there, or are other ones; the message names the ways out.
        """
        read = partial(self._read, ".data-00000-of-00001")
        theirs = cached_weights(self.name, self.provenance.sha256, read, self._tensors)
        self.network.load_state_dict(_by_our_names(theirs, self.network))

    def _read(self, part: str) -> bytes:
        """Return the content of a file of the checkpoint."""
        if self.weights is None and not Path(WHEEL).is_file():
            raise UserError(
                f"encoder={self.name} needs the weights of the package musicnn 0.1.0: python -m pip download --no-deps "
                f"musicnn==0.1.0, then the same command beside the wheel or with encoder.weights={WHEEL}."
            )
        source, name = file_of(self.weights or WHEEL), f"{self.folder}/{part}"
        try:
            if source.is_dir():
                return (source / name).read_bytes()
            with zipfile.ZipFile(source) as wheel:
                return wheel.read(name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"encoder.weights={source} holds no weights of {self.name} ({error}).") from error

    def _tensors(self, data: bytes) -> dict[str, Tensor]:
        """Return the weights of the checkpoint, without what its optimizer kept."""
        try:
            found = read_checkpoint(self._read(".index"), data)
        except ValueError as error:
            raise UserError(f"The weights of {self.name} cannot be read ({error}).") from error
        return {name: values for name, values in found.items() if "Adam" not in name}

    @cached_property
    def _log_mels(self) -> dict[torch.device, LogMel]:
        """The log-mel on each device that was used."""
        return {}

    def images(self, x: Tensor) -> Tensor:
        """Return the network's input, ``(batch * window, 1, mel, frame)``, of waveforms ``(batch, sample)``."""
        window, hop = round(self.window_s * RATE), round(self.hop_s * RATE)
        x = functional.pad(x, (0, max(0, window - x.shape[1])))
        if x.device not in self._log_mels:
            settings = {"sample_rate": RATE, "n_fft": WINDOW, "hop_length": HOP, "n_mels": MELS}
            with torch.device("cpu"):
                self._log_mels[x.device] = LogMel(**settings).to(x.device)
        with torch.autocast(x.device.type, enabled=False):
            frames = x.unfold(1, window, hop).flatten(0, 1).float().unfold(1, WINDOW, HOP)
            level_db = self._log_mels[x.device].of_frames(frames)
            return torch.log10(1 + 10000 * torch.pow(10.0, level_db / 10))[:, None]

    def embed(self, x: Tensor) -> Tensor:
        """Return the outputs of the layers, a frame for each 3 s: ``(batch, layer, frame, dimension)``.

        Args:
            x: Waveforms ``(batch, sample)``; what is left after the last whole window does not count.
        """
        outputs, _ = self.network(self.images(x))
        widest = max(self.dimensions)
        stacked = torch.stack([functional.pad(each, (0, widest - each.shape[1])) for each in outputs], 1)
        return stacked.view(len(x), -1, *stacked.shape[1:]).transpose(1, 2)

    def tag(self, x: Tensor) -> Tensor:
        """Return the probability of each tag in each 3 s of waveforms ``(batch, sample)``: ``(batch, frame, tag)``."""
        _, logits = self.network(self.images(x))
        return torch.sigmoid(logits).view(len(x), -1, len(self.tags))

    def blocks(self) -> list[nn.Module]:
        """Return the parts of the network from input to output."""
        return self.network.blocks()


def _by_our_names(theirs: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network, by our names, of those of a checkpoint, by TensorFlow's."""
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
    """Return TensorFlow's name of the layer of a kind with that number."""
    if kind == "conv2d" and isinstance(network, VGGNetwork):
        return f"{number + 1}CNN"
    return f"{kind}_{number}" if number else kind
