"""Max pooling that is faster in training on NVIDIA GPUs, where PyTorch's kernels for channels-last images are slow."""

from functools import cache

import torch
from torch import Tensor, nn

LARGEST_WINDOW = 128
"""Largest number of values in a window for which a position in the window fits in a signed byte."""

LARGE = 2**26
"""Number of values in a batch of images that keeps a GPU busy for longer than it takes to launch a Triton kernel."""


class MaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` for windows that do not overlap, with results that are identical to the last bit.

    On a GPU on which Triton can compile them, the kernels of `genreclf.models.pooling_kernels` are used for recorded
    steps, which have a CUDA stream of their own, and for large batches in training. Small batches use PyTorch's
    kernels, which the CPU launches sooner. Prediction, export and compiled networks also use PyTorch's kernels.
    """

    kernel_size: tuple[int, int]

    def __init__(self, window: tuple[int, int]) -> None:
        super().__init__(window)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima ``(batch, channel, row, column)`` of images ``(batch, channel, height, width)``."""
        pooled: Tensor
        if self._takes_kernels(x):
            from genreclf.models.pooling_kernels import MaxPool

            pooled = MaxPool.apply(x, self.kernel_size)
        else:
            pooled = super().forward(x)
        return pooled

    def _takes_kernels(self, x: Tensor) -> bool:
        """Return whether the Triton kernels can pool `x` and are faster than PyTorch's."""
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
    """Return whether Triton is available and its kernels run on the GPU, which also requires a C compiler."""
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    if torch.cuda.get_device_capability(device) < (8, 0):
        return False
    try:
        from genreclf.models.pooling_kernels import MaxPool

        x = torch.zeros(1, 1, 2, 2, dtype=dtype, device=device, requires_grad=True)
        with torch.enable_grad():
            MaxPool.apply(x, (2, 2)).sum().backward()
    except Exception:  # Triton, compiler or driver is missing, with many kinds of errors; PyTorch is only slower.
        return False
    return True
