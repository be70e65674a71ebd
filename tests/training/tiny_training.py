"""A training of a tiny network on noise, and everything that comes of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch import Tensor

from genreclf.audio.log_mel import FeatureSpec
from genreclf.data.datamodule import ClipDataModule
from genreclf.data.store import Store
from genreclf.models import GenreClassifier
from genreclf.models.crnn import CRNN
from genreclf.splits.base import Segment, Split
from genreclf.training.callbacks import EpochSeed, LogEpoch

Make = Callable[[], GenreClassifier]
"""Makes a model with its optimizer, schedule and loss."""

GENRES = ("blues", "metal")
SPEC = FeatureSpec.of_audio(sample_rate=8000, n_fft=512, hop_length=256, n_mels=128, clip_seconds=0.5)
STEPS = 7
VALIDATED = 2
"""Batches of a validation."""

ADAM = partial(torch.optim.Adam, lr=1e-2, fused=True)
ADAMW = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1, fused=True)
SGD = partial(torch.optim.SGD, lr=1e-2, momentum=0.9, nesterov=True, fused=True)


def data_of(store: Store, **settings: Any) -> ClipDataModule:
    """Return batches of 4 in epochs of `STEPS`, a validation and a test."""
    segments = tuple(Segment(name, 0, frames) for name, frames in store.lengths_frames.items())
    split = Split("noise", False, GENRES, segments, segments[:2], segments[2:4])
    genre_of = {name: name.partition("/")[0] for name in store.lengths_frames}
    defaults = {"batch_size": 4, "crops_per_track": 4 * STEPS // 6 + 1}
    return ClipDataModule(store=store, split=split, genre_of=genre_of, spec=SPEC, **{**defaults, **settings})


def crnn(**training: Any) -> GenreClassifier:
    """Return a tiny network that drops out."""
    seed_everything(0, verbose=False)
    return CRNN(channels=[4] * 4, hidden=4, spec=SPEC, genres=GENRES, **training)


class Addresses(Callback):
    """Keeps the losses, and where the tensors of a training are after each recorded step."""

    def __init__(self) -> None:
        """Know none yet."""
        self.seen: list[set[int]] = []
        self.losses: list[Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        """Look at weights, statistics, sums, the state of the optimizer and the inputs of the step."""
        self.losses.append(outputs["loss"].clone())
        step = pl_module.whole_step
        if step is None or not step.is_recorded:
            return
        tensors = [*pl_module.parameters(), *pl_module.buffers(), pl_module.train_sums]
        tensors += [value for state in trainer.optimizers[0].state.values() for value in state.values()]
        tensors += [*step._inputs, *step._rates, step._loss]
        self.seen.append({tensor.data_ptr() for tensor in tensors})


def fit(model: GenreClassifier, data: ClipDataModule, *, step: str, **settings: Any) -> dict[str, Any]:
    """Train, and return everything that came of it."""
    addresses = Addresses()
    defaults: dict[str, Any] = {"max_epochs": 2, "precision": "32-true", "gradient_clip_val": 1.0, "logger": False}
    defaults["enable_progress_bar"] = False
    callbacks = [LogEpoch(), EpochSeed(0), addresses, *settings.pop("callbacks", [])]
    trainer = Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        **{**defaults, **settings},
    )
    model.records_steps = step == "graph"
    trainer.fit(model, datamodule=data)
    assert model.whole_step is None
    assert all(seen == addresses.seen[0] for seen in addresses.seen)
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    optimizer = trainer.optimizers[0]
    state = {"weights": model.state_dict(), "optimizer": optimizer.state_dict(), "losses": addresses.losses}
    schedulers = [entry.scheduler.state_dict() for entry in trainer.lr_scheduler_configs]
    return {**state, "metrics": metrics, "step": trainer.global_step, "schedulers": schedulers}


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Compare nested values to the last digit."""
    if isinstance(one, Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, (first, second) in enumerate(zip(one, other, strict=True)):
            assert_same(first, second, f"{where}[{number}]")
    else:
        assert one == other, where
