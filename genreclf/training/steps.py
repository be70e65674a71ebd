"""LightningModule whose training steps are single calls, which can be recorded on a GPU."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from genreclf.data.clips import ClipBatch
from genreclf.data.datamodule import ClipDataModule
from genreclf.errors import UserError
from genreclf.escaping import say
from genreclf.training.forward import RecordedForward
from genreclf.training.hooks import hooks_of
from genreclf.training.recorder import RECORDERS
from genreclf.training.whole_step import WholeStep, why_not_recorded, why_not_whole

_OF_STEPS = ("training_step", "backward", "optimizer_step", "optimizer_zero_grad")


class StepModule(LightningModule):
    """Takes its training steps with a `WholeStep`, unless something in the Trainer requires Lightning's own way.

    A subclass computes losses and predictions in `loss_of` and `predict_rows`, and calls `prepare_steps` at the start
    of a training, `check_steps` at the start of each epoch and `end_steps` at the end of the training.

    Attributes:
        network: Network whose parameters are trained.
        records_steps: Whether training steps are recorded and replayed if possible.
        whole_step: Object that takes the steps of the current training; None if Lightning takes them.
        keeps_gradient_norm: Whether each step stores the norm of its gradient, before clipping, in `gradient_norm`.
        gradient_norm: Norm of the last gradient, on the device; a recorded step overwrites it.
        recorded_forward: Forward pass of the validation during a training whose steps are recorded; None otherwise.
    """

    network: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.records_steps = False
        self.keeps_gradient_norm = False
        self.gradient_norm: Tensor | None = None
        self.whole_step: WholeStep | None = None
        self.recorded_forward: RecordedForward | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without recorded steps: a CUDA graph can be neither copied nor pickled."""
        return {**super().__getstate__(), "whole_step": None, "recorded_forward": None}

    @abstractmethod
    def loss_of(self, batch: Tensor | ClipBatch) -> Tensor:
        """Return the loss of a training batch."""

    @abstractmethod
    def predict_rows(self, rows: Tensor) -> tuple[ClipBatch, Tensor]:
        """Return the validation clips of `rows` ``(batch, 3)`` and their logits."""

    def prepare_steps(self, *, validates_rows: bool) -> None:
        """Prepare to take each training step in one call, and to record it if `records_steps` is set.

        Args:
            validates_rows: Whether ``validation_step`` takes rows, and predicts their clips with `recorded_forward`.
        """
        reason = self._why_not_whole()
        if self.records_steps and (unrecorded := why_not_recorded(self) or reason):
            self._say_not_recorded(unrecorded)
            records = False
        else:
            records = self.records_steps
        if reason:
            return
        optimizer, device = self.trainer.optimizers[0], self.trainer.strategy.root_device
        recorder = RECORDERS[device.type](device) if records else None
        self.whole_step = WholeStep(
            self.loss_of,
            optimizer=optimizer,
            clip=lambda: self.configure_gradient_clipping(
                optimizer, self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm
            ),
            recorder=recorder,
            device=device,
            warn=self._say_not_recorded,
            precision=self.trainer.precision_plugin.train_step_context,
        )
        if recorder is None or not isinstance(data := self.clip_data, ClipDataModule):
            return
        data.subsets_as_rows = {"train"}  # Their clips are cut within the step.
        if validates_rows:
            data.subsets_as_rows.add("val")
            warn = partial(self._say_not_recorded, what="the validation")
            self.recorded_forward = RecordedForward(self.predict_rows, recorder=recorder, warn=warn)

    def check_steps(self) -> None:
        """Leave the training steps to Lightning if a callback has changed how they must be taken."""
        if self.whole_step is None:
            return
        records = self.whole_step.recorder is not None
        if reason := (why_not_recorded(self) if records else None) or self._why_not_whole():
            self.end_steps()
            if records:
                self._say_not_recorded(reason)

    def end_steps(self) -> None:
        """Free the memory of recorded steps."""
        if self.whole_step is not None and isinstance(data := self.clip_data, ClipDataModule):
            data.subsets_as_rows = set()
        self.whole_step = self.recorded_forward = None

    @property
    def clip_data(self) -> ClipDataModule:
        """Datamodule of the Trainer."""
        data: ClipDataModule = cast(Any, self.trainer).datamodule
        return data

    def clips_of(self, subset: str, rows: Tensor) -> ClipBatch:
        """Return the clips of `rows` ``(batch, 3)`` of a subset.

        Raises:
            UserError: The rows come from a dataloader that was given to the Trainer without its datamodule.
        """
        data = self.clip_data
        if not isinstance(data, ClipDataModule) or subset not in data.subsets_as_rows:
            raise UserError("Give the Trainer the datamodule, not its dataloaders: fit(model, datamodule=data).")
        return data.clips(subset, rows)

    def _why_not_whole(self) -> str | None:
        own = [name for name in _OF_STEPS if hooks_of([self], name, StepModule)]
        return f"{type(self).__name__} has a {own[0]} of its own" if own else why_not_whole(self)

    def _say_not_recorded(self, reason: str, what: str = "the training step") -> None:
        if self.trainer.is_global_zero:
            say(f"Note: trainer.step=graph cannot record {what}, as {reason}; it runs with step=eager.")

    def training_step(self, batch: Tensor | ClipBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch of training clips; a whole step also updates the weights."""
        return self.loss_of(batch) if self.whole_step is None else self.whole_step(batch)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients, unless a whole step has done so."""
        if self.whole_step is None:
            super().backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Reset the gradients, unless a whole step does so."""
        if self.whole_step is None:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Update the weights; a whole step does so within the closure."""
        if self.whole_step is None or optimizer_closure is None:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        else:
            optimizer_closure()

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradient, also for fused optimizers, which Lightning needlessly refuses in bf16."""
        if not gradient_clip_val and not self.keeps_gradient_norm:
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # Lightning leaves this to the optimizer, too late for the norm.
        if self.keeps_gradient_norm:
            parameters = (parameter for module in self.clipped_apart() for parameter in module.parameters())
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            self.gradient_norm = nn.utils.get_total_norm(gradients)
        if not gradient_clip_val:
            return
        clip = nn.utils.clip_grad_value_ if gradient_clip_algorithm == "value" else nn.utils.clip_grad_norm_
        for module in self.clipped_apart():
            clip(module.parameters(), gradient_clip_val)

    def clipped_apart(self) -> list[nn.Module]:
        """Return the modules whose gradients are clipped separately, each by its own norm."""
        return [self.network]
