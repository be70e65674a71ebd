"""A whole training step in one call, which can be recorded once and replayed on an NVIDIA GPU.

A training step of a small network starts hundreds of kernels that each take microseconds, so the GPU waits for the
process that starts them. A CUDA graph starts all of them at once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from genreclf.data.clips import ClipBatch
from genreclf.errors import first_line
from genreclf.training.gate import DEVICE_GATE
from genreclf.training.hooks import hooks_of
from genreclf.training.recorder import RECORDERS, Recorder, Work

EAGER_STEPS = 3
"""Number of training steps before the recording, in which cuDNN, cuBLAS and the optimizer allocate what they keep."""

_OF_GRADIENTS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
_PRECISIONS = (Precision, MixedPrecision, DoublePrecision, HalfPrecision)
_SWAPPED = ("lr", "capturable")


def why_not_whole(module: LightningModule) -> str | None:
    """Return why the training of `module` must take its steps in Lightning's own way, or None if it need not."""
    trainer: Any = module.trainer
    if type(trainer.strategy) is not SingleDeviceStrategy:
        return f"the strategy is {type(trainer.strategy).__name__}, and a recorded step has one device for itself"
    if trainer.accumulate_grad_batches != 1:
        return "gradients are accumulated over several batches"
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        return "trainer.precision=16-mixed decides after each step whether it counts; bf16-mixed and 32-true do not"
    if type(trainer.precision_plugin) not in _PRECISIONS:
        return f"{type(trainer.precision_plugin).__name__} may work within the step"
    for optimizer in trainer.optimizers:
        if isinstance(optimizer, LBFGS) or not type(optimizer).__module__.startswith("torch.optim."):
            return f"{type(optimizer).__name__} may take several looks at a batch"
    for callback in trainer.callbacks:
        if any(hooks_of([callback], name, Callback) for name in _OF_GRADIENTS):
            return f"the callback {type(callback).__name__} works within the step"
    own = [name for name in _OF_GRADIENTS if hooks_of([module], name, LightningModule)]
    return f"{type(module).__name__} has a {own[0]} of its own" if own else None


def why_not_recorded(module: LightningModule) -> str | None:
    """Return why training steps of `module` that can be taken in one call cannot be recorded, or None if they can."""
    trainer: Any = module.trainer
    device = trainer.strategy.root_device.type
    if device not in RECORDERS:
        return f"the device is {device}, not an NVIDIA GPU"
    for optimizer in trainer.optimizers:
        if not all("capturable" in group or group.get("fused") for group in optimizer.param_groups):
            return f"{type(optimizer).__name__} takes its learning rate from the CPU unless optimizer.fused=true"
    return None


class WholeStep:
    """One training step, from a batch to the updated weights; recorded after `EAGER_STEPS` steps, if at all.

    Values that change from step to step have a fixed place on the device: the batch, the learning rates and the loss.
    A batch of another size, and every batch once recording has failed, is trained on without a recording.

    Args:
        loss: Function that returns the loss of a batch on the device.
        optimizer: Optimizer of the parameters.
        clip: Function that clips the gradients.
        recorder: Recorder of the device; None to record nothing.
        device: Device of the parameters.
        warn: Function that is called with a reason if the step turns out not to be recordable.
        precision: Function that returns the context in which the loss is computed, such as autocast.
    """

    def __init__(
        self,
        loss: Callable[[Any], Tensor],
        *,
        optimizer: Optimizer,
        clip: Work,
        recorder: Recorder | None,
        device: torch.device,
        warn: Callable[[str], None],
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.recorder = recorder
        self._loss_of, self._optimizer, self._clip, self._warn = loss, optimizer, clip, warn
        self._precision = precision
        self._on_cpu = device.type == "cpu"
        self._loss = torch.zeros((), device=device)
        self._slope: Tensor | None = None
        self._rates: list[Tensor] = []
        self._inputs: list[Tensor] = []
        self._replay: Work | None = None
        self._eager_steps = 0
        self._records = recorder is not None
        if recorder is None:
            return
        # With a float64 tensor, a CPU computes the same as with a number; fused optimizers on GPUs take float32.
        dtype = torch.float64 if self._on_cpu else torch.float32
        self._rates = [torch.zeros((), dtype=dtype, device=device) for _ in optimizer.param_groups]
        self._rates_now: list[float] = []
        self._settings = _settings(optimizer)
        if not self._on_cpu:
            for group in optimizer.param_groups:
                for parameter in group["params"] if "capturable" in group else ():
                    state = optimizer.state.get(parameter, {})
                    state.update({key: value.to(device) for key, value in state.items() if key == "step"})

    @property
    def is_recorded(self) -> bool:
        """Whether the step has been recorded and is now replayed."""
        return self._replay is not None

    def seed(self, seed: int) -> None:
        """Seed the recorder's random numbers, if there is a recorder; otherwise steps draw those of the process."""
        if self.recorder is not None:
            self.recorder.seed(seed)

    def __call__(self, batch: Tensor | ClipBatch) -> Tensor:
        """Train on a batch, given as rows ``(batch, 3)`` or clips; return its loss, which the next step overwrites."""
        if self.recorder is None:
            self._work(batch)
            return self._loss
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
            self._record(batch, self.recorder)
        if self._replay is not None and [place.shape for place in self._inputs] == [item.shape for item in tensors]:
            for place, values in zip(self._inputs, tensors, strict=True):
                place.copy_(values)
            self._replay()
        else:
            self.recorder.run(partial(self._work, batch))
            self._eager_steps += 1
        return self._loss

    def _record(self, batch: Tensor | ClipBatch, recorder: Recorder) -> None:
        self._inputs = [values.clone() for values in _tensors(batch)]
        held = self._inputs[0] if isinstance(batch, Tensor) else ClipBatch._make([*self._inputs, ()])
        try:
            with DEVICE_GATE.alone():
                self._replay = recorder.record(partial(self._work, held))
        except RuntimeError as error:
            self._give_up(f"recording it failed ({first_cause(error)})")

    def _give_up(self, reason: str) -> None:
        self._records, self._replay = False, None
        self._warn(reason)

    def _work(self, batch: Tensor | ClipBatch) -> None:
        device = self._loss.device.type
        with self._recordable():
            # Before the backward pass, so that a recorded pass writes the gradients instead of adding to them.
            self._optimizer.zero_grad(set_to_none=True)
            with self._precision():
                loss = self._loss_of(batch)
            # Lightning's own loop runs this within its autocast, which has to end before the backward pass.
            # A recorded backward pass stays in this thread: PyTorch would compute the backward passes of all trainings
            # in one thread of its own, where they would share what cuBLAS and cuDNN keep for each thread.
            single = self.recorder is not None
            with torch.autocast(device, enabled=False), torch.autograd.set_multithreading_enabled(not single):
                if self._slope is None:  # Otherwise, `backward` would create it in each step.
                    self._slope = torch.ones((), dtype=loss.dtype, device=loss.device)
                loss.backward(self._slope)  # type: ignore[no-untyped-call]
                self._clip()
                self._optimizer.step()
            self._loss.copy_(loss.detach())

    @contextmanager
    def _recordable(self) -> Iterator[None]:
        """Make the optimizer read its learning rates and count its steps on the device, if steps are recorded."""
        groups = self._optimizer.param_groups if self.recorder is not None else []
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


def first_cause(error: BaseException) -> str:
    """Return the first line of the error at the start of a chain of errors."""
    return first_line(error) if error.__context__ is None else first_cause(error.__context__)


def _tensors(batch: Tensor | ClipBatch) -> Sequence[Tensor]:
    return (batch,) if isinstance(batch, Tensor) else batch[:4]


def _settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the settings of the optimizer that a recording fixes."""
    return [
        {key: len(value) if key == "params" else value for key, value in group.items() if key != "lr"}
        for group in optimizer.param_groups
    ]
