import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from tiny_training import ADAMW, assert_same, crnn, data_of, fit
from torch.nn import functional

from genreclf.audio.log_mel import FeatureSpec
from genreclf.data.clips import ClipBatch
from genreclf.data.store import Store
from genreclf.errors import UserError
from genreclf.models import FFNN
from genreclf.training.callbacks import EpochSeed
from genreclf.training.progress import EpochProgress
from genreclf.training.schedulers import onecycle


def test_the_figures_of_an_epoch_are_means_over_its_clips_in_one_place_of_the_memory() -> None:
    spec = FeatureSpec.of_audio(sample_rate=8000, n_fft=256, hop_length=128, n_mels=32, clip_seconds=0.5)
    model = FFNN(spec=spec, genres=["blues", "rock"], dropout=0.0)
    model.trainer = Trainer(accelerator="cpu", accumulate_grad_batches=2, logger=False, enable_checkpointing=False)
    model.on_train_start()
    place = model.train_sums.data_ptr()
    for _ in range(2):
        model.on_train_epoch_start()
        logits, genres = [], []
        for clips in (8, 3):
            stored = torch.randint(-20000, 0, (clips, 32, spec.clip_frames), dtype=torch.int16)
            genre = torch.arange(clips) % 2
            model.training_step(ClipBatch(stored, genre, genre, genre), 0)
            logits.append(model(stored))
            genres.append(genre)
        expected = functional.cross_entropy(torch.cat(logits), torch.cat(genres)).item()
        right = int((torch.cat(logits).argmax(1) == torch.cat(genres)).sum())
        losses, correct, count = model.train_sums.tolist()
        assert (correct, count) == (right, 11)
        assert losses / count == pytest.approx(expected, rel=1e-6)
    assert model.train_sums.data_ptr() == place


def test_each_epoch_seeds_every_generator_anew() -> None:
    def draws(epoch: int) -> tuple[float, float, float]:
        trainer: Any = SimpleNamespace(current_epoch=epoch, global_rank=0)
        EpochSeed(3).on_train_epoch_start(trainer, torch.nn.Identity())  # type: ignore[arg-type]
        return random.random(), float(np.random.random()), float(torch.rand(()))

    first = draws(1)
    assert all(one != other for one, other in zip(first, draws(2), strict=True))
    assert draws(1) == first


def test_dataloaders_without_their_datamodule_are_refused(store: Store) -> None:
    data = data_of(store)
    data.setup("fit")
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **settings)
    for task, loader in ((trainer.fit, data.train_dataloader()), (trainer.validate, data.val_dataloader())):
        with pytest.raises(UserError, match="Give the Trainer the datamodule, not its dataloaders"):
            task(crnn(), loader)


def test_a_schedule_has_the_steps_of_epochs_that_accumulate_gradients(store: Store) -> None:
    def trained(**settings: Any) -> dict[str, Any]:
        return fit(crnn(optimizer=ADAMW, scheduler=onecycle), data_of(store), step="eager", **settings)

    of_three = trained(callbacks=[GradientAccumulationScheduler({0: 3})])
    assert_same(of_three, trained(accumulate_grad_batches=3))
    bar = EpochProgress(0)
    changing = trained(callbacks=[GradientAccumulationScheduler({1: 3}), bar], enable_progress_bar=True)
    assert changing["step"] == bar._steps == changing["schedulers"][0]["total_steps"] - 1
    cut = trained(callbacks=[GradientAccumulationScheduler({1: 3})], max_steps=9)
    assert cut["step"] == cut["schedulers"][0]["total_steps"] - 1 == 9
