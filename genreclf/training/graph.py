"""A whole training step recorded once and replayed: on an NVIDIA GPU as one CUDA graph.

A step of a small network starts hundreds of kernels that each take microseconds, so that the GPU waits for the process
that starts them. A graph starts all of them at once.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import Optimizer

from genreclf.data.clips import ClipBatch

Work = Callable[[], None]
"""A piece of work without arguments: what is recorded, and what replays it."""

EAGER_STEPS = 3
"""Steps before the recording, in which cuDNN, cuBLAS and the optimizer allocate what they keep."""

DRAWS = threading.RLock()
"""Held by the thread that seeds the generators of the process or puts its own in their place."""

_OF_GRADIENTS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
_OF_STEPS = ("training_step", "backward", "optimizer_step", "optimizer_zero_grad")
_SWAPPED = ("lr", "capturable")
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
        with DRAWS:
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
        try:
            # The outer stream is put back even where the end of a broken recording raises.
            with (
                torch.cuda.stream(torch.cuda.current_stream(self.device)),
                self._own_draws(),
                torch.cuda.graph(graph, pool, self.stream, capture_error_mode="thread_local"),
            ):
                work()
        except Exception:
            # What broke holds on to its generator and its memory, and is asked about pinned memory ever after.
            _broken.append(graph)
            with suppress(RuntimeError):  # Where CUDA ended the recording, but something else broke.
                torch._C._cuda_endAllocateToPool(self.device.index or 0, pool)
                torch._C._cuda_releasePool(self.device.index or 0, pool)
            self.generator = torch.Generator(self.device)
            self.generator.set_state(before)
            raise
        return graph.replay

    def _default(self) -> torch.Generator:
        return torch.cuda.default_generators[self.device.index or 0]

    @contextmanager
    def _own_draws(self) -> Iterator[None]:
        default = self._default()
        with DRAWS:
            others = default.graphsafe_get_state()
            default.graphsafe_set_state(self.generator)
            try:
                yield
            finally:
                default.graphsafe_set_state(others)


RECORDERS: dict[str, type[Recorder]] = {"cuda": CudaRecorder}
"""What records steps, by the type of the device."""


def obstacle(module: LightningModule) -> str | None:
    """Say why the steps of a training cannot be recorded, or return None; `module` is being trained."""
    trainer: Any = module.trainer
    device = trainer.strategy.root_device.type
    if device not in RECORDERS:
        return f"the device is {device}, not an NVIDIA GPU"
    if not isinstance(trainer.strategy, SingleDeviceStrategy):
        return f"the strategy is {type(trainer.strategy).__name__}, and a recorded step has one device for itself"
    if trainer.accumulate_grad_batches != 1:
        return "gradients are accumulated over several batches"
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        return "trainer.precision=16-mixed decides after each step whether it counts; bf16-mixed and 32-true do not"
    for optimizer in trainer.optimizers:
        if not all("capturable" in group or group.get("fused") for group in optimizer.param_groups):
            return f"{type(optimizer).__name__} takes its learning rate from the CPU unless optimizer.fused=true"
    for callback in trainer.callbacks:
        if any(getattr(type(callback), name) is not getattr(Callback, name) for name in _OF_GRADIENTS):
            return f"the callback {type(callback).__name__} works within the step"
    if own := [name for name in _OF_STEPS if getattr(type(module), name).__module__ != GraphStep.owner]:
        return f"{type(module).__name__} has a {own[0]} of its own"
    return None


class GraphStep:
    """One step of a training, from a batch to the updated weights; recorded after `EAGER_STEPS` steps.

    What changes from step to step has its place on the device: the batch, the learning rates and the loss. A batch of
    another size, and every batch once something cannot be recorded, is trained on without a recording.

    Args:
        loss: Returns the loss of a batch that is on the device.
        optimizer: Of the parameters.
        clip: Clips the gradients.
        recorder: Of the device.
        device: Where the parameters are.
        warn: Called with a reason if the step turns out not to be one that can be recorded.
    """

    owner = "genreclf.training.module"

    def __init__(
        self,
        loss: Callable[[Any], Tensor],
        *,
        optimizer: Optimizer,
        clip: Work,
        recorder: Recorder,
        device: torch.device,
        warn: Callable[[str], None],
    ) -> None:
        """Make the places on the device."""
        self.seed = recorder.seed
        self._loss_of, self._optimizer, self._clip, self._recorder, self._warn = loss, optimizer, clip, recorder, warn
        self._on_cpu = device.type == "cpu"
        # In float64, a CPU computes with it what it computes with a number; fused optimizers on GPUs take float32.
        dtype = torch.float64 if self._on_cpu else torch.float32
        self._rates = [torch.zeros((), dtype=dtype, device=device) for _ in optimizer.param_groups]
        self._rates_now: list[float] = []
        self._settings = _settings(optimizer)
        self._loss = torch.zeros((), device=device)
        self._inputs: list[Tensor] = []
        self._replay: Work | None = None
        self._eager_steps = 0
        self._records = True
        if not self._on_cpu:
            for group in optimizer.param_groups:
                for parameter in group["params"] if "capturable" in group else ():
                    state = optimizer.state.get(parameter, {})
                    state.update({key: value.to(device) for key, value in state.items() if key == "step"})

    @property
    def is_recorded(self) -> bool:
        """Whether steps are replayed by now."""
        return self._replay is not None

    def __call__(self, batch: Tensor | ClipBatch) -> Tensor:
        """Train on a batch, rows ``(batch, 3)`` or clips; return its loss, which the next step overwrites."""
        if (rates := [group["lr"] for group in self._optimizer.param_groups]) != self._rates_now:
            for place, rate in zip(self._rates, rates, strict=True):
                place.fill_(rate)
            self._rates_now = rates
        if self._records and (now := _settings(self._optimizer)) != self._settings:
            pairs = zip(now, self._settings, strict=False)
            changed = sorted({key for new, old in pairs for key in new if new[key] != old.get(key)}) or ["the groups"]
            self._give_up(f"{' and '.join(changed)} of {type(self._optimizer).__name__} change during the training")
        tensors = _tensors(batch)
        if self._records and self._replay is None and self._eager_steps >= EAGER_STEPS:
            self._record(batch)
        if self._replay is not None and [place.shape for place in self._inputs] == [item.shape for item in tensors]:
            for place, values in zip(self._inputs, tensors, strict=True):
                place.copy_(values)
            self._replay()
        else:
            self._recorder.run(partial(self._work, batch))
            self._eager_steps += 1
        return self._loss

    def _record(self, batch: Tensor | ClipBatch) -> None:
        self._inputs = [values.clone() for values in _tensors(batch)]
        held = self._inputs[0] if isinstance(batch, Tensor) else ClipBatch._make([*self._inputs, ()])
        try:
            self._replay = self._recorder.record(partial(self._work, held))
        except RuntimeError as error:
            first: BaseException = error
            while first.__context__ is not None:
                first = first.__context__
            self._give_up(f"recording it failed ({str(first).splitlines()[0]})")

    def _give_up(self, reason: str) -> None:
        self._records, self._replay = False, None
        self._warn(reason)

    def _work(self, batch: Tensor | ClipBatch) -> None:
        device = self._loss.device.type
        with self._recordable():
            # Before the backward pass, so that a recorded one writes the gradients instead of adding to them.
            self._optimizer.zero_grad(set_to_none=True)
            loss = self._loss_of(batch)
            # Lightning's autocast ends before the backward pass, but this runs inside of it.
            with torch.autocast(device, enabled=False):
                loss.backward()  # type: ignore[no-untyped-call]
                self._clip()
                self._optimizer.step()
            self._loss.copy_(loss.detach())

    @contextmanager
    def _recordable(self) -> Iterator[None]:
        """Have the optimizer read its learning rates and count its steps on the device."""
        groups = self._optimizer.param_groups
        before: list[dict[str, Any]] = [{key: group[key] for key in _SWAPPED if key in group} for group in groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate
            if "capturable" in group:
                group["capturable"] = not self._on_cpu
        try:
            yield
        finally:
            for group, kept in zip(groups, before, strict=True):
                group.update(kept)


def _tensors(batch: Tensor | ClipBatch) -> Sequence[Tensor]:
    return (batch,) if isinstance(batch, Tensor) else batch[:4]


def _settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return what a recording takes from the optimizer as it is."""
    return [
        {key: len(value) if key == "params" else value for key, value in group.items() if key != "lr"}
        for group in optimizer.param_groups
    ]
