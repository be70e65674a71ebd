"""Objects that a configuration names, made as Hydra makes them."""

import errno
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from genreclf.cli.compose import checked
from genreclf.config import instantiate
from genreclf.errors import UserError
from genreclf.experiment.build import make_loss, make_optimizer

LOSS = {"_target_": "torch.nn.CrossEntropyLoss"}
OPTIMIZER = {"_target_": "torch.optim.AdamW"}

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a number for a truth value": ("optimizer", {**OPTIMIZER, "_partial_": 3}, "optimizer._partial_=3 must be true or"),
    "a function of a split": (
        "split",
        {"_target_": "genreclf.splits.rules.TrackSplitter", "_partial_": True},
        "split._partial_=true: a run needs the split itself; leave it out.",
    ),
    "no function of an optimizer": (
        "optimizer",
        {**OPTIMIZER, "_partial_": False},
        "optimizer._partial_=false: the optimizer is made within the run; leave it true.",
    ),
    "an argument that is not there": (
        "loss",
        {**LOSS, "weight": {"_target_": "torch.onez"}},
        "loss.weight cannot be made: ImportError: Error loading 'torch.onez'.",
    ),
    "an argument with a wrong one": (
        "loss",
        {**LOSS, "weight": {"_target_": "torch.ones", "_args_": ["a"]}},
        "loss.weight cannot be made: TypeError: ones()",
    ),
    "an argument that Hydra refuses": (
        "loss",
        {**LOSS, "weight": {"_target_": "os.remove", "_args_": ["a"]}},
        "loss.weight cannot be made: Target 'os.remove' is blocklisted",
    ),
    "an argument that Lightning refuses": (
        "callbacks.early",
        {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/track_loss", "mode": "up"},
        "EarlyStopping cannot be made of monitor=val/track_loss, mode=up: `mode` can be min, max, got up.",
    ),
    "a data module of Lightning": (
        "data",
        {"_target_": "genreclf.data.datamodule.ClipDataModule"},
        "data._target_=genreclf.data.datamodule.ClipDataModule is a LightningDataModule; data names a dataset, a "
        "subclass of genreclf.datasets.base.AudioDataset or ImageDataset, from which the run makes its own data module "
        "(docs/extending.md).",
    ),
    "a module of Lightning": (
        "model",
        {"_target_": "lightning.pytorch.demos.boring_classes.BoringModel"},
        "BoringModel is a LightningModule, but a model must subclass genreclf.models.GenreClassifier "
        "(docs/extending.md).",
    ),
    "no list of arguments": ("loss", {**LOSS, "_args_": 3}, "loss cannot be made: "),
    "neither recursive nor not": ("loss", {**LOSS, "_recursive_": "x"}, "loss cannot be made: "),
    "an interpolation of nothing": ("loss", {**LOSS, "reduction": "${nowhere}"}, "Interpolation key 'nowhere' not"),
}


def test_all_that_hydra_instantiates_is_made() -> None:
    words = [
        *("data=synthetic", "optimizer=sgd", "optimizer._partial_=true", "loss._target_=torch.nn.CrossEntropyLoss"),
        *("~loss.class_weights", "+loss.weight._target_=torch.ones", "+loss.weight._args_=[10]"),
    ]
    config = checked(words, run_dir="-")
    loss = make_loss(config, [1] * 10)
    assert isinstance(loss, torch.nn.CrossEntropyLoss)
    assert torch.equal(loss.weight, torch.ones(10))
    layer = torch.nn.Linear(2, 2)
    optimizer = make_optimizer(config, layer.parameters())
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["params"][0] is layer.weight
    positional = instantiate.make("split", {"_target_": "genreclf.splits.rules.TrackSplitter", "_args_": []})
    assert type(positional).__name__ == "TrackSplitter"


@pytest.mark.parametrize("error", ["AssertionError('no')", "KeyError('no')", "OSError(13, 'no')"])
def test_what_a_class_refuses_is_named(error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"import torch\n\nclass Refusing(torch.nn.Module):\n    def __init__(self):\n        raise {error}\n"
    (tmp_path / "refusing_loss.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "refusing_loss", raising=False)
    with pytest.raises(UserError, match=r"^loss: Refusing cannot be made of its defaults: \w+Error.*no"):
        instantiate.make("loss", {"_target_": "refusing_loss.Refusing"})


def test_a_full_disk_is_not_the_fault_of_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.nn.CrossEntropyLoss.__init__", full)
    with pytest.raises(OSError, match="No space left"):
        instantiate.make("loss", LOSS)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_made_is_named(kind: str) -> None:
    group, section, sentence = REFUSED[kind]
    given = {"params": torch.nn.Linear(2, 2).parameters()} if group == "optimizer" else {}
    with pytest.raises(UserError) as caught:
        instantiate.make(group, section, **given)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
