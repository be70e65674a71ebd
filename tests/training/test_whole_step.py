"""A recorded training step trains as the same steps one by one do, and says where it cannot be recorded."""

import copy
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_recorder import Repeater
from helpers import Cli
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import GradientAccumulationScheduler, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from genreclf.audio.log_mel import FeatureSpec
from genreclf.checkpoint import load_checkpoint
from genreclf.cli.compose import checked
from genreclf.config.keys import CONFIG_DIR
from genreclf.data.datamodule import ClipDataModule
from genreclf.data.store import Recipe, Store, open_or_build
from genreclf.datasets.base import Track
from genreclf.experiment.build import build_model
from genreclf.models import GenreClassifier
from genreclf.models.crnn import CRNN
from genreclf.models.statistics_crnn import StatisticsCRNN
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import Segment, Split
from genreclf.training import module, recorder, steps
from genreclf.training.augment import Augment, BandLimit, FilterAugment, Mixup, SpecAugment
from genreclf.training.callbacks import EpochSeed, LogEpoch
from genreclf.training.ema import EMA
from genreclf.training.loops import TrainingLoop
from genreclf.training.losses import BCESoftmax
from genreclf.training.recorder import Work
from genreclf.training.schedulers import cosine, onecycle, plateau
from genreclf.training.whole_step import EAGER_STEPS, WholeStep

GENRES = ("blues", "metal")
SPEC = FeatureSpec.of_audio(sample_rate=8000, n_fft=512, hop_length=256, n_mels=128, clip_seconds=0.5)
STEPS = 7
VALIDATED = 2
"""Batches of a validation."""


@pytest.fixture(autouse=True)
def repeaters(monkeypatch: pytest.MonkeyPatch) -> list[Repeater]:
    """Let CPUs record, and return who does it."""
    Repeater.made = []
    monkeypatch.setitem(recorder.RECORDERS, "cpu", Repeater)
    return Repeater.made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Noise of three tracks a genre, the last one shorter than a clip."""
    folder = tmp_path_factory.mktemp("noise")
    draws = np.random.default_rng(0)
    tracks = [Track(f"{genre}/{number}", genre, folder) for genre in GENRES for number in range(3)]

    def noise(track: Track) -> np.ndarray[Any, Any]:
        return draws.integers(-9000, 0, (10 if track.id.endswith("2") else 40, SPEC.n_mels), dtype=np.int16)

    recipe = Recipe("noise", "int16", SPEC.n_mels, {})
    return open_or_build(directory=folder, recipe=recipe, tracks=tracks, encode=noise, workers=1)


def data_of(store: Store, **settings: Any) -> ClipDataModule:
    """Return batches of 4 in epochs of `STEPS`, and a validation."""
    segments = tuple(Segment(name, 0, frames) for name, frames in store.lengths_frames.items())
    split = Split("noise", False, GENRES, segments, segments[:2], ())
    genre_of = {name: name.partition("/")[0] for name in store.lengths_frames}
    defaults = {"batch_size": 4, "crops_per_track": 4 * STEPS // 6 + 1}
    return ClipDataModule(store=store, split=split, genre_of=genre_of, spec=SPEC, **{**defaults, **settings})


Make = Callable[[], GenreClassifier]


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
    callbacks = [LogEpoch(), EpochSeed(0), addresses, *settings.pop("callbacks", [])]
    trainer = Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
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


ADAM = partial(torch.optim.Adam, lr=1e-2, fused=True)
ADAMW = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1, fused=True)
SGD = partial(torch.optim.SGD, lr=1e-2, momentum=0.9, nesterov=True, fused=True)
TRAININGS: dict[str, Make] = {
    "adamw, cosine, mixup": lambda: crnn(optimizer=ADAMW, scheduler=cosine, augment=Augment(Mixup())),
    "adam, plateau": lambda: crnn(optimizer=ADAM, scheduler=partial(plateau, monitor="train/loss", patience=0)),
    "adam, not fused": lambda: crnn(optimizer=partial(torch.optim.Adam, lr=1e-2), scheduler=cosine),
    "sgd, cosine, masks": lambda: crnn(optimizer=SGD, scheduler=cosine, augment=Augment(SpecAugment())),
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


MODELS = sorted(path.stem for path in Path(CONFIG_DIR, "model").glob("[!_]*.yaml"))


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


def notes(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the sentences that say why nothing is recorded."""
    return [line for line in capsys.readouterr().err.splitlines() if "trainer.step=graph" in line]


class Watcher(Callback):
    """Looks at gradients."""

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at them."""
        assert any(parameter.grad is not None for parameter in pl_module.parameters())


class OwnStep(CRNN):
    """Has a step of its own."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Double the loss."""
        return 2 * super().training_step(batch, batch_idx)


class Changing(Callback):
    """Accumulates gradients in the second epoch."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Change the Trainer."""
        trainer.accumulate_grad_batches = 1 + trainer.current_epoch


def test_ends_the_recording_when_a_callback_changes_the_step(
    store: Store, repeaters: list[Repeater], capsys: pytest.CaptureFixture[str]
) -> None:
    assert_same(*(fit(crnn(), data_of(store), step=step, callbacks=[Changing()]) for step in ("eager", "graph")))
    assert repeaters[0].recorded == 1
    (note,) = notes(capsys)
    assert "gradients are accumulated" in note


OBSTACLES: dict[str, tuple[Make, dict[str, Any]]] = {
    "gradients are accumulated": (crnn, {"accumulate_grad_batches": 2}),
    "accumulated over several batches": (crnn, {"callbacks": [GradientAccumulationScheduler({0: 2})]}),
    "the callback Watcher works within the step": (crnn, {"callbacks": [Watcher()]}),
    "SGD takes its learning rate from the CPU unless optimizer.fused=true": (
        partial(crnn, optimizer=partial(torch.optim.SGD, lr=0.1)),
        {},
    ),
    "OwnStep has a training_step of its own": (
        lambda: OwnStep(channels=[4] * 4, hidden=4, spec=SPEC, genres=GENRES),
        {},
    ),
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_says_before_the_training_why_it_records_nothing(
    reason: str, store: Store, repeaters: list[Repeater], capsys: pytest.CaptureFixture[str]
) -> None:
    make, settings = OBSTACLES[reason]
    results = []
    for step in ("eager", "graph"):
        seed_everything(0, verbose=False)
        results.append(fit(make(), data_of(store), step=step, **settings))
    assert_same(*results)
    assert not any(repeater.recorded for repeater in repeaters)
    (note,) = notes(capsys)
    assert reason in note


def test_a_cpu_trains_eagerly_and_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(recorder.RECORDERS, "cpu")
    assert_same(*(fit(crnn(), data_of(store), step=step) for step in ("eager", "graph")))
    (note,) = notes(capsys)
    assert note.startswith("Note: trainer.step=graph does not record the training step, as the device is cpu, not an")


def test_a_momentum_that_changes_is_noticed(
    store: Store, repeaters: list[Repeater], capsys: pytest.CaptureFixture[str]
) -> None:
    make = partial(crnn, optimizer=ADAMW, scheduler=onecycle)
    assert_same(*(fit(make(), data_of(store), step=step) for step in ("eager", "graph")))
    assert repeaters[0].recorded == 0
    (note,) = notes(capsys)
    assert "as betas of AdamW change during the training" in note


def test_a_recording_that_fails_leaves_the_training_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(Repeater):
        """Fails as CUDA does, at the end and for a reason that lies further back."""

        def record(self, work: Work) -> Work:
            try:
                raise RuntimeError("operation not permitted when stream is capturing\nand more")
            except RuntimeError:
                raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904

    monkeypatch.setitem(recorder.RECORDERS, "cpu", Failing)
    assert_same(*(fit(crnn(), data_of(store), step=step) for step in ("eager", "graph")))
    for what, note in zip(("the training step", "the validation"), notes(capsys), strict=True):
        assert f"does not record {what}, as recording it failed (operation not permitted when stream" in note


class Breaking(Callback):
    """Breaks off the training after its first epoch."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Break off the second."""
        if trainer.current_epoch == 1:
            raise ValueError("broken off")


def test_nothing_is_replayed_after_a_training_that_broke_off(store: Store, repeaters: list[Repeater]) -> None:
    model, data = crnn(), data_of(store)
    with pytest.raises(ValueError, match="broken off"):
        fit(model, data, step="graph", callbacks=[Breaking()])
    replayed = repeaters[0].forwards_replayed
    assert replayed == VALIDATED - 1
    Trainer(accelerator="cpu", logger=False, enable_progress_bar=False).validate(model, data, verbose=False)
    assert repeaters[0].forwards_replayed == replayed
    assert not data.subsets_as_rows


def test_compilers_with_graphs_of_their_own_are_refused(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "trainer.step=graph", "trainer.compile=reduce-overhead")
    assert outcome.code == 2
    assert "with trainer.step=graph set trainer.compile=default or null" in outcome.err
    assert "trainer.step=grap is none of eager, graph" in cli(*tiny, "trainer.step=grap").err


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
