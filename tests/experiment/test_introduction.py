"""What a run says at its start, while it trains, and when it ends early."""

import os
import re
import signal
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rich
import wandb
from helpers import ROOT, Cli

from genreclf.data.encode_all import encode_all
from genreclf.datasets.synthetic import Synthetic
from genreclf.run_directory import RunDirectory
from genreclf.training.module import GenreClassifier
from genreclf.training.progress import EpochProgress, clock

DATA = """\
Data: synthetic, seed 0, 5 artists a genre; 10 genres; split artist_folds
  training   30 tracks, 30 artists, 30 clips per epoch
  validation 10 tracks, 10 artists, 30 clips
  test       10 tracks, 10 artists, 30 clips
Model: CRNN, 830 parameters
"""


def test_a_run_says_what_it_does_and_is_interrupted(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*tiny, "trainer.max_epochs=2", "logger=wandb", "run_dir=run"]
    run = RunDirectory(tmp_path / "run")

    def interrupt(model: GenreClassifier) -> None:
        if model.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(GenreClassifier, "on_train_epoch_end", interrupt)
        outcome = cli(*command)
    assert outcome.code == 130, outcome.err
    (record,) = (tmp_path / "run/wandb").glob("offline-run-*")
    offline = f"W&B: offline, to be sent with: wandb sync {record.relative_to(tmp_path)}\n"
    assert f"{DATA}Run directory: run (new, 2 epochs)\n{offline}" in outcome.out
    assert outcome.out.endswith(offline)
    assert wandb.run is None
    assert list(record.glob("*.wandb"))
    assert not (tmp_path / "wandb").exists()
    assert re.search(
        r"^Epoch 0/1: clips/s [\d,]+, train/loss \d.\d+, val/loss .*, val/track_accuracy 0", outcome.out, re.M
    )
    assert run.status == "interrupted"
    assert f"{DATA}Run directory: run (new, 2 epochs)\n" in (ROOT / "docs/training.md").read_text()
    outcome = cli(*command)
    assert outcome.code == 0, outcome.err
    assert "Run directory: run (continues from epoch 1 of 2)\n" in outcome.out
    assert run.status == "finished"


def test_a_crash_names_the_run_directory(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: GenreClassifier) -> None:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(GenreClassifier, "on_train_start", fail)
    with pytest.raises(ZeroDivisionError) as raised:
        cli(*tiny, "run_dir=run")
    assert raised.value.__notes__ == ["The run directory is run."]


def test_on_a_terminal_a_bar_shows_the_time_left(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    rich.reconfigure()
    outcome = cli(*tiny, "run_dir=run")
    monkeypatch.undo()
    rich.reconfigure()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", outcome.out)
    assert re.search(
        r"Epoch 0/0 .* 2/2 \d:\d\d:\d\d • \d:\d\d:\d\d left clips/s: [\d,]+ train/loss: \d.*val/loss: \d", shown
    )
    assert "it/s" not in shown


def test_a_notebook_without_widgets_gets_lines_and_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rich.get_console(), "is_jupyter", True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    tracks = Synthetic(tracks_per_genre=1, artists_per_genre=1).tracks()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(encode_all(tracks, lambda track: np.zeros((2, 4)), 1))) == len(tracks)
    trainer = SimpleNamespace(global_step=0, estimated_stepping_batches=4, callbacks=[])
    EpochProgress().on_train_start(trainer, None)  # type: ignore[arg-type]  # A bar would need more of the trainer.


def test_times_are_read_as_a_clock() -> None:
    assert (clock(3723.4), clock(None)) == ("1:02:03", "-:--:--")
