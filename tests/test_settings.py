"""What config.yaml says is what the run has: options combine, and every value is in the one place that counts."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Outcome

from genreclf.commands.compose import checked
from genreclf.config import Config
from genreclf.data.datamodule import ClipDataModule
from genreclf.exporting.graph import WaveformClassifier
from genreclf.inference.predictor import GenrePredictor
from genreclf.losses import CrossEntropy
from genreclf.rundir import RunDirectory
from genreclf.sections import ClipConfig

Cli = Callable[..., Outcome]


def composed(*overrides: str) -> Config:
    return checked(["data=synthetic", *overrides], run_dir="-")


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("[mixup,spec_augment]", {"mixup": 0.3, "spec_augment": 0.15}),
        ("[strong,equalizer]", {"spec_augment": 0.15, "mixup": 0.3, "ema": 0.99, "equalizer": 1.0}),
        ("[weight_decay,equalizer]", {"equalizer": 1.0}),
        ("none", {}),
    ],
)
def test_regularization_combines(chosen: str, expected: dict[str, float]) -> None:
    config = composed(f"regularization={chosen}")
    assert {key: value for key, value in config.plain["regularization"].items() if value is not None} == expected
    assert config.optimizer["weight_decay"] == {"[strong,equalizer]": 0.05, "[weight_decay,equalizer]": 0.1}.get(
        chosen, 0.01
    )


@pytest.mark.parametrize(
    ("overrides", "dropout", "smoothing"),
    [
        ([], 0.3, 0.0),
        (["regularization=strong"], 0.4, 0.1),
        (["regularization=strong", "model.dropout=0.5", "loss.label_smoothing=0.2"], 0.5, 0.2),
        (["model.dropout=0.5", "regularization.dropout=0.5"], 0.5, 0.0),
        (["regularization=[dropout,label_smoothing]", "regularization.dropout=0.2"], 0.2, 0.1),
        (["experiment=best", "loss.label_smoothing=0.0"], 0.3, 0.0),
    ],
)
def test_the_configuration_names_a_value_where_it_counts(
    overrides: list[str], dropout: float, smoothing: float
) -> None:
    config = composed(*overrides)
    for plain in (config.plain, Config.from_plain(config.plain).plain):
        assert (plain["model"]["dropout"], plain["loss"]["label_smoothing"]) == (dropout, smoothing)
        assert (plain["regularization"]["dropout"], plain["regularization"]["label_smoothing"]) == (None, None)
    assert Config.from_plain(config.plain).hash == config.hash


def test_the_network_has_what_its_config_says_and_loggers_combine(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    watched = [override for override in tiny if not override.startswith("logger=")]
    words = ["regularization=strong", "model.dropout=0.5", "logger=[csv,wandb]", "trainer.limit_train_batches=1"]
    outcome = cli(*watched, *words, "run_dir=run")
    assert outcome.code == 0, outcome.err
    run = RunDirectory(tmp_path / "run")
    config = run.read_config()
    assert config["model"]["dropout"] == 0.5
    assert torch.load(run.best, weights_only=True)["hyper_parameters"]["dropout"] == 0.5
    assert config["loss"]["label_smoothing"] == 0.1
    assert "test/track/accuracy" in (run.path / "csv/metrics.csv").read_text()
    assert list((run.path / "wandb").glob("offline-run-*/*.wandb"))


def test_a_config_of_before_loggers_combined_is_read() -> None:
    plain = composed("logger=none").plain
    assert Config.from_plain(plain | {"logger": {"name": "csv"}}).logger.kinds == ["csv"]
    assert Config.from_plain(plain | {"logger": {"name": "none"}}).logger.kinds == []


def test_clips_overlap_alike_everywhere() -> None:
    for user in (ClipDataModule, GenrePredictor, WaveformClassifier):
        assert inspect.signature(user).parameters["grid_overlap"].default == ClipConfig().grid_overlap == 0.5


@pytest.mark.parametrize("smoothing", [1.0, -0.1])
def test_label_smoothing_is_a_share(smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        CrossEntropy(label_smoothing=smoothing)
