"""Whole runs on a simulated device end, predict what the CPU predicts, and let no training step wait for the device."""

from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from fake_recorder import Repeater
from helpers import ROOT, Cli, small_encoder, write_music
from simulated.device import KIND, simulated_devices
from simulated.log import Event, Log

import genreclf
from genreclf.audio.scaling import Scale
from genreclf.cli.compose import checked
from genreclf.data import datamodule
from genreclf.data.store import Store
from genreclf.evaluation.predictions import read_track_csv
from genreclf.experiment.corpus import load_corpus
from genreclf.experiment.run import run
from genreclf.experiment.setup import prepare
from genreclf.models import GenreClassifier
from genreclf.run_directory import RunDirectory
from genreclf.training import augment
from genreclf.training.augment import Mixup
from genreclf.training.recorder import RECORDERS
from genreclf.training.whole_step import EAGER_STEPS

SMALL_MODELS = ["statistics_crnn", "patch_transformer", "crnn", "ffnn", "band_statistics"]
"""Models of all kinds of layers; the others are large, or much like these."""

FAST = 2
"""How many of their combinations are not among the slow tests."""

FITTED_AT_ONCE = {"model=constant", "model=svm"}
"""Models without epochs, which nothing can break off between them."""

VARIANTS = {"adam_keras", "sgd_plain", "train_plateau"}
"""Options with the class of another one and other numbers; they are tried with the slow models alone."""

GPU = ["trainer=gpu", "trainer.precision=32-true"]
SMALL = [
    *("data.batch_size=4", "trainer.max_epochs=2", "trainer.limit_train_batches=2"),
    *("trainer.limit_val_batches=1", "trainer.limit_test_batches=1"),
]


REGULARIZATION = [
    "none",
    "strong",
    "[band_limit,dropout,ema,filter_augment]",
    "[label_smoothing,mix_style,mixup,spec_augment,weight_decay]",
]
"""All options of the group."""


def options(group: str) -> list[str]:
    """Return the options of a group of the configuration."""
    return [path.stem for path in sorted((ROOT / "conf" / group).glob("*.yaml")) if not path.stem.startswith("_")]


def combinations(models: list[str], left_out: set[str]) -> list[list[str]]:
    """Return settings in which each model, and each option of what else a step does, occurs at least once."""
    groups = {
        f"{group}=": [option for option in options(group) if option not in left_out]
        for group in ("optimizer", "loss", "scheduler")
    }
    groups |= {"regularization=": REGULARIZATION, "features.scale=": list(get_args(Scale))}
    rows = max(len(models), *map(len, groups.values()))
    columns = [[key + option for option in islice(cycle(values), rows)] for key, values in groups.items()]
    return [list(row) for row in zip(islice(cycle(f"model={model}" for model in models), rows), *columns, strict=True)]


class TrainingSteps:
    """The events of training steps, each from the end of the one before on; the first of an epoch is left out.

    Args:
        log: Of the events.
        patch: Puts the hooks in.

    Attributes:
        events: Of each step.
        interrupted_epoch: An epoch that is interrupted at its start, once.
    """

    def __init__(self, log: Log, patch: pytest.MonkeyPatch) -> None:
        """Watch all models."""
        self.events: list[list[Event]] = []
        self.interrupted_epoch: int | None = None
        begun: int | None = None
        start: Callable[[GenreClassifier], None] = GenreClassifier.on_train_epoch_start

        def on_train_epoch_start(model: GenreClassifier) -> None:
            nonlocal begun
            if model.current_epoch == self.interrupted_epoch:
                self.interrupted_epoch = None
                raise KeyboardInterrupt
            begun = None
            start(model)

        def on_train_batch_end(model: GenreClassifier, *_: object) -> None:
            nonlocal begun
            if begun is not None:
                self.events.append(log.events[begun:])
            begun = len(log.events)

        patch.setattr(GenreClassifier, "on_train_epoch_start", on_train_epoch_start)
        patch.setattr(GenreClassifier, "on_train_batch_end", on_train_batch_end)


@pytest.fixture
def steps(_built_store: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainingSteps]:
    with simulated_devices() as log:
        yield TrainingSteps(log, monkeypatch)


def probabilities(directory: RunDirectory) -> np.ndarray:
    files = (directory.val_predictions, directory.predictions)
    return np.concatenate([read_track_csv(file).probabilities for file in files])


def check_a_broken_run(combination: list[str], tiny: list[str], stores: Path) -> None:
    """Train on the CPU at once and on the device with a break, and compare."""
    settings = [word for word in tiny if not word.startswith("model")] + SMALL + combination
    settings += ["loss.teacher=run"] if "loss=distill" in combination else []
    on_cpu = run(checked(settings, run_dir="cpu")).run
    with simulated_devices() as log, pytest.MonkeyPatch.context() as patch:
        patch.setattr("genreclf.experiment.teacher.first_device", lambda _: torch.device(KIND, 0))
        steps = TrainingSteps(log, patch)
        steps.interrupted_epoch = 1
        config = checked([*settings, *GPU], run_dir="gpu")
        has_epochs = FITTED_AT_ONCE.isdisjoint(combination)
        if has_epochs:
            with pytest.raises(KeyboardInterrupt):
                run(config)
        on_device = run(config).run
        assert steps.events == [[], []] * has_epochs
        track = torch.from_numpy(Store(next(stores.glob("*/index.json")).parent).frames[:100])
        there, here = (genreclf.load("gpu", device=device).describe(track)[0] for device in (f"{KIND}:1", "cpu"))
        assert log.devices == {0, 1}
    np.testing.assert_allclose(probabilities(on_device), probabilities(on_cpu), atol=1e-6)
    np.testing.assert_allclose(there, here, atol=1e-6)


@pytest.fixture(autouse=True)
def _built_store(tiny: list[str], stores: Path) -> None:
    """Build the store on the CPU: a run on a GPU would build it in another thread, for which nothing is simulated."""
    if not list(stores.glob("*/index.json")):
        load_corpus(checked(tiny, run_dir="-"))


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sharing.draw_all", "evaluate.write_report"):
        monkeypatch.setattr(f"genreclf.experiment.{name}", lambda *_, **__: None)


def test_all_regularization_is_combined() -> None:
    assert sorted(",".join(REGULARIZATION).replace("[", "").replace("]", "").split(",")) == options("regularization")


COMBINATIONS = combinations(SMALL_MODELS, VARIANTS)


@pytest.fixture
def _teacher(combination: list[str], request: pytest.FixtureRequest) -> None:
    """Finish the run that a loss learns from."""
    if "loss=distill" in combination:
        request.getfixturevalue("finished")


@pytest.mark.usefixtures("_teacher")
@pytest.mark.parametrize(
    "combination",
    [*COMBINATIONS[:FAST], *(pytest.param(row, marks=pytest.mark.slow) for row in COMBINATIONS[FAST:])],
    ids=" ".join,
)
def test_a_broken_run_is_that_of_the_cpu(combination: list[str], tiny: list[str], stores: Path) -> None:
    check_a_broken_run(combination, tiny, stores)


@pytest.mark.slow
@pytest.mark.usefixtures("_teacher")
@pytest.mark.parametrize(
    "combination", combinations(sorted({*options("model")} - {*SMALL_MODELS, "finetune", "probe"}), set()), ids=" ".join
)
def test_a_broken_run_of_another_model_is_that_of_the_cpu(
    combination: list[str], tiny: list[str], stores: Path
) -> None:
    check_a_broken_run(combination, tiny, stores)


def test_the_commands_of_a_run(cli: Cli, tiny: list[str], tmp_path: Path, steps: TrainingSteps) -> None:
    watched = ["logger=csv", "callbacks.record.every_n_steps=1", "callbacks.record.gradient_norm=true"]
    settings = [*tiny, *GPU, *watched, "regularization=strong", "trainer.max_epochs=2"]
    trained = cli(*settings, "trainer.precision=bf16-mixed", "run_dir=run")
    assert trained.code == 0, trained.err
    assert steps.events
    assert not any(steps.events)
    assert Path("run/csv/metrics.csv").read_text().count("\n") > len(steps.events)
    evaluated = cli("evaluate", "run", "run_dir=again")
    assert evaluated.code == 0, evaluated.err
    again, first = (RunDirectory(tmp_path / name) for name in ("again", "run"))
    assert again.predictions.read_text() == first.predictions.read_text()
    write_music(tmp_path / "music")
    song = next((tmp_path / "music").glob("*/0.wav"))
    there, here = (genreclf.load("run", device=device).predict(song) for device in (KIND, "cpu"))
    np.testing.assert_allclose(there.probabilities, here.probabilities, atol=1e-6)


def test_clips_of_a_store_without_room_on_the_device_arrive_without_waiting(
    tiny: list[str], steps: TrainingSteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamodule, "free_bytes", lambda device: 0)
    run(checked([*tiny, *SMALL, *GPU], run_dir="gpu"))
    assert [[event.copies for event in events] for events in steps.events] == [[True]] * 2
    assert not any(event.waits for events in steps.events for event in events)


def test_a_datamodule_of_a_gpu_training_gives_a_cpu_its_clips(tiny: list[str]) -> None:
    data = prepare(checked(tiny, run_dir="-")).data
    rows, cpu = data.grid("val")[:3], torch.device("cpu")
    expected = data.clips("val", rows)
    with simulated_devices():
        data.settle(torch.device(KIND, 0))
        assert all(map(torch.equal, data.clips("val", rows).to(cpu)[:4], expected[:4]))


def test_where_there_is_no_beta_distribution_the_cpu_draws_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.randn(4, 8, 5), torch.eye(4)
    torch.manual_seed(0)
    expected, _ = Mixup()(x, y)
    monkeypatch.setattr(augment, "WITHOUT_BETA", {KIND})
    with simulated_devices() as log:
        there = [values.to(KIND) for values in (x, y)]
        log.events.clear()
        torch.manual_seed(0)
        mixed, _ = Mixup()(*there)
        assert [event.what for event in log.events] == [f"copy (4,) cpu to {KIND}:0"]
        assert torch.equal(mixed.cpu(), expected)


@pytest.mark.parametrize(
    "optimizer",
    ["adamw", pytest.param("rmsprop +optimizer.foreach=true", marks=pytest.mark.slow)],
    ids=["adamw", "rmsprop"],
)
def test_a_recorded_step_waits_for_nothing(optimizer: str, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*tiny, *SMALL, *f"optimizer={optimizer}".split(), "regularization=strong", "trainer.limit_train_batches=4"]
    on_cpu = run(checked(words, run_dir="cpu")).run
    monkeypatch.setitem(RECORDERS, KIND, Repeater)
    monkeypatch.setattr(Repeater, "made", [])
    with simulated_devices() as log, pytest.MonkeyPatch.context() as patch:
        steps = TrainingSteps(log, patch)
        on_device = run(checked([*words, *GPU, "trainer.step=graph"], run_dir="gpu")).run
    assert sum(repeater.replayed for repeater in Repeater.made) == 8 - EAGER_STEPS
    assert steps.events == [[]] * 6
    np.testing.assert_allclose(probabilities(on_device), probabilities(on_cpu), atol=1e-6)


@pytest.mark.slow
def test_a_fine_tuning_is_recorded_anew_when_the_encoder_thaws(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*(word for word in tiny if not word.startswith("model")), *SMALL, "trainer.limit_train_batches=5"]
    words += ["model=finetune", "model.frozen_epochs=1", *small_encoder(tmp_path)]
    on_cpu = run(checked(words, run_dir="cpu")).run
    monkeypatch.setitem(RECORDERS, KIND, Repeater)
    monkeypatch.setattr(Repeater, "made", [])
    with simulated_devices() as log, pytest.MonkeyPatch.context() as patch:
        steps = TrainingSteps(log, patch)
        on_device = run(checked([*words, *GPU, "trainer.step=graph"], run_dir="gpu")).run
    assert sum(repeater.replayed for repeater in Repeater.made) == 2 * (5 - EAGER_STEPS)
    assert steps.events == [[]] * 8
    np.testing.assert_allclose(probabilities(on_device), probabilities(on_cpu), atol=1e-5)
