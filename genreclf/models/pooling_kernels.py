"""Max pooling on NVIDIA GPUs in Triton, for images in the channels-last memory format.

In both kernels, a program processes one row of windows, or a part of the row, as a flat range of ``(column, channel)``,
which is the order of the values in memory. The values in the windows are then a few ranges at fixed distances from it.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 1024
"""Number of maxima that one program computes."""


@triton.jit  # type: ignore[untyped-decorator]
def _find(
    x: tl.tensor,
    maxima: tl.tensor,
    places: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    CHANNELS: tl.constexpr,
    WINDOW_HEIGHT: tl.constexpr,
    WINDOW_WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write the maximum of each window and its position in the window."""
    rows, columns = height // WINDOW_HEIGHT, width // WINDOW_WIDTH
    row = tl.program_id(0)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < columns * CHANNELS
    first_row = (row // rows).to(tl.int64) * height + row % rows * WINDOW_HEIGHT
    window = x + first_row * width * CHANNELS + at + at // CHANNELS * ((WINDOW_WIDTH - 1) * CHANNELS)
    best = tl.load(window, inside)
    place = tl.full([BLOCK], 0, tl.int32)
    for i in tl.static_range(1, WINDOW_HEIGHT * WINDOW_WIDTH):
        value = tl.load(window + (i // WINDOW_WIDTH * width + i % WINDOW_WIDTH) * CHANNELS, inside)
        number = value.to(tl.float32)
        better = (number > best.to(tl.float32)) | (number != number)  # The last NaN wins.
        best = tl.where(better, value, best)
        place = tl.where(better, i, place)
    here = row.to(tl.int64) * columns * CHANNELS + at
    tl.store(maxima + here, best, inside)
    tl.store(places + here, place.to(tl.int8), inside)


@triton.jit  # type: ignore[untyped-decorator]
def _give_back(
    gradient: tl.tensor,
    places: tl.tensor,
    of_x: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    CHANNELS: tl.constexpr,
    WINDOW_HEIGHT: tl.constexpr,
    WINDOW_WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write the gradient of each maximum to its position, and zeros everywhere else, even outside of all windows."""
    rows, columns = height // WINDOW_HEIGHT, width // WINDOW_WIDTH
    begun_rows = (height + WINDOW_HEIGHT - 1) // WINDOW_HEIGHT
    image, row = tl.program_id(0) // begun_rows, tl.program_id(0) % begun_rows
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    column = at // CHANNELS
    inside = (at < columns * CHANNELS) & (row < rows)
    here = (image.to(tl.int64) * rows + row) * columns * CHANNELS + at
    slope = tl.load(gradient + here, inside, other=0.0)
    place = tl.load(places + here, inside, other=0).to(tl.int32)
    first_row = image.to(tl.int64) * height + row * WINDOW_HEIGHT
    window = of_x + first_row * width * CHANNELS + at + column * ((WINDOW_WIDTH - 1) * CHANNELS)
    for i in tl.static_range(WINDOW_HEIGHT):
        for j in tl.static_range(WINDOW_WIDTH):
            exists = (column * WINDOW_WIDTH + j < width) & (row * WINDOW_HEIGHT + i < height)
            chosen = tl.where(place == i * WINDOW_WIDTH + j, slope, 0.0).to(slope.dtype)
            tl.store(window + (i * width + j) * CHANNELS, chosen, exists)


class MaxPool(torch.autograd.Function):
    """Max pooling of adjacent windows, with the same values and gradients as `torch.nn.functional.max_pool2d`.

    Each gradient is written once, whereas PyTorch's kernel first writes zeros and then adds to them. Of several equal
    values, the first one is the maximum; of several NaNs, the last one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: tuple[int, int]) -> Tensor:
        """Return the maxima ``(batch, channel, row, column)`` in the channels-last memory format.

        Args:
            ctx: Context that stores the positions of the maxima for the backward pass.
            x: Images ``(batch, channel, height, width)``, contiguous in the channels-last memory format.
            window: Height and width of a window, which has at most 128 values and is no larger than an image.
        """
        batch, channels, height, width = x.shape
        rows, columns = height // window[0], width // window[1]
        maxima = _empty((batch, channels, rows, columns), x)
        places = torch.empty_like(maxima, dtype=torch.int8)
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            grid = (batch * rows, triton.cdiv(columns * channels, BLOCK))
            _find[grid](x, maxima, places, height, width, channels, *window, BLOCK)
        ctx.save_for_backward(places)
        ctx.shape, ctx.window = x.shape, window
        return maxima

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the images, computed from the gradient of the maxima."""
        (places,) = ctx.saved_tensors
        batch, channels, height, width = ctx.shape
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = _empty(ctx.shape, gradient)
        with torch.cuda.device_of(gradient):  # type: ignore[no-untyped-call]
            begun_rows, begun_columns = triton.cdiv(height, ctx.window[0]), triton.cdiv(width, ctx.window[1])
            grid = (batch * begun_rows, triton.cdiv(begun_columns * channels, BLOCK))
            _give_back[grid](gradient, places, of_x, height, width, channels, *ctx.window, BLOCK)
        return of_x, None


def _empty(shape: Sequence[int], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
