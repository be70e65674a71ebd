"""The LightningModule that all architectures share: scaling, training step, evaluation, optimizer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NotRequired, TypedDict, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from genreclf.audio.log_mel import FeatureSpec
from genreclf.audio.scaling import Scale, Scaling
from genreclf.data.clips import ClipBatch
from genreclf.data.datamodule import ClipDataModule
from genreclf.distributed.batch_norm import broadcast_buffers
from genreclf.errors import UserError
from genreclf.escaping import say
from genreclf.evaluation.gather import GatheredPredictions
from genreclf.evaluation.metrics import evaluate
from genreclf.evaluation.predictions import ClipPredictions
from genreclf.training.augment import Augment
from genreclf.training.compilation import compiled
from genreclf.training.graph import RECORDERS, GraphStep, obstacle
from genreclf.training.losses import CrossEntropy

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[[Optimizer, int], LRSchedulerConfigType]


class Training(TypedDict):
    """The arguments of `GenreClassifier`, which every architecture passes on."""

    spec: FeatureSpec | Mapping[str, Any]
    genres: Sequence[str]
    scale: NotRequired[Scale]
    loss: NotRequired[nn.Module | None]
    augment: NotRequired[Augment | None]
    optimizer: NotRequired[MakeOptimizer | None]
    scheduler: NotRequired[MakeScheduler | None]


class GenreClassifier(LightningModule):
    """Classifies clips, given as stored spectrograms, by genre.

    An architecture is a subclass whose ``__init__`` sets `network`, which maps scaled spectrograms
    ``(batch, mel, frame)`` to logits ``(batch, genre)``. A network with an ``embed(x)`` and a ``classifier``, such as
    `genreclf.models.layers.Network`, has embeddings as well. The arguments of the subclass must be plain numbers,
    strings, lists or dictionaries: the checkpoint keeps them, and loads with ``weights_only=True``.

    Args:
        spec: What the spectrograms are.
        genres: Names of the classes, in the order of the logits.
        scale: How stored values are scaled for the network, see `genreclf.audio.scaling.Scaling`.
        loss: Takes logits and targets, both ``(batch, genre)``; cross-entropy by default.
        augment: Changes scaled clips and targets in training.
        optimizer: Called with the parameters; AdamW by default.
        scheduler: Called with the optimizer and the number of steps, see `genreclf.training.schedulers`.
    """

    network: nn.Module

    def __init__(
        self,
        *,
        spec: FeatureSpec | Mapping[str, Any],
        genres: Sequence[str],
        scale: Scale = "standardize",
        loss: nn.Module | None = None,
        augment: Augment | None = None,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
    ) -> None:
        """Keep the parts of the training; the subclass then sets `network`."""
        super().__init__()
        self.save_hyperparameters(ignore=["spec", "genres", "loss", "augment", "optimizer", "scheduler"])
        self.spec = FeatureSpec.from_plain(spec)
        self.genres = list(genres)
        self.save_hyperparameters({"spec": self.spec.plain(), "genres": self.genres})
        self.scaling = Scaling(spec=self.spec, scale=scale)
        self.loss = loss or CrossEntropy()
        self.augment = augment
        self.make_optimizer = optimizer or partial(AdamW, lr=1e-3)
        self.make_scheduler = scheduler
        self.warnings: list[str] = []
        """Warnings for the user, for example about clips that are stretched to the size of the network's input."""
        self.predictions: ClipPredictions | None = None
        """Predictions of the last validation or test, the same on every rank."""
        self.train_sums = torch.zeros(3)
        """Of the clips of an epoch: their losses, how many were right, how many there were; on the device, in place."""
        self.gathered = GatheredPredictions(genres=self.genres, frames_per_second=self.spec.frames_per_second)
        self._train_network: Callable[[Tensor], Tensor] | None = None
        self.records_steps = False
        """Whether training steps are recorded once and replayed, see `genreclf.training.graph`, where they can be."""
        self.graph_step: GraphStep | None = None
        """The recorded step, while a training has one."""

    def compile_training(self, mode: str) -> None:
        """Compile `network` for training; validation and test keep the uncompiled one, whose values never change.

        Args:
            mode: Of `torch.compile`: ``default``, ``reduce-overhead`` (CUDA graphs) or ``max-autotune``.
        """
        self._train_network = compiled(self.network, mode)

    def setup(self, stage: str) -> None:
        """Fit the scaling if nothing has; store convolutions channels last, which is faster on CPUs and GPUs.

        Raises:
            UserError: The genres of the data are others than the model's, or in another order.
        """
        # A prediction has no trainer.
        if self._trainer is not None and isinstance(data := self._data, ClipDataModule):
            if list(data.genres) != self.genres:
                known, given = ", ".join(self.genres), ", ".join(data.genres)
                raise UserError(f"The genres of the model ({known}) and of the data ({given}) are not the same.")
            if stage == "fit" and not self.scaling.is_fitted:
                self.scaling.fit(data.sample("train"))
        self.network.to(memory_format=torch.channels_last)

    def forward(self, stored: Tensor) -> Tensor:
        """Return logits ``(batch, genre)`` of stored values ``(batch, mel, frame)``."""
        logits: Tensor = self.network(self.scaling(stored))
        return logits

    def on_train_start(self) -> None:
        """Put the sums on the device, and prepare to record the training step if that is wanted."""
        self.train_sums = self.train_sums.to(self.device)
        if not self.records_steps:
            return
        if reason := obstacle(self):
            self._say_not_recorded(reason)
            return
        optimizer, device = self.trainer.optimizers[0], self.trainer.strategy.root_device
        norm, kind = self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm
        self.graph_step = GraphStep(
            self._loss_of,
            optimizer=optimizer,
            clip=lambda: self.configure_gradient_clipping(optimizer, norm, kind),
            recorder=RECORDERS[device.type](device),
            device=device,
            warn=self._say_not_recorded,
        )
        if isinstance(data := self._data, ClipDataModule):
            data.cuts_training_clips = False  # They are cut within the step.

    def on_train_end(self) -> None:
        """Give back the memory of the recorded step."""
        if self.graph_step is not None and isinstance(data := self._data, ClipDataModule):
            data.cuts_training_clips = True
        self.graph_step = None

    def on_train_epoch_start(self) -> None:
        """Start the sums of an epoch, and end the recording if a callback has changed what it depends on."""
        self.train_sums.zero_()
        if self.graph_step is not None and (reason := obstacle(self)):
            self.on_train_end()
            self._say_not_recorded(reason)

    def _say_not_recorded(self, reason: str) -> None:
        if self.trainer.is_global_zero:
            say(f"Note: trainer.step=graph does not record the training step, as {reason}; it runs as with step=eager.")

    def training_step(self, batch: Tensor | ClipBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch of random clips; a recorded step has updated the weights then."""
        return self._loss_of(batch) if self.graph_step is None else self.graph_step(batch)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients, unless the recorded step has done so."""
        if self.graph_step is None:
            super().backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Forget the gradients, unless the recorded step does so."""
        if self.graph_step is None:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Update the weights; a recorded step does so within the closure."""
        if self.graph_step is None or optimizer_closure is None:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        else:
            optimizer_closure()

    def _loss_of(self, batch: Tensor | ClipBatch) -> Tensor:
        """Return the loss of rows, see `genreclf.data.clips.random_clips`, or of clips; count it in the epoch's."""
        if isinstance(batch, Tensor):
            batch = self._data.clips("train", batch)
        x = self.scaling(batch.stored)
        y = (batch.genre[:, None] == torch.arange(len(self.genres), device=x.device)).to(x.dtype)
        if self.augment is not None:
            x, y = self.augment(x, y)
        logits = (self._train_network or self.network)(x)
        loss: Tensor = self.loss(logits, y)
        self._sum_up(loss.detach(), logits.detach(), y)
        return self._of_all_ranks(loss, len(logits))

    def _of_all_ranks(self, loss: Tensor, clips: int) -> Tensor:
        """Weigh the mean loss of a rank's clips so that the mean over the ranks is the mean over all their clips."""
        if self._trainer is None or (ranks := self.trainer.world_size) == 1:
            return loss
        even = getattr(getattr(self.trainer, "datamodule", None), "batch_size", ranks * clips) / ranks
        return loss if clips == even else loss * (clips / even)

    def _sum_up(self, loss: Tensor, logits: Tensor, y: Tensor) -> None:
        """Add the figures of a step to `train_sums`, in which nothing is logged, since logging takes long."""
        clips = len(logits)
        losses, right, count = self.train_sums.unbind()
        losses.add_(loss * clips)
        right.add_((logits.argmax(1) == y.argmax(1)).sum())
        count.add_(clips)

    def log_epoch(self) -> None:
        """Log the mean loss and the accuracy of the epoch's training clips on all ranks."""
        losses, right, count = self.trainer.strategy.reduce(self.train_sums.clone(), reduce_op="sum").unbind()
        self.log("train/loss", losses / count, batch_size=1)
        self.log("train/accuracy", right / count, batch_size=1)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """Gather the logits of a batch of the grid."""
        self.gathered.update(batch.segment, batch.start_frame, batch.genre, self(batch.stored), batch.track_ids)

    test_step = validation_step

    def on_validation_epoch_start(self) -> None:
        """Give all ranks the buffers of the first, whose checkpoint it will be."""
        if self.trainer.world_size > 1:
            broadcast_buffers(self)

    def on_validation_epoch_end(self) -> None:
        """Log loss and accuracy of the validation clips and tracks."""
        self.predictions = self._gathered()
        figures = evaluate(self.predictions)
        self.log("val/loss", figures["clip"]["loss"])
        self.log("val/clip_accuracy", figures["clip"]["accuracy"])
        self.log("val/track_loss", figures["track"]["loss"])
        self.log("val/track_accuracy", figures["track"]["accuracy"], prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Keep the predictions of all ranks in `predictions`."""
        self.predictions = self._gathered()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and the scheduler."""
        optimizer = self.make_optimizer(self.network.parameters())
        if self.make_scheduler is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": self.make_scheduler(optimizer, steps)}

    def on_train_epoch_end(self) -> None:
        """Step a scheduler that monitors a metric before the checkpoint of the epoch is written."""
        for entry in self.trainer.lr_scheduler_configs:
            value = self.trainer.callback_metrics.get(str(entry.monitor))
            if isinstance(entry.scheduler, ReduceLROnPlateau) and value is not None:
                entry.scheduler.step(float(value))

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Skip the step that Lightning takes after the checkpoint, which a resumed run would miss."""
        if metric is None:
            scheduler.step()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient, for fused optimizers too, which Lightning refuses in bf16 without need."""
        if not gradient_clip_val:
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # Lightning leaves it to the optimizer, too late for the norm.
        clip = nn.utils.clip_grad_value_ if gradient_clip_algorithm == "value" else nn.utils.clip_grad_norm_
        clip(self.network.parameters(), gradient_clip_val)

    @property
    def _data(self) -> ClipDataModule:
        data: ClipDataModule = cast(Any, self.trainer).datamodule
        return data

    def _gathered(self) -> ClipPredictions:
        predictions = self.gathered.predictions()
        self.gathered.reset()
        return predictions
