"""Max pooling on an NVIDIA GPU in Triton, for images whose channels lie side by side (channels last).

A program of both kernels has one row of windows, or a piece of it, as a flat range of ``(column, channel)``, which is
how the values lie in memory; what a window covers is then a few pieces at fixed distances from that.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 1024
"""Maxima that a program finds."""


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
    """Write the maximum of each window, and where in the window it is."""
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
        better = (number > best.to(tl.float32)) | (number != number)  # The last one that is not a number wins.
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
    """Write the gradient of each maximum where it was found, and zeros elsewhere, also outside of all windows."""
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
    """Max pooling of windows side by side, with the values and gradients of `torch.nn.functional.max_pool2d`.

    A gradient is written once, where PyTorch's kernel writes zeros first and adds to them then. Of equal values the
    first one is the maximum, and of those that are not a number the last one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: tuple[int, int]) -> Tensor:
        """Return the maxima ``(batch, channel, row, column)``, channels last.

        Args:
            ctx: Keeps where they were found.
            x: ``(batch, channel, height, width)``, contiguous with channels last.
            window: Height and width of 128 values at most, neither larger than that of `x`.
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
        """Return the gradient of `x`, from that of the maxima."""
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
