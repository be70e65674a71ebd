"""Record a function once on a device and replay it, on NVIDIA GPUs as a CUDA graph."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import torch

Work = Callable[[], None]
"""Function without arguments or result, such as the work that is recorded, or the function that replays it."""

GENERATOR_LOCK = threading.RLock()
"""Held by a thread while it seeds the random number generators of the process, or replaces them with its own."""

_broken: list[object] = []


class Recorder(Protocol):
    """Records work on one kind of device."""

    def __init__(self, device: torch.device) -> None:
        """Prepare to record on `device`."""

    def seed(self, seed: int) -> None:
        """Seed the random numbers that the work draws."""

    def run(self, work: Work) -> None:
        """Do `work` once, without recording it."""

    def record(self, work: Work) -> Work:
        """Record `work` without doing it.

        Returns:
            Function that does the work again, at the same memory addresses.

        Raises:
            RuntimeError: Some of the work cannot be recorded.
        """


class CudaRecorder:
    """Records CUDA graphs on its own stream, with its own random number generator.

    This allows several threads to train a model each on one GPU, while each draws the numbers that it would draw alone.
    """

    def __init__(self, device: torch.device) -> None:
        """Start from the current state of the process's random number generator."""
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with GENERATOR_LOCK:
            self.generator = self._default().clone_state()

    def seed(self, seed: int) -> None:
        """Seed the random numbers that the work draws."""
        self.generator.manual_seed(seed)

    def run(self, work: Work) -> None:
        """Do `work` once, without recording it."""
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream), self._own_draws():
            work()
        here.wait_stream(self.stream)

    def record(self, work: Work) -> Work:
        """Record `work` as a CUDA graph, and return a function that replays it on the stream of the caller."""
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        before = self.generator.get_state()
        # This gives the graph its own workspace for matrix products: Lightning frees those of the process whenever a
        # training starts or ends, even one in another thread.
        torch._C._cuda_clearCublasWorkspaces()
        try:
            # The outer context restores the stream even if ending a failed recording raises an error.
            with (
                torch.cuda.stream(torch.cuda.current_stream(self.device)),
                self._own_draws(),
                torch.cuda.graph(graph, pool, self.stream, capture_error_mode="thread_local"),
            ):
                work()
        except Exception:  # Any error is raised again once the device can be used.
            # The failed graph keeps its generator and its memory, and PyTorch goes on asking it about pinned memory.
            _broken.append(graph)
            with suppress(RuntimeError):  # Raised if CUDA ended the recording and something else failed.
                torch._C._cuda_endAllocateToPool(self.device.index or 0, pool)
                torch._C._cuda_releasePool(self.device.index or 0, pool)
            self.generator = torch.Generator(self.device)
            self.generator.set_state(before)
            raise
        finally:
            torch._C._cuda_clearCublasWorkspaces()
        return graph.replay

    def _default(self) -> torch.Generator:
        return torch.cuda.default_generators[self.device.index or 0]

    @contextmanager
    def _own_draws(self) -> Iterator[None]:
        default = self._default()
        with GENERATOR_LOCK:
            others = default.graphsafe_get_state()
            default.graphsafe_set_state(self.generator)
            try:
                yield
            finally:
                default.graphsafe_set_state(others)


RECORDERS: dict[str, type[Recorder]] = {"cuda": CudaRecorder}
"""Recorder class by device type."""
