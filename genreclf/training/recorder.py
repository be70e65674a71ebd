"""Record a function once on a device and replay it; on an NVIDIA GPU, as a CUDA graph."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import torch

Work = Callable[[], None]
"""A piece of work without arguments: what is recorded, and what replays it."""

GENERATOR_LOCK = threading.RLock()
"""Held by the thread that seeds the random number generators of the process or puts its own in their place."""

_broken: list[object] = []


class Recorder(Protocol):
    """Records work on one kind of device."""

    def __init__(self, device: torch.device) -> None:
        """Prepare to record on `device`."""

    def seed(self, seed: int) -> None:
        """Seed the random numbers that work draws."""

    def run(self, work: Work) -> None:
        """Do `work` once, without recording it."""

    def record(self, work: Work) -> Work:
        """Record `work` without doing it.

        Returns:
            A function that does it anew, at the same addresses.

        Raises:
            RuntimeError: Something in it cannot be recorded.
        """


class CudaRecorder:
    """Records CUDA graphs on a stream of its own, with random numbers of its own.

    So several threads can each train a model on one GPU, and each draws the numbers it would draw alone.
    """

    def __init__(self, device: torch.device) -> None:
        """Start with the random numbers that the process would draw next."""
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with GENERATOR_LOCK:
            self.generator = self._default().clone_state()

    def seed(self, seed: int) -> None:
        """Seed the random numbers that work draws."""
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
        # So that the workspace of matrix products is the graph's own: Lightning frees those of the process whenever a
        # training starts or ends, one in another thread included.
        torch._C._cuda_clearCublasWorkspaces()
        try:
            # The outer stream is put back even where the end of a broken recording raises.
            with (
                torch.cuda.stream(torch.cuda.current_stream(self.device)),
                self._own_draws(),
                torch.cuda.graph(graph, pool, self.stream, capture_error_mode="thread_local"),
            ):
                work()
        except Exception:  # Whatever it was, it is raised again once the device can be used.
            # What broke holds on to its generator and its memory, and is asked about pinned memory ever after.
            _broken.append(graph)
            with suppress(RuntimeError):  # Where CUDA ended the recording, but something else broke.
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
"""What records steps, by the type of the device."""
