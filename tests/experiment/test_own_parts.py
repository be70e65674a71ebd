"""A network, an augmentation and a loss of the user's own are tried on two clips before a training starts."""

from pathlib import Path

import pytest
from helpers import Cli

MODEL = """
from torch import nn

from genreclf.models import GenreClassifier


class Own(GenreClassifier):
    def __init__(self, *, outputs: int = 0, lazy: bool = False, shape: str = "logits", **training):
        super().__init__(**training)
        genres = outputs or len(self.genres)
        last = nn.LazyLinear(genres) if lazy else nn.Linear(self.spec.n_mels, genres)
        layers = {
            "logits": [Spectrum(), nn.BatchNorm1d(self.spec.n_mels), last],
            "frames": [nn.Linear(7, genres)],
            "pairs": [nn.Flatten(), Pair()],
        }
        self.network = nn.Sequential(*layers[shape])


class Spectrum(nn.Module):
    def forward(self, x):
        return x.mean(2)


class Pair(nn.Module):
    def forward(self, x):
        return x, x
"""

PARTS = """
import torch
from torch import nn


class Alone(nn.Module):
    def forward(self, x, y):
        return x


class Fewer(nn.Module):
    def forward(self, x, y):
        return x[1:], y


class Shorter(nn.Module):
    def forward(self, x, y):
        return x[..., 1:], y


class Broken(nn.Module):
    def forward(self, x, y):
        return x, y.mend()


class PerClip(nn.Module):
    def forward(self, logits, target):
        return (logits - target).pow(2).mean(1)
"""


@pytest.fixture
def own(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "own_model.py").write_text(MODEL)
    (tmp_path / "own_step.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    plain = [word for word in tiny if not word.startswith("model")]
    return [*plain, "model=cnn", "~model.channels", "~model.pools", "~model.dropout", "model._target_=own_model.Own"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["+model.outputs=3"], "Own returns a tensor of shape (2, 3); it must return logits (batch, genre), here of"),
        (["+model.shape=frames"], "model: the network of Own fails on a batch of shape (2, "),
        (["+model.shape=pairs"], "Own returns a tuple; it must return logits (batch, genre), here of shape (2, "),
    ],
)
def test_a_network_that_does_not_return_logits_is_refused_before_training(
    cli: Cli, own: list[str], words: list[str], sentence: str
) -> None:
    outcome = cli(*own, *words, "run_dir=run")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert "Traceback" not in outcome.err
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("+augmentation.own._target_=own_step.Alone", "augmentation: Alone returns a tensor of shape (2, "),
        ("+augmentation.own._target_=own_step.Fewer", "and a tensor of shape (2, 10); it must return a tuple of clips"),
        (
            "+augmentation.own._target_=own_step.Broken",
            "(AttributeError: 'Tensor' object has no attribute 'mend'); d",
        ),
        (
            "loss._target_=own_step.PerClip",
            "loss: PerClip returns a tensor of shape (2,); it must return the mean loss",
        ),
        ("loss._target_=torch.nn.CTCLoss", "loss: CTCLoss fails on a batch of shape (2, "),
    ],
)
def test_other_parts_that_break_a_step_are_refused_before_training(
    cli: Cli, tiny: list[str], own: list[str], word: str, sentence: str
) -> None:
    without = ["~loss.label_smoothing", "~loss.class_weights"] if word.startswith("loss") else []
    outcome = cli(*tiny, word, *without, "run_dir=run")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert not Path("run").exists()


def test_an_augmentation_may_shorten_clips(cli: Cli, tiny: list[str], own: list[str]) -> None:
    outcome = cli(*tiny, "+augmentation.own._target_=own_step.Shorter")
    assert outcome.code == 0, outcome.err


def test_debug_shows_where_an_own_part_fails(cli: Cli, tiny: list[str], own: list[str]) -> None:
    outcome = cli(*tiny, "+augmentation.own._target_=own_step.Broken", "debug=true")
    assert outcome.code == 2
    assert "own_step.py" in outcome.err


def test_the_sizes_of_lazy_layers_are_known_by_then(cli: Cli, own: list[str]) -> None:
    outcome = cli(*own, "+model.lazy=true", "run_dir=run")
    assert outcome.code == 0, outcome.err
    outcome = cli(*own, "+model.lazy=true", "init_from=run", "run_dir=again")
    assert outcome.code == 0, outcome.err
    assert "but for" not in outcome.out
    outcome = cli("evaluate", "run", "--trust", "own_model")
    assert outcome.code == 0, outcome.err


def test_trying_changes_nothing_of_the_training(cli: Cli, own: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cli(*own, "run_dir=tried")
    monkeypatch.setattr("genreclf.experiment.setup.try_own_parts", lambda model, data: None)
    cli(*own, "run_dir=untried")
    assert Path("tried/predictions.csv").read_bytes() == Path("untried/predictions.csv").read_bytes()
