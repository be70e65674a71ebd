"""Synchronize batch normalization and its running statistics over all ranks, including ranks on CPUs."""

from types import MethodType
from typing import Any

import torch
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class CPUSyncBatchNorm(TorchSyncBatchNorm):
    """Lightning plugin for ``sync_batchnorm`` on CPUs, which `torch.nn.SyncBatchNorm` does not support."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Make the batch normalization layers of a model compute mean and variance over all ranks."""
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.forward = MethodType(_normalize, module)  # type: ignore[method-assign]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo the changes of `apply`."""
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                del module.forward
        return model


def broadcast_buffers(model: nn.Module) -> None:
    """Copy the first rank's buffers, such as running statistics of batch normalization, to all ranks."""
    for buffer in model.buffers():
        values = buffer.contiguous()
        distributed.broadcast(values, src=0)
        buffer.copy_(values)


def _normalize(layer: _BatchNorm, x: Tensor) -> Tensor:
    """Normalize `x` of shape ``(batch, channel, ...)``; in training, use the statistics of all ranks' batches."""
    if not layer.training:
        return type(layer).forward(layer, x)
    values = x.float()
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    here = torch.cat([values.sum(axes), values.new_tensor([x.numel() / x.shape[1]])])
    total, count = _SumOverRanks.apply(here).split([x.shape[1], 1])
    mean = total / count
    centered = values - mean.view(shape)
    variance = _SumOverRanks.apply(centered.square().sum(axes)) / count
    if layer.running_mean is not None:
        _track(layer, mean.detach(), (variance * count / (count - 1)).detach())
    normalized: Tensor = centered * (variance + layer.eps).rsqrt().view(shape)
    if layer.affine:
        normalized = normalized * layer.weight.view(shape) + layer.bias.view(shape)
    return normalized.to(x.dtype)


@torch.no_grad()
def _track(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics, as `torch.nn.BatchNorm2d` does."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    momentum = 1 / int(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean, momentum)
    layer.running_var.lerp_(variance, momentum)


class _SumOverRanks(torch.autograd.Function):
    """Sum of a tensor over all ranks; its gradient is the sum of the gradients of all ranks."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total
