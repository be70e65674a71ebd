"""Compiling a network for training, all but its recurrent layers."""

import copy
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from typing import cast

import torch
from torch import Tensor, nn


def compiled(network: nn.Module, mode: str) -> Callable[[Tensor], Tensor]:
    """Return a function that computes what `network` does in training, compiled except for recurrent layers.

    The compiler does not compile these, which are cuDNN's, and a loop over layers that includes one is not compiled at
    all. So each part between them is compiled separately. Parameters and buffers are those of `network`.
    """

    @cache  # At its first call, when Lightning has replaced what it replaces for several devices.
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
    around = copy.copy(module)  # The same parameters, with other children.
    around.__dict__["_modules"] = {name: _compiled(child, mode) for name, child in module.named_children()}
    around.training = True
    return around


def _parts(stages: nn.Sequential, mode: str) -> Iterator[nn.Module]:
    """Yield the stages with recurrent layers one by one, and those between them as one part."""
    for recurs, group in groupby(stages, _recurs):
        if recurs:
            yield from (_compiled(stage, mode) for stage in group)
        else:
            yield _compiled(nn.Sequential(*group), mode)


def _recurs(module: nn.Module) -> bool:
    return any(isinstance(part, nn.RNNBase) for part in module.modules())
