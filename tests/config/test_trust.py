"""No code of a run directory from elsewhere runs, unless its module is trusted; nor does it take memory at will."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Cli, Trained

import genreclf
from genreclf import models
from genreclf.cli.compose import checked_again
from genreclf.config.trust import check_trust
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory


class Mine(models.CRNN):
    """A model of a module that is imported already."""


MODULE = """
import pathlib
from genreclf import models
pathlib.Path("it_ran").touch()

class CRNN(models.CRNN):
    pass
"""


@pytest.fixture
def theirs(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunDirectory]:
    """A run directory that brings its own code, in a working directory from which Python imports."""
    run = RunDirectory(shutil.copytree(trained.run.path, tmp_path / "theirs"))
    (run.path / "helper.py").write_text(MODULE)
    name(run, "theirs.helper.CRNN")
    monkeypatch.syspath_prepend(tmp_path)
    yield run
    for module in ("theirs", "theirs.helper"):
        sys.modules.pop(module, None)


def name(run: RunDirectory, target: str, group: str = "model", **arguments: Any) -> None:
    config = run.read_config()
    run.write_config({**config, group: {**config[group], "_target_": target, **arguments}})


COMMANDS = {
    "predict": ["MUSIC"],
    "evaluate": ["run_dir=again"],
    "export": [],
    "index": ["MUSIC"],
    "recommend": ["--evaluate"],
    "app": ["--port", "0"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_runs_code_of_a_run(
    command: str, cli: Cli, theirs: RunDirectory, trained: Trained, tmp_path: Path
) -> None:
    words = [str(trained.music) if word == "MUSIC" else word for word in COMMANDS[command]]
    outcome = cli(command, "theirs", *words)
    assert outcome.code == 2
    assert "theirs/config.yaml names theirs.helper.CRNN, which is not part of genreclf" in outcome.err
    assert "--trust theirs.helper" in outcome.err
    assert "theirs.helper" not in sys.modules
    assert not (tmp_path / "it_ran").exists()
    assert not (tmp_path / "again").exists()


def test_what_the_user_trusts_runs(cli: Cli, theirs: RunDirectory, trained: Trained) -> None:
    song = str(next((trained.music / "metal").glob("0.*")))
    ours, theirs_too = (
        cli("predict", run, song, "--format", "csv", *words)
        for run, words in ((str(trained.run.path), []), ("theirs", ["--trust", "other", "--trust", "theirs"]))
    )
    assert theirs_too.code == 0, theirs_too.err
    assert theirs_too.out == ours.out
    assert Path("it_ran").exists()


def test_python_trusts_what_is_named_or_imported(theirs: RunDirectory) -> None:
    with pytest.raises(UserError, match=r"trust=\['theirs\.helper'\]"):
        genreclf.load(theirs.path)
    with pytest.raises(UserError, match=r"trust is a list of modules: trust=\['theirs'\]"):
        genreclf.load(theirs.path, trust="theirs")
    assert type(genreclf.load(theirs.path, trust=["theirs.helper"]).model).__module__ == "theirs.helper"
    assert type(genreclf.load(theirs.path).model).__module__ == "theirs.helper"


@pytest.mark.slow
def test_ranks_of_an_evaluation_trust_what_their_command_trusts(
    cli: Cli, theirs: RunDirectory, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(genreclf.__file__).parent.parent}")
    outcome = cli("evaluate", "theirs", "trainer.devices=2", "run_dir=again", "--trust", "theirs.helper")
    assert outcome.code == 0, outcome.err
    assert RunDirectory("again").predictions.read_text() == trained.run.predictions.read_text()


GOOD = [
    ("model", "genreclf.models.CRNN"),
    ("model", "genreclf.models.crnn.CRNN"),
    ("data", "genreclf.datasets.gtzan.Gtzan"),
    ("loss", "genreclf.training.losses.CrossEntropy"),
    ("loss", "torch.nn.CrossEntropyLoss"),
    ("optimizer", "torch.optim.AdamW"),
    ("scheduler", "genreclf.training.schedulers.cosine"),
    ("model", "mine.Model"),
    ("loss", "mine.losses.Loss"),
    ("model", f"{__name__}.Mine"),
]

BAD = [
    ("model", "os.system"),
    ("model", "genreclf.run_directory.os.system"),
    ("model", "genreclf.run_directory.os"),
    ("model", "genreclf.checkpoint.torch.load"),
    ("model", "genreclf.checkpoint.torch"),
    ("model", "genreclf.training.module.nn"),
    ("model", "genreclf.training.module.LightningModule"),
    ("model", "genreclf.models.missing"),
    ("model", "genreclf.missing.Model"),
    ("model", "genreclf_evil.Model"),
    ("model", "genreclf..models.CRNN"),
    ("model", "genreclf.models.CRNN\x1b[2J"),
    ("model", "mine"),
    ("model", "mines.Model"),
    ("model", 3),
    ("model", ["genreclf.models.CRNN"]),
    ("model", "torch.nn.Linear"),
    ("loss", "torch.nn.Linear"),
    ("loss", "torch.nn.modules.linear.Linear"),
    ("loss", "torch.hub.load"),
    ("loss", f"{__name__}.Mine"),
    ("model", f"{__name__}.Trained"),
    ("split", f"{__name__}.Mine"),
    ("optimizer", "torch.optim.Optimizer.load_state_dict"),
    ("optimizer", "torch.nn.CrossEntropyLoss"),
    ("scheduler", "shutil.rmtree"),
    ("split", "torch.optim.SGD"),
]


@pytest.mark.parametrize(("group", "target"), GOOD)
def test_what_may_be_named(group: str, target: str) -> None:
    check_trust({group: {"_target_": target}}, ["mine"], place="config.yaml")


@pytest.mark.parametrize(("group", "target"), GOOD)
def test_what_may_not_be_named_as_an_argument(group: str, target: str) -> None:
    config = {group: {"_target_": "genreclf.models.CRNN", "part": {"_target_": target}}}
    if target.startswith("mine."):
        check_trust(config, ["mine"], place="config.yaml")
    else:
        with pytest.raises(UserError, match=f"names {target} within {group}"):
            check_trust(config, ["mine"], place="config.yaml")


@pytest.mark.parametrize(("group", "target"), BAD)
@pytest.mark.parametrize("nested", [False, True])
def test_what_may_not_be_named(group: str, target: Any, nested: bool) -> None:
    before = set(sys.modules)
    section = {"_target_": target}
    config = {group: {"_target_": "genreclf.models.CRNN", "parts": [section]} if nested else section}
    if nested and (group, target) == ("model", "torch.nn.Linear"):
        check_trust(config, [], place="config.yaml")
        return
    said = f"names .* within {group}, wh" if nested else f"names .* (as {group}, which|which)"
    with pytest.raises(UserError, match=rf"config\.yaml {said}") as caught:
        check_trust(config, ["mine"], place="config.yaml")
    assert str(caught.value).isprintable()
    assert {module for module in set(sys.modules) - before if not module.startswith("genreclf.")} == set()


def test_a_trusted_module_has_a_name(cli: Cli, trained: Trained) -> None:
    outcome = cli("predict", str(trained.run.path), str(trained.music), "--trust", "my/model.py")
    assert (outcome.code, outcome.err) == (2, "--trust my/model.py is not the name of a module, such as my_model.\n")


def test_an_evaluation_needs_no_trust_for_what_the_user_replaces(theirs: RunDirectory) -> None:
    name(theirs, "genreclf.models.CRNN")
    name(theirs, "theirs.helper.Splitter", group="split")
    with pytest.raises(UserError, match=r"names theirs\.helper\.Splitter"):
        checked_again(theirs, ["seed=1"])
    assert checked_again(theirs, ["split=track"]).split["_target_"] == "genreclf.splits.rules.TrackSplitter"
    assert "theirs.helper" not in sys.modules


HUGE = {
    "depth": ("genreclf.models.PatchTransformer", {"depth": 10**9}, "depth=1000000000 must lie between 1 and 100"),
    "width": ("genreclf.models.CRNN", {"hidden": 10**7}, "in the weights and"),
    "both": ("genreclf.models.FFNN", {"hidden": [10**9] * 1000}, "it has more layers than there are weights"),
}


@pytest.mark.parametrize(("kind", "command"), [("width", "evaluate"), *((kind, "predict") for kind in HUGE)])
def test_a_huge_model_takes_no_memory(
    kind: str, command: str, cli: Cli, theirs: RunDirectory, trained: Trained
) -> None:
    target, arguments, sentence = HUGE[kind]
    config = theirs.read_config()
    own = {} if target == "genreclf.models.CRNN" else {"model": {}}
    theirs.write_config({**config, **own})
    name(theirs, target, **arguments)
    outcome = cli(command, "theirs", str(trained.music) if command == "predict" else "run_dir=again")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert not Path("again").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_fft", 2**40),
        ("n_mels", 10**9),
        ("clip_frames", -1),
        ("rendering", "x"),
        ("hop_length", 0.5),
        ("f_max", 1e9),
        ("f_min", "low"),
        ("f_min", None),
    ],
)
def test_huge_spectrograms_take_no_memory(
    key: str, value: Any, cli: Cli, theirs: RunDirectory, trained: Trained
) -> None:
    name(theirs, "genreclf.models.CRNN")
    checkpoint = torch.load(theirs.best, weights_only=True)
    checkpoint["hyper_parameters"]["spec"][key] = value
    torch.save(checkpoint, theirs.best)
    commands = [["predict", "theirs", str(trained.music)], ["evaluate", "theirs", "run_dir=again"]]
    for words in commands if key == "n_fft" else commands[:1]:
        outcome = cli(*words)
        assert outcome.code == 2
        assert f"{key} of {value!r}" in outcome.err
