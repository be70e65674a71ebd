"""Plain Lightning script: a Dataset that decodes and transforms each clip with librosa, a DataLoader, a Trainer.

Most published GTZAN code trains from audio in this way: nothing is precomputed, and each epoch starts from the files.
"""

import random
import sys
from importlib.metadata import version
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy

from benchmarks.peers.task import (
    BATCH_SIZE,
    CENTER_DB,
    CLIP_FRAMES,
    CLIP_SECONDS,
    CLIPS_PER_TRACK,
    HOP_LENGTH,
    LEARNING_RATE,
    N_FFT,
    N_MELS,
    SAMPLE_RATE,
    SPREAD_DB,
    WEIGHT_DECAY,
    Task,
    build_network,
    parameters,
)


class Clips(Dataset[tuple[Tensor, int]]):
    """Clips of one subset, each read and transformed on access."""

    def __init__(self, task: Task, subset: str) -> None:
        self.paths = [Path(task.music, track) for track in task.subsets[subset] for _ in range(CLIPS_PER_TRACK)]
        self.labels = [task.genres.index(path.parent.name) for path in self.paths]
        self.random = subset == "train"
        self.room_s = [max(0.0, soundfile.info(path).duration - CLIP_SECONDS) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        place = random.random() if self.random else index % CLIPS_PER_TRACK / (CLIPS_PER_TRACK - 1)
        offset_s = place * self.room_s[index]
        waveform, _ = librosa.load(self.paths[index], sr=SAMPLE_RATE, offset=offset_s, duration=CLIP_SECONDS)
        power = librosa.feature.melspectrogram(
            y=waveform, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=N_MELS
        )
        level_db = librosa.util.fix_length(librosa.power_to_db(power, top_db=None), size=CLIP_FRAMES)
        scaled = (level_db - CENTER_DB) / SPREAD_DB
        return torch.from_numpy(scaled.astype(np.float32)), self.labels[index]


class Classifier(LightningModule):
    """Network and its training."""

    def __init__(self, genres: int) -> None:
        super().__init__()
        self.network = build_network(genres, channels_last=False)
        self.loss = nn.CrossEntropyLoss()
        self.accuracy = nn.ModuleDict({f"{subset}_": MulticlassAccuracy(genres, average="micro") for subset in SUBSETS})

    def _step(self, batch: tuple[Tensor, Tensor], subset: str) -> Tensor:
        logits = self.network(batch[0])
        loss: Tensor = self.loss(logits, batch[1])
        accuracy = self.accuracy[f"{subset}_"]
        accuracy(logits, batch[1])
        self.log(f"{subset}/loss", loss, on_step=False, on_epoch=True)
        self.log(f"{subset}/accuracy", accuracy, on_step=False, on_epoch=True)  # type: ignore[arg-type]
        return loss

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the validation loss and accuracy of a batch."""
        self._step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the test loss and accuracy of a batch."""
        self._step(batch, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW with a constant learning rate."""
        return torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)


SUBSETS = ("train", "val", "test")


def main() -> None:
    """Train and test as specified by the task."""
    task = Task.read(sys.argv[1])
    loaders = {
        subset: DataLoader(
            Clips(task, subset),
            batch_size=BATCH_SIZE,
            shuffle=subset == "train",
            num_workers=task.workers,
            persistent_workers=task.workers > 0,
            pin_memory=task.accelerator == "gpu",
        )
        for subset in SUBSETS
    }
    model = Classifier(len(task.genres))
    trainer = Trainer(
        accelerator=task.accelerator,
        devices=1,
        max_epochs=task.epochs,
        precision="bf16-mixed" if task.precision == "bf16" else "32-true",
        default_root_dir=task.folder,
        logger=CSVLogger(task.folder),
        callbacks=[ModelCheckpoint(monitor="val/accuracy", mode="max", save_last=True)],
        log_every_n_steps=10,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, loaders["train"], loaders["val"])
    (figures,) = trainer.test(model, loaders["test"], ckpt_path="best", weights_only=True)
    task.finish(
        parameters=parameters(model.network),
        accuracy=figures["test/accuracy"],
        versions={name: version(name) for name in ("lightning", "librosa", "torch")},
    )


if __name__ == "__main__":
    main()
