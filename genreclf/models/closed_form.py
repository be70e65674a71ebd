"""Base class of models that are fitted to all training clips at once, without epochs, and the simplest of them."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Unpack, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from genreclf.data.datamodule import ClipDataModule
from genreclf.training.module import GenreClassifier, Training


class ClosedFormClassifier(GenreClassifier):
    """Base of models that are fitted at once, without any epochs.

    A subclass sets `network` as any other, and fits it in `fit_clips`. Its weights are tensors of fixed shapes, so that
    checkpoint, test, prediction and export are those of the other models. Optimizer, scheduler, loss and augmentation
    have no effect on it.
    """

    fits_at_once = True

    def setup(self, stage: str) -> None:
        """Fit the network if training is to begin, and let it end before its first epoch."""
        super().setup(stage)
        if stage == "fit" and self._trainer is not None:
            self.trainer.fit_loop.max_epochs = 0
            with torch.inference_mode():
                self.fit_clips(self.clip_data)

    @abstractmethod
    def fit_clips(self, data: ClipDataModule) -> None:
        """Fit `network` to the training clips of `data`."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return no optimizer."""
        return None

    def each(self, data: ClipDataModule, stage: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """Yield what a stage of the network returns of each batch of the grid of training clips."""
        self.network.eval()
        for rows in torch.split(data.grid("train"), data.batch_size):
            yield stage(self.scaling(data.clips("train", rows).stored.to(self.scaling.mean.device)))


class Constant(ClosedFormClassifier):
    """Predicts the most frequent genre of the training tracks for every clip: a baseline that any model must beat.

    Its probabilities are the shares of the genres in training, so that its loss is the best without listening.
    """

    def __init__(self, **training: Unpack[Training]) -> None:
        super().__init__(**training)
        self.network = Shares(len(self.genres))

    def fit_clips(self, data: ClipDataModule) -> None:
        """Count the training tracks of each genre."""
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
        """Return the logits ``(batch, genre)`` of any clips ``(batch, mel, frame)``."""
        return self.logits.expand(x.shape[0], -1)  # `len` would fix the size of the batch in an export.
