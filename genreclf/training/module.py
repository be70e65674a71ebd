"""LightningModule that all architectures share: scaling, training step, evaluation and optimizer."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, NotRequired, TypedDict

import torch
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.optimizer import ParamsT

from genreclf.audio.log_mel import FeatureSpec
from genreclf.audio.scaling import Scale, Scaling
from genreclf.data.clips import ClipBatch
from genreclf.data.datamodule import ClipDataModule
from genreclf.distributed.batch_norm import broadcast_buffers
from genreclf.errors import UserError
from genreclf.evaluation.gather import GatheredPredictions
from genreclf.evaluation.metrics import accuracies_and_losses
from genreclf.evaluation.predictions import ClipPredictions
from genreclf.training.augment import Augment
from genreclf.training.compilation import compiled
from genreclf.training.loops import use_short_loops
from genreclf.training.losses import CrossEntropy, Distillation
from genreclf.training.parts import PartsModule
from genreclf.training.schedulers import training_steps
from genreclf.values import plain

MakeOptimizer = Callable[[ParamsT], Optimizer]
MakeScheduler = Callable[[Optimizer, int], LRSchedulerConfigType]


class Training(TypedDict):
    """Arguments of `GenreClassifier`, which every architecture passes on."""

    spec: FeatureSpec | Mapping[str, Any]
    genres: Sequence[str]
    scale: NotRequired[Scale]
    loss: NotRequired[nn.Module | None]
    augment: NotRequired[nn.Module | None]
    optimizer: NotRequired[MakeOptimizer | None]
    scheduler: NotRequired[MakeScheduler | None]


class GenreClassifier(PartsModule):
    """Classifies clips, given as stored spectrograms, by genre.

    An architecture is a subclass whose ``__init__`` sets `network`, which maps scaled spectrograms
    ``(batch, mel, frame)`` to logits ``(batch, genre)``. A network with an ``embed(x)`` method and a ``classifier``,
    such as `genreclf.models.layers.Network`, also provides embeddings. The arguments of the subclass must be plain
    numbers, strings, lists or dictionaries: they are saved in the checkpoint, which is loaded with
    ``weights_only=True``.

    Args:
        spec: Parameters of the spectrograms.
        genres: Names of the genres, in the order of the logits.
        scale: How stored values are scaled for the network, see `genreclf.audio.scaling.Scaling`.
        loss: Loss of logits and targets, both ``(batch, genre)``; cross-entropy by default.
        augment: Augmentation of scaled clips and their targets in training; None for no augmentation.
        optimizer: Function that returns the optimizer of given parameters; AdamW by default.
        scheduler: Function that returns the learning-rate schedule for an optimizer and a number of training steps, see
            `genreclf.training.schedulers`; None for a constant learning rate.
    """

    network: nn.Module
    fits_at_once: ClassVar[bool] = False
    """Whether the model is fitted in closed form, without epochs; see `genreclf.models.closed_form`."""

    embedding_sizes: tuple[int, ...] = ()
    """Number of values in each part of an embedding, learned parts first; empty if there is only one part."""

    takes: ClassVar[Literal["log_mel", "waveform", "embedding", "encoder"]] = "log_mel"
    """Input of the network: ``(batch, mel, frame)`` spectrograms, ``(batch, sample)`` waveforms at
    ``features.sample_rate``, ``(batch, value, frame)`` embeddings of the encoder, or the encoder's own input."""

    def __init__(
        self,
        *,
        spec: FeatureSpec | Mapping[str, Any],
        genres: Sequence[str],
        scale: Scale = "standardize",
        loss: nn.Module | None = None,
        augment: nn.Module | None = None,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
    ) -> None:
        """Store the parts of the training; the subclass then sets `network`."""
        super().__init__()
        self.save_hyperparameters(
            ignore=["spec", "genres", "loss", "augment", "optimizer", "scheduler", "encoder", "members"]
        )
        self.spec = FeatureSpec.from_plain(spec)
        self.genres = list(genres)
        self.save_hyperparameters({**plain(self.hparams), "spec": self.spec.plain(), "genres": self.genres})
        self.scaling = Scaling(spec=self.spec, scale=scale)
        self.loss = loss or CrossEntropy()
        self.augment = Augment(augment) if augment is not None and not isinstance(augment, Augment) else augment
        if self.augment is not None:
            self.augment.use(self.scaling)
        self.make_optimizer = optimizer or partial(AdamW, lr=1e-3)
        self.make_scheduler = scheduler
        self.warnings: list[str] = []
        """Warnings for the user, for example about clips that are stretched to the size of the network's input."""
        self.predictions: ClipPredictions | None = None
        """Predictions of the last validation or test in this process, the same on every rank; None before the first."""
        self.train_sums = torch.zeros(3)
        """Loss sum, correct predictions and count of the epoch's training clips; on the device, updated in place."""
        self._targets = torch.eye(len(self.genres))
        self.gathered = GatheredPredictions(genres=self.genres, frames_per_second=self.spec.frames_per_second)
        self._train_network: Callable[[Tensor], Tensor] | None = None
        self._is_validated = False

    def compile_training(self, mode: str) -> None:
        """Compile `network` for training; validation and test use it uncompiled, so that their results do not change.

        Args:
            mode: Mode of ``torch.compile``: ``default``, ``reduce-overhead`` (CUDA graphs) or ``max-autotune``.
        """
        self._train_network = compiled(self.network, mode)

    def setup(self, stage: str) -> None:
        """Fit the scaling if it is not fitted yet; store convolutions channels last, which is faster on CPUs and GPUs.

        Raises:
            UserError: The genres, their order, or the parameters of the spectrograms differ between data and model.
        """
        # A prediction has no trainer.
        if self._trainer is not None:
            self._end_training()  # An earlier one may have been interrupted.
        if self._trainer is not None and isinstance(data := self.clip_data, ClipDataModule):
            if list(data.genres) != self.genres:
                known, given = ", ".join(self.genres), ", ".join(data.genres)
                raise UserError(
                    f"The genres of the model ({known}) and of the data ({given}) differ; their order counts."
                )
            if differing := data.spec.differing(self.spec):
                raise UserError(f"The model is made for other spectrograms than the data's ({differing}).")
            if stage == "fit" and not self.scaling.is_fitted:
                self.scaling.fit(data.sample("train"))
        if stage == "fit" and self._trainer is not None:
            use_short_loops(self.trainer)
        self.network.to(memory_format=torch.channels_last)

    def forward(self, stored: Tensor) -> Tensor:
        """Return the logits ``(batch, genre)`` of stored values ``(batch, mel, frame)``."""
        logits: Tensor = self.network(self.scaling(stored))
        return logits

    def on_train_start(self) -> None:
        """Move the tensors that training steps use to the device, and prepare the steps."""
        self.train_sums, self._targets = self.train_sums.to(self.device), self._targets.to(self.device)
        self.scaling.hold()
        self.prepare_steps(validates_rows=type(self).validation_step is GenreClassifier.validation_step)

    def on_train_end(self) -> None:
        """Free the memory of recorded training steps."""
        self._end_training()

    def _end_training(self) -> None:
        self.scaling.release()
        self.end_steps()

    def on_train_epoch_start(self) -> None:
        """Reset the sums of the epoch, and check whether a callback has changed how training steps must be taken."""
        self.train_sums.zero_()
        self.check_steps()

    def loss_of(self, batch: Tensor | ClipBatch) -> Tensor:
        """Return the loss of a training batch, and add it to the sums of the epoch.

        Args:
            batch: Clips, or their rows as returned by `genreclf.data.clips.random_clips`.
        """
        if isinstance(batch, Tensor):
            batch = self.clips_of("train", batch)
        x = self.scaling(batch.stored)
        y = self._targets.index_select(0, batch.genre).to(x.dtype)
        if isinstance(self.loss, Distillation):
            assert self.loss.soft_targets is not None, "a Distillation needs the probabilities of its teacher: teach"
            y = torch.cat([y, self.loss.soft_targets[batch.segment]], 1)
        if self.augment is not None:
            x, y = self.augment(x, y)
        loss, logits = self.clip_loss(x, y)
        self._sum_up(loss.detach(), logits.detach(), y)
        return self._of_all_ranks(loss, len(logits))

    def clip_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss that is minimized, and the logits ``(batch, genre)``.

        Args:
            x: Scaled and augmented clips.
            y: Targets ``(batch, genre)``; for a `Distillation`, followed by its soft targets.
        """
        logits = (self._train_network or self.network)(x)
        return self.loss(logits, y), logits

    def _of_all_ranks(self, loss: Tensor, clips: int) -> Tensor:
        """Weight the mean loss of this rank's clips so that the mean over ranks is the mean over all clips."""
        if self._trainer is None or (ranks := self.trainer.world_size) == 1:
            return loss
        even = getattr(getattr(self.trainer, "datamodule", None), "batch_size", ranks * clips) / ranks
        return loss if clips == even else loss * (clips / even)

    def _sum_up(self, loss: Tensor, logits: Tensor, y: Tensor) -> None:
        """Add the results of a training step to `train_sums`, without logging them, since logging is slow."""
        clips = len(logits)
        losses, right, count = self.train_sums.unbind()
        losses.add_(loss, alpha=clips)
        right.add_((logits.argmax(1) == y[:, : logits.shape[1]].argmax(1)).sum())
        count.add_(clips)

    def log_epoch(self) -> None:
        """Log the mean loss and the accuracy of the epoch's training clips over all ranks."""
        losses, right, count = self.trainer.strategy.reduce(self.train_sums.clone(), reduce_op="sum").unbind()
        self.log("train/loss", losses / count, batch_size=1)
        self.log("train/accuracy", right / count, batch_size=1)

    def validation_step(self, batch: Tensor | ClipBatch, batch_idx: int) -> None:
        """Gather the logits of a batch of clips, or of their rows if the forward pass is recorded."""
        if isinstance(batch, Tensor):
            clips, logits = (self.recorded_forward or self.predict_rows)(batch)
            # The next batch overwrites them.
            values = (clips.segment.clone(), clips.start_frame.clone(), clips.genre.clone(), logits.clone())
            self.gathered.update(*values, clips.track_ids)
        else:
            self.gathered.update(batch.segment, batch.start_frame, batch.genre, self(batch.stored), batch.track_ids)

    def predict_rows(self, rows: Tensor) -> tuple[ClipBatch, Tensor]:
        """Return the validation clips of `rows` ``(batch, 3)`` and their logits."""
        clips = self.clips_of("val", rows)
        return clips, self(clips.stored)

    test_step = validation_step

    def on_validation_epoch_start(self) -> None:
        """Copy the buffers of the first rank, which saves the checkpoint, to all ranks."""
        if self.trainer.world_size > 1:
            broadcast_buffers(self)

    def on_validation_epoch_end(self) -> None:
        """Log the loss and accuracy of the validation clips and tracks."""
        self.log_validation(self._gathered())

    def log_validation(self, predictions: ClipPredictions) -> None:
        """Keep the predictions of the validation clips; log the loss and accuracy of the clips and of the tracks."""
        self.predictions = predictions
        self._is_validated = not self.trainer.sanity_checking
        figures = accuracies_and_losses(predictions)
        self.log("val/loss", figures["clip"]["loss"])
        self.log("val/clip_accuracy", figures["clip"]["accuracy"])
        self.log("val/track_loss", figures["track"]["loss"])
        self.log("val/track_accuracy", figures["track"]["accuracy"], prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Keep the predictions of all ranks in `predictions`."""
        self.predictions = self._gathered()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer, and the scheduler if there is one."""
        optimizer = self.optimizer_of_network()
        for part in self.parts_with_parameters():
            optimizer.add_param_group({"params": list(part.parameters())})
        if self.make_scheduler is None:
            return optimizer
        steps = int(training_steps(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": self.make_scheduler(optimizer, steps)}

    def optimizer_of_network(self) -> Optimizer:
        """Return the optimizer of the trained parameters of the network."""
        return self.make_optimizer(self.network.parameters())

    @property
    def n_parameters(self) -> int:
        """Number of parameters of the network."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def summary(self, last: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return additional entries of ``metrics.json`` about the model, given its state after the last epoch."""
        return {}

    def on_train_epoch_end(self) -> None:
        """Step a scheduler that monitors a metric, before the checkpoint of the epoch is written."""
        for entry in self.trainer.lr_scheduler_configs:
            value = self.trainer.callback_metrics.get(str(entry.monitor))
            is_of_epoch = self._is_validated or not str(entry.monitor).startswith("val/")
            if isinstance(entry.scheduler, ReduceLROnPlateau) and value is not None and is_of_epoch:
                entry.scheduler.step(float(value))
        self._is_validated = False

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a scheduler, unless it monitors a metric: a resumed run would miss this step after the checkpoint."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def _gathered(self) -> ClipPredictions:
        predictions = self.gathered.predictions()
        self.gathered.reset()
        return predictions
