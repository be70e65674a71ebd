"""A run that goes on beside a damaged file says so."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import SMALL, Cli, Trained

HISTORIES: dict[str, tuple[Callable[[str], str], str]] = {
    "words": (lambda text: text.replace("1.", "[0]", 1), "is damaged (could not convert string to float"),
    "a gap": (lambda text: text.replace("\n4,", "\n5,", 1), "is damaged (its epochs are not 0, 1, ...)"),
    "no epochs": (lambda text: text.replace("epoch,", "apoch,", 1), "is damaged (its epochs are not 0, 1, ...)"),
    "no times": (lambda text: text.replace("epoch_s", "x"), "is damaged (it has no times)"),
    "more cells than columns": (lambda text: text.replace("\n", ",1,2\n").replace(",1,2", "", 1), "is damaged ("),
    "an end": (lambda text: "\n".join(text.splitlines()[:4]) + "\n", "has fewer epochs than"),
    "nothing": (lambda text: "", "has fewer epochs than"),
}


@pytest.fixture
def run(trained: Trained, tmp_path: Path) -> Path:
    """A run that was killed before its test, and the command that goes on."""
    path = Path(shutil.copytree(trained.run.path, tmp_path / "run"))
    metrics = json.loads((path / "metrics.json").read_text())
    (path / "metrics.json").write_text(json.dumps({**metrics, "status": "running"}))
    return path


@pytest.fixture
def go_on(trained: Trained) -> list[str]:
    data = ("data=folder", f"data.root={trained.music}", f"data.store_dir={trained.run.path.parent / 'stores'}")
    split = ("split=track", "split.train=0.2", "split.val=0.2", "split.test=0.6")
    return [*SMALL, *data, "data.clip_seconds=1", *split, "run_dir=run"]


@pytest.mark.parametrize("kind", HISTORIES)
def test_a_damaged_history_is_named(kind: str, cli: Cli, run: Path, go_on: list[str]) -> None:
    damaged, sentence = HISTORIES[kind]
    (run / "history.csv").write_text(damaged((run / "history.csv").read_text()))
    outcome = cli(*go_on)
    assert outcome.code == 2, outcome
    assert "run/history.csv " in outcome.err
    assert sentence in outcome.err
    assert "repeat the run in another run_dir" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_checkpoint_of_something_else_is_named(cli: Cli, run: Path, go_on: list[str]) -> None:
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    checkpoint["loops"]["fit_loop"]["epoch_progress"]["total"] = ["x"]
    torch.save(checkpoint, run / "checkpoints/last.ckpt")
    outcome = cli(*go_on)
    assert outcome.code == 2, outcome
    assert "run/checkpoints/last.ckpt is not one of this training" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_checkpoint_from_within_an_epoch_is_named(cli: Cli, run: Path, go_on: list[str]) -> None:
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] -= 1
    torch.save(checkpoint, run / "checkpoints/last.ckpt")
    outcome = cli(*go_on)
    assert outcome.code == 2, outcome
    assert "run/checkpoints/last.ckpt was written within an epoch, from which a run cannot continue" in outcome.err


def test_a_best_checkpoint_without_a_buffer_is_named(cli: Cli, run: Path, go_on: list[str]) -> None:
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    del checkpoint["state_dict"]["network.convolutions.1.2.running_var"]
    torch.save(checkpoint, run / "checkpoints/best.ckpt")
    outcome = cli(*go_on)
    assert outcome.code == 2, outcome
    assert "run/checkpoints/best.ckpt is not one of this model" in outcome.err
    assert "network.convolutions.1.2.running_var" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_missing_best_checkpoint_is_named(cli: Cli, run: Path, go_on: list[str]) -> None:
    (run / "checkpoints/best.ckpt").unlink()
    outcome = cli(*go_on)
    assert outcome.code == 2, outcome
    assert "run/checkpoints/best.ckpt, the checkpoint of the best epoch so far; restore a copy" in outcome.err
    assert "Traceback" not in outcome.err
    assert not (run / "checkpoints/best.ckpt").exists()


@pytest.mark.parametrize("name", ["split.json", "val_predictions.csv"])
def test_a_folder_in_the_place_of_a_file_is_named(name: str, cli: Cli, run: Path, go_on: list[str]) -> None:
    (run / name).unlink()
    (run / name).mkdir()
    outcome = cli(*go_on)
    assert outcome.code == 2, outcome
    assert f"run/{name} is a folder, but a file must be written there" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_finished_run_without_its_objective_is_named(cli: Cli, run: Path, go_on: list[str]) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["objective"]
    (run / "metrics.json").write_text(json.dumps({**metrics, "status": "finished"}))
    outcome = cli(*go_on)
    assert (outcome.code, outcome.err) == (2, "run/metrics.json is damaged: it has no objective.\n")
