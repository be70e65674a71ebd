"""Base class of models that are fitted to all training clips at once, without epochs, and a constant baseline."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Unpack, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from genreclf.data.datamodule import ClipDataModule
from genreclf.training.module import GenreClassifier, Training


class ClosedFormClassifier(GenreClassifier):
    """Base class of models that are fitted to all training clips at once, without epochs.

    A subclass sets `network` like any other model, and fits it in `fit_clips`. The weights of the network must be
    tensors of fixed shapes, so that checkpoints, test, prediction and export work as for other models. Optimizer,
    scheduler, loss and augmentation have no effect.
    """

    fits_at_once = True

    def setup(self, stage: str) -> None:
        """Fit the network if `stage` is ``fit``, and make the training end before its first epoch."""
        super().setup(stage)
        if stage == "fit" and self._trainer is not None:
            self.trainer.fit_loop.max_epochs = 0
            with torch.inference_mode():
                self.fit_clips(self.clip_data)

    @abstractmethod
    def fit_clips(self, data: ClipDataModule) -> None:
        """Fit `network` to the training clips of `data`."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return None, since no optimizer is needed."""
        return None

    def each(self, data: ClipDataModule, stage: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """Yield the output of `stage`, a part of the network, for each batch of the fixed grid of training clips."""
        self.network.eval()
        for rows in torch.split(data.grid("train"), data.batch_size):
            yield stage(self.scaling(data.clips("train", rows).stored.to(self.scaling.mean.device)))


class Constant(ClosedFormClassifier):
    """Predicts the most frequent genre of the training tracks for every clip: a baseline that any model must beat.

    Its probabilities are the shares of the genres among the training tracks, which gives the lowest loss that is
    possible without listening.
    """

    def __init__(self, **training: Unpack[Training]) -> None:
        super().__init__(**training)
        self.network = Shares(len(self.genres))

    def fit_clips(self, data: ClipDataModule) -> None:
        """Set the logits from the number of training tracks of each genre."""
        genre_of = {segment.track_id: data.genre_of[segment.track_id] for segment in data.segments("train")}
        counts = torch.tensor([list(genre_of.values()).count(genre) for genre in self.genres], dtype=torch.float32)
        shares = cast(Shares, self.network)
        shares.logits.copy_((counts / counts.sum()).clamp(min=1e-9).log())


class Shares(nn.Module):
    """A network whose logits are the same for every clip."""

    def __init__(self, genres: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(genres), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(batch, genre)`` for clips ``(batch, mel, frame)``, whatever the clips contain."""
        return self.logits.expand(x.shape[0], -1)  # `len` would fix the batch size in an export.
