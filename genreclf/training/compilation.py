"""Compile a network for training, except for its recurrent layers."""

import copy
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from typing import cast

import torch
from torch import Tensor, nn


def compiled(network: nn.Module, mode: str) -> Callable[[Tensor], Tensor]:
    """Return a function that computes what `network` does in training, compiled except for recurrent layers.

    The compiler does not compile recurrent layers, which run in cuDNN, and does not compile a loop over layers at all
    if it includes one. So each part between recurrent layers is compiled separately. The function uses the parameters
    and buffers of `network` itself.

    Args:
        network: Network to compile.
        mode: Mode of ``torch.compile``.
    """

    @cache  # Compiled in the first call, after Lightning has replaced layers for training on several devices.
    def whole() -> nn.Module:
        return _compiled(network, mode)

    return lambda x: whole()(x)


def _compiled(module: nn.Module, mode: str) -> nn.Module:
    if not _recurs(module):
        return cast(nn.Module, torch.compile(module, mode=mode))
    if isinstance(module, nn.RNNBase):
        return module
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return nn.Sequential(*_parts(module, mode))
    around = copy.copy(module)  # Shares the parameters, but gets compiled children.
    around.__dict__["_modules"] = {name: _compiled(child, mode) for name, child in module.named_children()}
    around.training = True
    return around


def _parts(stages: nn.Sequential, mode: str) -> Iterator[nn.Module]:
    """Yield stages that have recurrent layers one by one, and consecutive stages that have none as one part."""
    for recurs, group in groupby(stages, _recurs):
        if recurs:
            yield from (_compiled(stage, mode) for stage in group)
        else:
            yield _compiled(nn.Sequential(*group), mode)


def _recurs(module: nn.Module) -> bool:
    return any(isinstance(part, nn.RNNBase) for part in module.modules())
