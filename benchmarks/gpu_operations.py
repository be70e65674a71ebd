"""Timings of single operations of a network on one device, for `benchmarks.gpu_steps`."""

import io
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.gpu import attempt
from genreclf.checkpoint import in_memory
from genreclf.models.pooling import MaxPool2d


def gru(device: torch.device, batches: Sequence[int], *, quick: bool) -> dict[str, Any]:
    """Return the milliseconds of the GRU of ``crnn``, forward and backward, in three precisions."""
    figures: dict[str, Any] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        for batch in batches:

            def measure(dtype: torch.dtype = dtype, batch: int = batch) -> dict[str, Any]:
                gru = nn.GRU(128, 64, batch_first=True, bidirectional=True).to(device, dtype)
                x = torch.randn(batch, 10 if quick else 53, 128, device=device, dtype=dtype)

                def work() -> None:
                    gru(x)[0].sum().backward()

                return {"ms": round(milliseconds(work, 2 if quick else 30), 3)}

            figures[f"{name} {batch}"] = attempt(measure)
    return figures


def pooling(
    device: torch.device, dtype: torch.dtype, batch: int, size: tuple[int, int], *, quick: bool
) -> dict[str, Any]:
    """Return the microseconds of each max pooling layer of ``crnn``, forward and backward, in three ways."""
    figures: dict[str, Any] = {}
    height, width = size
    for channels, window in zip((32, 64, 96, 128), ((2, 2), (4, 2), (4, 2), (4, 1)), strict=True):
        x = torch.randn(batch, channels, height, width, dtype=dtype, device=device)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
            "PyTorch": nn.MaxPool2d(window),
            "ours": MaxPool2d(window),
            "amax": partial(_largest, window=window),
        }
        for way, pool in ways.items():

            def work(pool: Any = pool, x: torch.Tensor = x) -> torch.Tensor:
                maxima = pool(x)
                (gradient,) = torch.autograd.grad(maxima, x, torch.ones_like(maxima))
                return gradient

            took = attempt(lambda work=work: {"us": round(replayed_ms(work, 3 if quick else 100) * 1e3, 1)})  # type: ignore[misc]
            figures[f"{tuple(x.shape)} {window} {way}"] = took
        height, width = height // window[0], width // window[1]
    return figures


def checkpoint(network: nn.Module, *, quick: bool) -> dict[str, Any]:
    """Return the milliseconds to save a network and its optimizer to memory, with tensors copied singly or together."""
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = {"state_dict": network.state_dict(), "optimizer_states": [optimizer.state_dict()]}
    times = 2 if quick else 100
    return {
        "one_by_one_ms": round(milliseconds(lambda: torch.save(state, io.BytesIO()), times), 3),
        "together_ms": round(milliseconds(lambda: torch.save(in_memory(state), io.BytesIO()), times), 3),
    }


def _largest(x: torch.Tensor, window: tuple[int, int]) -> torch.Tensor:
    """Return the maximum of each window; PyTorch divides its gradient among equal maxima."""
    rows, columns = x.shape[2] // window[0], x.shape[3] // window[1]
    inside = x[:, :, : rows * window[0], : columns * window[1]]
    return inside.reshape(*inside.shape[:2], rows, window[0], columns, window[1]).amax((3, 5))


def wait() -> None:
    """Wait until the GPU, if there is one, has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def milliseconds(work: Callable[[], Any], times: int) -> float:
    """Return the mean milliseconds of a call of `work` over `times` calls in a row."""
    for _ in range(3):
        work()
    wait()
    started_s = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - started_s) / times * 1e3


def replayed_ms(work: Callable[[], Any], times: int) -> float:
    """Return the milliseconds of `work`; on a GPU replayed as a CUDA graph, without the time to launch kernels."""
    if not torch.cuda.is_available():
        return milliseconds(work, times)
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    wait()
    with torch.cuda.graph(graph, stream=side):
        work()
    return milliseconds(graph.replay, times)
