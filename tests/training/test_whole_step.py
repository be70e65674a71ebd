"""A recorded training step trains as the same steps one by one do."""

import copy
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_recorder import Repeater
from helpers import Cli
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from tiny_training import ADAM, ADAMW, GENRES, SGD, SPEC, STEPS, VALIDATED, Make, assert_same, crnn, data_of, fit
from torch import nn

from genreclf.checkpoint import load_checkpoint
from genreclf.cli.compose import checked
from genreclf.config.keys import CONFIG_DIR
from genreclf.data.datamodule import ClipDataModule
from genreclf.data.store import Store
from genreclf.experiment.build import build_model
from genreclf.models import GenreClassifier
from genreclf.models.statistics_crnn import StatisticsCRNN
from genreclf.run_directory import RunDirectory
from genreclf.training import module, steps
from genreclf.training.augment import Augment, BandLimit, FilterAugment, MixStyle, Mixup, SpecAugment
from genreclf.training.callbacks import EpochSeed
from genreclf.training.ema import EMA
from genreclf.training.loops import TrainingLoop
from genreclf.training.losses import BCESoftmax
from genreclf.training.schedulers import cosine, onecycle, plateau
from genreclf.training.whole_step import EAGER_STEPS, WholeStep

pytestmark = pytest.mark.usefixtures("repeaters")

TRAININGS: dict[str, Make] = {
    "adamw, cosine, mixup": lambda: crnn(optimizer=ADAMW, scheduler=cosine, augment=Augment(Mixup())),
    "adam, plateau": lambda: crnn(optimizer=ADAM, scheduler=partial(plateau, monitor="train/loss", patience=0)),
    "adam, not fused": lambda: crnn(optimizer=partial(torch.optim.Adam, lr=1e-2), scheduler=cosine),
    "sgd, cosine, styles, masks": lambda: crnn(
        optimizer=SGD, scheduler=cosine, augment=Augment(MixStyle(), SpecAugment())
    ),
    "sgd without momentum": lambda: crnn(optimizer=partial(torch.optim.SGD, lr=1e-2, fused=True), scheduler=cosine),
    "rmsprop, equalizer, band limit": lambda: crnn(
        optimizer=partial(torch.optim.RMSprop, lr=1e-3), scheduler=cosine, augment=Augment(FilterAugment(), BandLimit())
    ),
    "one cycle of the rate": lambda: crnn(optimizer=ADAMW, scheduler=partial(onecycle, cycle_momentum=False)),
    "bce": lambda: crnn(optimizer=ADAMW, loss=BCESoftmax(label_smoothing=0.1), scale="unit"),
}


@pytest.mark.parametrize("make", TRAININGS.values(), ids=TRAININGS)
def test_equals_the_same_steps_one_by_one(make: Make, store: Store, repeaters: list[Repeater]) -> None:
    eager = fit(make(), data_of(store), step="eager")
    assert repeaters == []
    assert_same(fit(make(), data_of(store), step="graph"), eager)
    assert repeaters[0].recorded == 1
    assert repeaters[0].replayed == eager["step"] - EAGER_STEPS > STEPS
    assert repeaters[0].forwards_recorded == 1
    assert repeaters[0].forwards_replayed == 2 * VALIDATED - 1


class Diary(Callback):
    """Notes at each batch what a callback can see, and logs something."""

    def __init__(self, *, stops_after: int = -1) -> None:
        """Begin empty; end the training after a step."""
        self.lines: list[Any] = []
        self.stops_after = stops_after

    def note(self, trainer: Trainer, *more: Any) -> None:
        """Write a line."""
        rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        state = copy.deepcopy(trainer.fit_loop.state_dict())
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        self.lines.append([*more, trainer.global_step, trainer.current_epoch, rates, state, metrics])

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Note it."""
        self.note(trainer, "start", batch_idx)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note it with the loss, and log."""
        self.note(trainer, "end", batch_idx, outputs["loss"].clone())
        if trainer.global_step > 3:
            pl_module.log("diary", float(batch_idx), on_step=True, on_epoch=True, batch_size=2)
        if trainer.global_step == self.stops_after:
            trainer.should_stop = True

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int, *_: Any) -> None:
        """Note it."""
        self.note(trainer, "validate", batch_idx)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        """Note it, and log."""
        self.note(trainer, "validated", outputs)
        pl_module.log("validated", 1.0, batch_size=2)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Note it."""
        self.note(trainer, "epoch")


LOOPS: dict[str, dict[str, Any]] = {
    "epochs": {},
    "max_steps": {"max_steps": STEPS + 2},
    "bf16": {"precision": "bf16-mixed", "limit_train_batches": 4},
    "validation within epochs": {"val_check_interval": 3},
    "validation across epochs": {"val_check_interval": 5, "check_val_every_n_epoch": None},
    "an end within an epoch": {"stops_after": STEPS + 3},
    "another profiler": {"profiler": "simple"},
}


@pytest.mark.parametrize("settings", LOOPS.values(), ids=LOOPS)
def test_callbacks_and_loggers_see_what_lightning_shows_them(
    settings: dict[str, Any], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(step: str, folder: str) -> dict[str, Any]:
        others = dict(settings)
        diary = Diary(stops_after=others.pop("stops_after", -1))
        logger = CSVLogger(tmp_path, folder, version=0)
        callbacks = [diary, EMA(0.5), LearningRateMonitor("step")]
        logged = {"logger": logger, "log_every_n_steps": 2}
        came = fit(
            TRAININGS["adamw, cosine, mixup"](), data_of(store), step=step, callbacks=callbacks, **logged, **others
        )
        return {**came, "diary": diary.lines, "logged": Path(logger.log_dir, "metrics.csv").read_text()}

    taken: list[int] = []
    take = TrainingLoop._take_steps
    monkeypatch.setattr(TrainingLoop, "_take_steps", lambda loop, *args: (taken.append(args[-1]), take(loop, *args)))
    ours = []
    for way in ("eager", "graph"):
        taken.clear()
        ours.append(seen(way, way))
        assert any(count > 1 for count in taken) is ("profiler" not in settings)
    with monkeypatch.context() as patch:
        patch.setattr(module, "use_short_loops", lambda trainer: None)
        patch.setattr(steps, "why_not_whole", lambda model: "as Lightning does")
        theirs = seen("eager", "lightning")
    for came in ours:
        assert_same(came, theirs)


BY_VALUE = {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}


@pytest.mark.parametrize(
    "settings", [{"precision": "bf16-mixed"}, {"gradient_clip_val": None}, {"max_steps": 5}, BY_VALUE], ids=str
)
def test_equals_them_under_the_settings_of_the_trainer(settings: dict[str, Any], store: Store) -> None:
    make = TRAININGS["adamw, cosine, mixup"]
    one, other = (fit(make(), data_of(store), step=step, **settings) for step in ("eager", "graph"))
    assert_same(one, other)


def test_trains_on_clips_that_were_read_ahead(store: Store, repeaters: list[Repeater]) -> None:
    one, other = (fit(crnn(), data_of(store, read_ahead=True), step=step) for step in ("eager", "graph"))
    assert_same(one, other)
    assert repeaters[0].replayed == one["step"] - EAGER_STEPS


class Uneven(ClipDataModule):
    """Has a last batch of another size."""

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Cut every fifth batch short."""
        self.batches = getattr(self, "batches", 0) + 1
        return super().transfer_batch_to_device(batch[:3] if self.batches % 5 == 0 else batch, device, dataloader_idx)


def test_trains_on_a_batch_of_another_size(store: Store, repeaters: list[Repeater]) -> None:
    results = []
    for step in ("eager", "graph"):
        data = data_of(store)
        data.__class__ = Uneven
        results.append(fit(crnn(), data, step=step, limit_val_batches=0))
    assert_same(*results)
    assert 0 < repeaters[0].replayed < results[0]["step"] - EAGER_STEPS


WITHOUT_STEPS = {"constant", "svm"}
OF_ENCODERS = {"finetune", "probe"}
MODELS = sorted({path.stem for path in Path(CONFIG_DIR, "model").glob("[!_]*.yaml")} - WITHOUT_STEPS - OF_ENCODERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_equals_its_steps_one_by_one(name: str, store: Store, repeaters: list[Repeater]) -> None:
    def make() -> GenreClassifier:
        seed_everything(0, verbose=False)
        config = checked(["data=synthetic", f"model={name}", "regularization=strong"], run_dir="-")
        return build_model(config, SPEC, data_of(store))[0]

    few = {"max_steps": EAGER_STEPS + 1, "limit_val_batches": 0}
    assert_same(*(fit(make(), data_of(store, batch_size=2), step=step, **few) for step in ("eager", "graph")))
    assert repeaters[0].replayed == 1


def test_a_callback_may_copy_the_model(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[GenreClassifier] = []
    monkeypatch.setattr(Repeater, "graph", threading.Lock(), raising=False)
    # As a CUDA graph, a lock cannot be copied.
    monkeypatch.setattr(Repeater, "__getstate__", lambda self: {"graph": self.graph}, raising=False)
    copying = LambdaCallback(on_train_epoch_end=lambda trainer, model: copies.append(copy.deepcopy(model)))
    last = fit(crnn(), data_of(store), step="graph", callbacks=[copying])
    assert len(copies) == 2
    assert_same(copies[-1].state_dict(), last["weights"])


def test_branches_and_masks_draw_the_same(store: Store) -> None:
    def make() -> GenreClassifier:
        seed_everything(0, verbose=False)
        return StatisticsCRNN(channels=[4] * 4, hidden=4, spec=SPEC, genres=GENRES)

    assert_same(*(fit(make(), data_of(store), step=step) for step in ("eager", "graph")))


def test_seeds_the_draws_of_the_recording_at_each_epoch(store: Store, repeaters: list[Repeater]) -> None:
    fit(crnn(), data_of(store), step="graph")
    assert len(set(repeaters[0].seeds)) == 2
    assert torch.initial_seed() == repeaters[0].seeds[-1]


def state_of(run: RunDirectory) -> dict[str, Any]:
    """Return what a run leaves behind, but for times."""
    history = [{key: row[key] for key in row if not key.endswith("_s")} for row in run.read_history()]
    checkpoint = load_checkpoint(run.last)
    kept = {key: checkpoint[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step")}
    return {"history": history, "predictions": (run.path / "predictions.csv").read_text(), **kept}


def test_a_run_that_was_interrupted_ends_as_an_eager_one(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeaters: list[Repeater]
) -> None:
    common = [*tiny, "trainer.max_epochs=2", "data.crops_per_track=3", "regularization=strong", "scheduler=cosine"]
    assert cli(*common, "run_dir=eager").code == 0
    start = EpochSeed.on_train_epoch_start

    def interrupted(self: EpochSeed, trainer: Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        start(self, trainer, pl_module)

    graph_run = [*common, "trainer.step=graph", "run_dir=graph"]
    with monkeypatch.context() as patch:
        patch.setattr(EpochSeed, "on_train_epoch_start", interrupted)
        assert cli(*graph_run).code != 0
    assert cli(*graph_run).code == 0
    assert [repeater.recorded for repeater in repeaters] == [1, 1]
    # The configurations differ in trainer.step, and so does nothing else.
    assert_same(state_of(RunDirectory(tmp_path / "graph")), state_of(RunDirectory(tmp_path / "eager")))


def test_several_threads_record_side_by_side(repeaters: list[Repeater]) -> None:
    def train(seed: int, losses: list[float]) -> None:
        draws = torch.Generator().manual_seed(seed)
        layer = nn.Linear(3, 1, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(1, 3, generator=draws))
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1, fused=True)
        step = WholeStep(
            lambda batch: layer(batch).square().mean(),
            optimizer=optimizer,
            clip=lambda: None,
            recorder=Repeater(torch.device("cpu")),
            device=torch.device("cpu"),
            warn=losses.clear,  # type: ignore[arg-type]
        )
        losses += [float(step(torch.randn(8, 3, generator=draws))) for _ in range(30)]

    alone: list[list[float]] = [[], []]
    together: list[list[float]] = [[], []]
    for seed, losses in enumerate(alone):
        train(seed, losses)
    threads = [threading.Thread(target=train, args=entry) for entry in enumerate(together)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    assert len(alone[0]) == 30
