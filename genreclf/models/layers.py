"""Layers that several architectures share, and networks that separate an embedding from a classifier."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from genreclf.audio.log_mel import FeatureSpec
from genreclf.errors import UserError
from genreclf.models.pooling import MaxPool2d
from genreclf.values import shown


class Embeds(Protocol):
    """A network with separate embedding and classifier: ``network(x)`` is ``network.classifier(network.embed(x))``."""

    @property
    def classifier(self) -> Callable[[Tensor], Tensor]:
        """Map embeddings ``(batch, dimension)`` to logits ``(batch, genre)``."""

    def embed(self, x: Tensor) -> Tensor:
        """Return the embeddings ``(batch, dimension)`` of spectrograms ``(batch, mel, frame)``."""


class Network(nn.Sequential):
    """Sequence of named stages that maps scaled spectrograms ``(batch, mel, frame)`` to logits ``(batch, genre)``.

    The last stage, `classifier`, computes the logits from the embedding of a clip, which the other stages compute.

    Raises:
        ValueError: The last stage is not named ``classifier``.
    """

    classifier: nn.Module

    def __init__(self, **stages: nn.Module) -> None:
        if list(stages)[-1:] != ["classifier"]:
            raise ValueError(f"the last stage must be the classifier, not one of {', '.join(stages)}")
        super().__init__(OrderedDict(stages))

    def embed(self, x: Tensor) -> Tensor:
        """Return the embeddings ``(batch, dimension)`` of spectrograms ``(batch, mel, frame)``."""
        for stage in list(self)[:-1]:
            x = stage(x)
        return x


def as_embedding(network: nn.Module) -> Embeds | None:
    """Return `network` as a network with separate embedding and classifier; layers are shared, not copied.

    Args:
        network: A network with methods ``embed`` and ``classifier``, or a `torch.nn.Sequential` that ends in a linear
            layer, in which all layers before the last one compute the embedding.

    Returns:
        A network with separate embedding and classifier, or None if `network` is of another kind.
    """
    if callable(getattr(network, "embed", None)) and callable(getattr(network, "classifier", None)):
        return cast(Embeds, network)
    stages = _stages(network)
    if len(stages) < 2 or not isinstance(stages[-1], nn.Linear):
        return None
    return Network(**{f"stage{i}": stage for i, stage in enumerate(stages[:-1])}, classifier=stages[-1])


def _stages(network: nn.Module) -> list[nn.Module]:
    """Return the layers of a possibly nested `torch.nn.Sequential`, or the network itself if it is not one."""
    if not isinstance(network, nn.Sequential) or type(network).forward is not nn.Sequential.forward:
        return [network]
    return [stage for part in network for stage in _stages(part)]


class AsImage(nn.Module):
    """Turns spectrograms ``(batch, mel, frame)`` into images of one channel, ``(batch, 1, mel, frame)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Add a channel dimension."""
        return x.unsqueeze(1)


class FitTo(nn.Module):
    """Resizes spectrograms ``(batch, mel, frame)`` to a fixed size by bilinear interpolation.

    Args:
        mels: Number of mel bands to resize to.
        frames: Number of frames to resize to.
    """

    def __init__(self, *, mels: int, frames: int) -> None:
        super().__init__()
        self.size = (mels, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Return the spectrograms ``(batch, mels, frames)``; input of this size is returned unchanged."""
        if x.shape[1:] == self.size:
            return x
        return functional.interpolate(x[:, None], self.size, mode="bilinear", align_corners=False)[:, 0]


def outputs_of(layer: Callable[[Tensor], tuple[Tensor, Any]], x: Tensor) -> Tensor:
    """Return the outputs ``(batch, step, unit)`` of a recurrent layer, computed in float32 if autocast is on for a GPU.

    With autocast to bfloat16, cuDNN would compute the layer in float16, in which most of the layer's gradients are too
    small to be represented.

    Args:
        layer: Recurrent layer, which returns its outputs and its last state.
        x: Input of the layer, ``(batch, step, feature)``.
    """
    kind = x.device.type
    if kind in ("cpu", "meta") or not torch.is_autocast_enabled(kind):
        return layer(x)[0]
    with torch.autocast(kind, enabled=False):
        return layer(x.float())[0]


class OutputsOf(nn.Module):
    """Wraps a batch-first GRU or LSTM so that only the outputs are returned, without the last state."""

    def __init__(self, layer: nn.GRU | nn.LSTM) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs ``(batch, step, unit)`` for the input ``(batch, step, feature)``."""
        return outputs_of(self.layer, x)


def draw_glorot(module: nn.Module) -> None:
    """Initialize the weights, but not the biases, of convolutions and linear layers as in Glorot and Bengio (2010)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)


def draw_as_keras(module: nn.Module) -> None:
    """Initialize all convolutions, linear layers and LSTMs as Keras does by default.

    Kernels are initialized as in Glorot and Bengio (2010), recurrent weights are orthogonal, and biases are 0, except
    for those of the forget gates, which are 1. PyTorch's LSTM adds two biases where Keras has one; the second is 0.
    """
    draw_glorot(module)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LSTM):
            for name, parameter in layer.named_parameters():
                if name.startswith("weight_ih"):
                    nn.init.xavier_uniform_(parameter)
                elif name.startswith("weight_hh"):
                    nn.init.orthogonal_(parameter)
                else:
                    nn.init.zeros_(parameter)
                    if name.startswith("bias_ih"):
                        nn.init.ones_(parameter[layer.hidden_size : 2 * layer.hidden_size])


def conv_block(inputs: int, outputs: int, pool: Sequence[int]) -> nn.Sequential:
    """Return a 3x3 convolution, max pooling by `pool` = (mel bands, frames), batch normalization and ReLU.

    Pooling comes before batch normalization, the most expensive part of the block on a CPU, to leave it fewer values.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        MaxPool2d((pool[0], pool[1])),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def conv_stack(channels: Sequence[int], pools: Sequence[Sequence[int]]) -> nn.Sequential:
    """Return a stack with one `conv_block` for each of `channels`; its input is an image of one channel.

    Raises:
        UserError: `channels` and `pools` differ in length, `channels` is empty, or one of `channels` is below 1.
    """
    if len(channels) != len(pools) or min(channels, default=0) < 1:
        raise UserError(
            f"model.channels={shown(channels)} and model.pools={shown(pools)} must both have an entry for each "
            "convolution, of whole numbers of 1 or more."
        )
    inputs = [1, *channels]
    return nn.Sequential(*(conv_block(inputs[i], channels[i], pool) for i, pool in enumerate(pools)))


def pooled_size(spec: FeatureSpec, pools: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Return the numbers of mel bands and frames that are left after all `pools`.

    Raises:
        UserError: Nothing would be left, or an entry of `pools` is not a pair (mel bands, frames) of positive integers.
    """
    if any(len(pool) != 2 or min(pool) < 1 for pool in pools):
        raise UserError(f"model.pools={shown(pools)} must be pairs (mels, frames) of whole numbers of 1 or more.")
    mels, frames = prod(pool[0] for pool in pools), prod(pool[1] for pool in pools)
    if spec.n_mels < mels:
        raise UserError(f"The model pools {mels} mels into one, but there are {spec.n_mels}: raise features.n_mels.")
    if spec.clip_frames < frames:
        shortest_s = frames / spec.frames_per_second
        raise UserError(
            f"The model pools {frames} frames into one, but a clip has {spec.clip_frames}: "
            f"set data.clip_seconds to {shortest_s:.2f} or more."
        )
    mels_left, frames_left = spec.n_mels, spec.clip_frames
    for pool in pools:
        mels_left, frames_left = mels_left // pool[0], frames_left // pool[1]
    return mels_left, frames_left
