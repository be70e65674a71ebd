"""Max pooling that trains faster on NVIDIA GPUs, where PyTorch's kernels for channels-last images are slow."""

from functools import cache

import torch
from torch import Tensor, nn

LARGEST_WINDOW = 128
"""Values whose places fit in a byte."""


class MaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` of windows side by side, the same to the last bit.

    In training on a GPU, the kernels of `genreclf.models.pooling_kernels` compute it, where Triton compiles them.
    Validation, prediction, export and compiled networks take PyTorch's.

    Args:
        window: Height and width of a window.
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
        """Return whether `x` is trained on, on a GPU, and is what the kernels pool."""
        if torch.compiler.is_compiling() or not (x.is_cuda and x.requires_grad and torch.is_grad_enabled()):
            return False
        height, width = self.kernel_size
        places_fit = height * width <= LARGEST_WINDOW
        has_windows = x.dim() == 4 and len(x) > 0 and x.shape[2] >= height and x.shape[3] >= width
        is_plain = type(x) is Tensor and has_windows and x.is_contiguous(memory_format=torch.channels_last)
        return places_fit and is_plain and _compiles(x.device, x.dtype)


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
    except Exception:
        return False
    return True
