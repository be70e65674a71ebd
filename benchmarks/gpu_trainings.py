"""Short trainings on noise with timed training steps, for `benchmarks.gpu_steps`."""

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from benchmarks.gpu_operations import milliseconds, wait
from genreclf.audio.log_mel import FeatureSpec
from genreclf.data.datamodule import ClipDataModule
from genreclf.data.store import Recipe, open_or_build
from genreclf.datasets.base import Track
from genreclf.models import GenreClassifier
from genreclf.models.cnn import CNN
from genreclf.models.crnn import CRNN
from genreclf.models.statistics_crnn import StatisticsCRNN
from genreclf.splits.base import Segment, Split
from genreclf.training.callbacks import EpochSeed, LogEpoch
from genreclf.training.schedulers import cosine

MODELS: dict[str, Callable[..., GenreClassifier]] = {"crnn": CRNN, "cnn": CNN, "statistics_crnn": StatisticsCRNN}
LEAD_STEPS = 10
"""Training steps before the timing starts: the first three run eagerly, and cuDNN loads its kernels."""


class Watch(Callback):
    """Callback that times the training steps after the first `LEAD_STEPS`, without waiting for the device in between.

    Args:
        steps: Number of timed training steps.
        around: Makes a context manager that is open during the timed steps, such as a profiler.
    """

    def __init__(self, steps: int, around: Callable[[], contextlib.AbstractContextManager[Any]]) -> None:
        self.steps, self.around = steps, around
        self.losses: list[torch.Tensor] = []
        self.step_ms = self.alone_ms = 0.0
        self.recorded = False
        self._open = contextlib.ExitStack()
        self._started_s = 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Start and stop the timing."""
        self.losses.append(outputs["loss"].detach().clone())
        if trainer.global_step == LEAD_STEPS:
            wait()
            self._open.enter_context(self.around())
            self._started_s = time.perf_counter()
        elif trainer.global_step == LEAD_STEPS + self.steps:
            wait()
            self.step_ms = (time.perf_counter() - self._started_s) / self.steps * 1e3
            self._open.close()
            if (step := pl_module.whole_step) is not None:
                self.recorded = step.is_recorded
                self.alone_ms = milliseconds(partial(step, batch), self.steps)


class Trainings:
    """Trainings on one device with the same noise as data.

    Args:
        accelerator: ``gpu``, or ``cpu`` for a dry run.
        quick: Use sizes that only show that everything runs.
        folder: Folder of the store of noise.
    """

    def __init__(
        self,
        *,
        accelerator: str,
        quick: bool,
        folder: Path,
    ) -> None:
        self.accelerator, self.quick = accelerator, quick
        self.precision = "bf16-mixed" if accelerator == "gpu" else "32-true"
        seconds_of_clip = 0.75 if quick else 10.0
        self.spec = FeatureSpec.of_audio(
            sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128, clip_seconds=seconds_of_clip
        )
        genres = [f"genre{number}" for number in range(10)]
        tracks = [
            Track(f"{genre}/{n}", genre, folder / f"{genre}-{n}") for genre in genres for n in range(2 if quick else 20)
        ]
        frames = 3 * self.spec.clip_frames
        draws = np.random.default_rng(0)

        def noise(track: Track) -> np.ndarray[Any, Any]:
            return draws.integers(-20_000, 0, (frames, self.spec.n_mels), dtype=np.int16)

        self.store = open_or_build(
            directory=folder, recipe=Recipe("noise", "int16", 128, {}), tracks=tracks, encode=noise, workers=1
        )
        whole = tuple(Segment(track.id, 0, frames) for track in tracks)
        self.split = Split("noise", False, tuple(genres), whole, (), ())
        self.genre_of = {track.id: track.genre for track in tracks}

    def data(self, batch: int, steps: int) -> ClipDataModule:
        """Return a data module with at least `steps` batches of size `batch` per epoch."""
        return ClipDataModule(
            store=self.store,
            split=self.split,
            genre_of=self.genre_of,
            spec=self.spec,
            batch_size=batch,
            crops_per_track=-(-batch * steps // len(self.split.train)),
        )

    def model(self, name: str, **training: Any) -> GenreClassifier:
        """Return one of `MODELS` with the default optimizer of a run."""
        seed_everything(0, verbose=False)
        sizes: dict[str, Any] = {"channels": [4] * 4} | ({} if name == "cnn" else {"hidden": 4})
        small = sizes if self.quick else {}
        optimizer = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01, fused=True)
        defaults = {"spec": self.spec, "genres": self.split.genres, "optimizer": optimizer, "scheduler": cosine}
        return MODELS[name](**small, **{**defaults, **training})

    def fit(
        self,
        model: GenreClassifier,
        *,
        batch: int,
        way: str,
        steps: int,
        epochs: int = 1,
        around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> Watch:
        """Train as a run does, without validation, and time `steps` training steps."""
        watch = Watch(steps, around)
        total = LEAD_STEPS + steps
        trainer = Trainer(
            accelerator=self.accelerator,
            devices=1,
            precision=self.precision,  # type: ignore[arg-type]
            max_epochs=epochs,
            gradient_clip_val=1.0,
            callbacks=[LogEpoch(), EpochSeed(0), watch],
            logger=False,
            limit_val_batches=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        if "compiled" in way:
            model.compile_training("default")
        model.records_steps = "graph" in way
        trainer.fit(model, datamodule=self.data(batch, -(-total // epochs)))
        return watch
