"""Max pooling in Triton equals PyTorch's to the last bit; here Triton's interpreter computes it on the CPU."""

import importlib.util
import inspect
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from genreclf.models import pooling
from genreclf.models.pooling import MaxPool2d

pytest.importorskip("triton", reason="PyTorch's builds for CPUs come without Triton")

CASES: list[tuple[tuple[int, int, int, int], tuple[int, int]]] = [
    ((2, 32, 8, 13), (2, 2)),  # A column outside of all windows.
    ((1, 96, 9, 7), (4, 2)),  # A row as well.
    ((2, 3, 5, 4), (4, 1)),
    ((1, 1, 4, 2100), (2, 2)),  # A row of two blocks.
    ((1, 4, 6, 9), (3, 3)),
    ((1, 5, 4, 4), (1, 1)),
]
"""Shapes of images and windows."""


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the kernels for Triton's interpreter, which is chosen as they are defined."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    file = f"{inspect.getfile(pooling).removesuffix('.py')}_kernels.py"
    spec = importlib.util.spec_from_file_location("interpreted_pooling_kernels", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def image_of(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return whole numbers with many ties, and a few infinite ones and ones that are none."""
    image = torch.randint(-3, 4, shape).to(dtype).contiguous(memory_format=torch.channels_last)
    image[0, 0, :2, :2] = torch.tensor([[1.0, torch.nan], [torch.nan, torch.inf]])
    image[-1, -1, -4:, -2:] = -torch.inf
    return image


def pooled(pool: Any, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maxima and a gradient."""
    x = image.detach().requires_grad_()
    maxima = pool(x)
    slopes = torch.arange(1.0, maxima.numel() + 1, device=x.device).view(maxima.shape)
    maxima.backward(slopes.to(x.dtype))
    assert x.grad is not None
    return maxima.detach(), x.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("shape", "window"), CASES, ids=str)
def test_equals_that_of_pytorch(
    shape: tuple[int, int, int, int], window: tuple[int, int], dtype: torch.dtype, kernels: ModuleType
) -> None:
    image = image_of(shape, dtype)
    maxima, gradient = pooled(lambda x: kernels.MaxPool.apply(x, window), image)
    expected, expected_gradient = pooled(lambda x: max_pool2d(x, window), image)
    assert maxima.isnan().any()
    torch.testing.assert_close(maxima, expected, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(gradient, expected_gradient)
    assert maxima.is_contiguous(memory_format=torch.channels_last)


def test_cpus_take_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_of((2, 3, 5, 4), torch.float32)
    monkeypatch.setattr(pooling, "_compiles", lambda *_: True)
    for one, other in zip(pooled(MaxPool2d((2, 2)), image), pooled(torch.nn.MaxPool2d(2), image), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
