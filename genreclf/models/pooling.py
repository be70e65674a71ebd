"""Max pooling that trains faster on NVIDIA GPUs, where PyTorch's kernels for channels-last images are slow."""

from functools import cache

import torch
from torch import Tensor, nn

LARGEST_WINDOW = 128
"""Values whose places fit in a byte."""

LARGE = 2**26
"""Values of an image batch that keep a GPU busy for longer than it takes to start a kernel of Triton."""


class MaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` with windows that do not overlap, with the same result to the last bit.

    On a GPU, the kernels of `genreclf.models.pooling_kernels` compute it where Triton compiles them: in steps that are
    recorded, which have a stream of their own, and of large batches in training. A small one waits for the processor,
    which starts PyTorch's kernels sooner. Prediction, export and compiled networks take PyTorch's.
    """

    kernel_size: tuple[int, int]

    def __init__(self, window: tuple[int, int]) -> None:
        super().__init__(window)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, channel, row, column)`` of ``(batch, channel, height, width)``."""
        pooled: Tensor
        if self._takes_kernels(x):
            from genreclf.models.pooling_kernels import MaxPool

            pooled = MaxPool.apply(x, self.kernel_size)
        else:
            pooled = super().forward(x)
        return pooled

    def _takes_kernels(self, x: Tensor) -> bool:
        """Return whether the kernels are faster for `x`, and can pool it."""
        if torch.compiler.is_compiling() or not x.is_cuda or type(x) is not Tensor or x.dim() != 4:
            return False
        is_trained_on = x.requires_grad and torch.is_grad_enabled()
        is_recorded = torch.cuda.current_stream(x.device) != torch.cuda.default_stream(x.device)
        height, width = self.kernel_size
        return (
            (is_recorded or (is_trained_on and x.numel() >= LARGE))
            and height * width <= LARGEST_WINDOW
            and min(len(x), x.shape[2] // height, x.shape[3] // width) > 0
            and x.is_contiguous(memory_format=torch.channels_last)
            and _compiles(x.device, x.dtype)
        )


@cache
def _compiles(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether Triton is there and pools on a GPU, for which it also needs a C compiler."""
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    if torch.cuda.get_device_capability(device) < (8, 0):
        return False
    try:
        from genreclf.models.pooling_kernels import MaxPool

        x = torch.zeros(1, 1, 2, 2, dtype=dtype, device=device, requires_grad=True)
        with torch.enable_grad():
            MaxPool.apply(x, (2, 2)).sum().backward()
    except Exception:  # No Triton, compiler or driver: errors of many kinds, and PyTorch pools the same, slower.
        return False
    return True
