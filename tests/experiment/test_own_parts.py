"""A network, an augmentation and a loss of the user's own are tried on two clips before a training starts."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers import Cli

import genreclf
from genreclf.models import CRNN
from genreclf.run_directory import RunDirectory

MODEL = """
import torch
from torch import nn

from genreclf.models import GenreClassifier


class Own(GenreClassifier):
    def __init__(self, *, outputs: int = 0, lazy: bool = False, shape: str = "logits", apart: bool = False, **training):
        super().__init__(**training)
        if apart:
            self.temperature = nn.Parameter(torch.ones(1))
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


class Smooth(nn.Module):
    def forward(self, x, y):
        return x, 0.9 * y + 0.1 / y.shape[1]


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
        (["+model.apart=true"], "the parameter temperature of Own is not part of self.network, so it would not be tr"),
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


def test_an_augmentation_that_does_not_know_of_a_teacher_is_refused(
    cli: Cli, tiny: list[str], own: list[str], finished: RunDirectory
) -> None:
    distilled = [*tiny, "loss=distill", "loss.teacher=run"]
    outcome = cli(*distilled, "+augmentation.own._target_=own_step.Smooth", "run_dir=student")
    assert outcome.code == 2
    assert "Smooth returns targets that do not sum to 1: with loss=distill, they are (batch, 20)" in outcome.err
    outcome = cli(*distilled, "+augmentation.own._target_=own_step.Shorter", "run_dir=student")
    assert outcome.code == 0, outcome.err


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


LEARNED = """
import torch
from torch import nn
from torch.nn import functional


class Temperature(nn.Module):
    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(1))

    def forward(self, logits, target):
        return functional.cross_entropy(logits / self.temperature, target)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("batches", torch.zeros(1))

    def forward(self, x, y):
        self.batches += 1
        return x, y
"""


def test_parameters_of_a_loss_are_trained_and_nobody_needs_them_afterwards(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_learned.py").write_text(LEARNED)
    monkeypatch.syspath_prepend(tmp_path)
    own = ["loss._target_=own_learned.Temperature", "~loss.label_smoothing", "~loss.class_weights"]
    outcome = cli(*tiny, *own, "+augmentation.own._target_=own_learned.Counting", "run_dir=run", "seed=3")
    assert outcome.code == 0, outcome.err
    best = RunDirectory("run").best
    state = torch.load(best, weights_only=True)["state_dict"]
    assert state["loss.temperature"] != 1
    assert state["augment.steps.0.batches"] == 2  # Those of the training.
    assert CRNN.load_from_checkpoint(best).genres == genreclf.load("run").model.genres
    outcome = cli("evaluate", "run", "--trust", "own_learned")
    assert outcome.code == 0, outcome.err
    shutil.copytree("run", "same")
    outcome = cli("ensemble", "run", "same", "run_dir=both", "--trust", "own_learned")
    assert outcome.code == 0, outcome.err
    ours, theirs = (RunDirectory(run).read_metrics()["test"]["clip"] for run in ("run", "both"))
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)


ARGUMENTS = {
    "def __init__(self, *, body=nn.ReLU, **training)": "the argument body of Own is a type, and a checkpoint",
    "def __init__(self, *, place=Path('a'), **training)": "the argument place of Own is a PosixPath, and a checkpoint",
    "def __init__(self, *, rate=np.float64(1), **training)": "the argument rate of Own is a float64, and a checkpoint",
    "def __init__(self, *, hidden, **training)": "model: Own needs hidden; set model.hidden.\n",
    "def __init__(self, *, spec, genres)": "the __init__ of Own does not take scale, loss, augment, optimizer, sch",
}


@pytest.mark.parametrize("signature", ARGUMENTS)
def test_arguments_of_a_model_that_a_run_cannot_use_are_refused(
    cli: Cli, own: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signature: str
) -> None:
    names = {"pathlib": "Path", "torch": "nn", "genreclf.models": "GenreClassifier"}
    head = "import numpy as np\n" + "".join(f"from {place} import {name}\n" for place, name in names.items())
    passed = "**training" if "training" in signature else "spec=spec, genres=genres"
    module = f"own_arguments_{list(ARGUMENTS).index(signature)}"
    (tmp_path / f"{module}.py").write_text(
        f"{head}class Own(GenreClassifier):\n    {signature}:\n        super().__init__({passed})\n"
        "        self.network = nn.Sequential(nn.Flatten(), nn.LazyLinear(len(self.genres)))\n"
    )
    outcome = cli(*own[:-1], f"model._target_={module}.Own", "run_dir=run")
    assert outcome.code == 2
    assert ARGUMENTS[signature] in outcome.err


def test_a_misspelt_input_of_a_model_is_refused(cli: Cli, own: list[str], tmp_path: Path) -> None:
    (tmp_path / "own_takes.py").write_text("import own_model\n\n\nclass Own(own_model.Own):\n    takes = 'wave'\n")
    outcome = cli(*own[:-1], "model._target_=own_takes.Own")
    assert outcome.code == 2
    assert "model: takes=wave of Own is not one of log_mel, waveform, embedding, encoder." in outcome.err


SCHEDULES = {
    "None": "own_schedule returns a NoneType; it must return a dictionary with the scheduler and how often it steps",
    "{'scheduler': plateau, 'monitor': 'val/loss', 'frequency': 3}": "returns a frequency; with ReduceLROnPlateau, set",
    "{'scheduler': plateau}": "returns no monitor, which ReduceLROnPlateau needs, such as val/loss",
    "{'scheduler': constant, 'interval': 'batch'}": "returns interval='batch'; it must be epoch or step",
    "{'scheduler': constant, 'intervall': 'step'}": "returns the key intervall, which is not one of",
}


@pytest.mark.parametrize("returned", SCHEDULES)
def test_what_a_scheduler_must_not_return_is_refused(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returned: str
) -> None:
    module = f"own_scheduler_{list(SCHEDULES).index(returned)}"
    (tmp_path / f"{module}.py").write_text(
        "from torch.optim.lr_scheduler import ConstantLR, ReduceLROnPlateau\n\n\n"
        "def own_schedule(optimizer, steps):\n"
        f"    plateau, constant = ReduceLROnPlateau(optimizer), ConstantLR(optimizer)\n    return {returned}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    chosen = [f"scheduler._target_={module}.own_schedule", "+scheduler._partial_=true"]
    outcome = cli(*tiny, "scheduler=constant", *chosen)
    assert outcome.code == 2
    assert SCHEDULES[returned] in outcome.err


def test_a_figure_of_an_own_callback_can_be_monitored(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_callback.py").write_text(
        "from lightning.pytorch import Callback\n\n\nclass Logs(Callback):\n"
        "    def on_validation_epoch_end(self, trainer, pl_module):\n        pl_module.log('val/mine', 1.0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monitored = ["callbacks.checkpoint.monitor=val/mine", "callbacks.checkpoint.mode=min"]
    outcome = cli(*tiny, "+callbacks.own._target_=own_callback.Logs", *monitored)
    assert outcome.code == 0, outcome.err
    assert cli(*tiny, *monitored).code == 2
