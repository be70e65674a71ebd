"""Checkpoints of a `ModelCheckpoint` of the user's own lie apart from those that a run is tested and resumed with."""

from pathlib import Path
from typing import Any

import pytest
from helpers import Cli

from genreclf.checkpoint import load_checkpoint
from genreclf.models import GenreClassifier
from genreclf.run_directory import RunDirectory


def checkpoint(name: str, settings: str) -> str:
    return f"+callbacks.{name}={{_target_:lightning.pytorch.callbacks.ModelCheckpoint,{settings}}}"


OTHERS = [
    checkpoint("steps", "every_n_train_steps:2,save_last:true"),
    checkpoint("worst", "filename:best,monitor:val/loss,mode:max,enable_version_counter:false"),
]


def test_neither_resume_nor_best_epoch_depends_on_other_checkpoints(
    cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*tiny, *OTHERS, "data.batch_size=10", "trainer.max_epochs=2", "run_dir=run"]

    def interrupt(model: GenreClassifier, batch: Any, batch_idx: int) -> None:
        if (model.current_epoch, batch_idx) == (1, 2):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GenreClassifier, "on_train_batch_start", interrupt)
        assert cli(*command).code == 130
    Path("run/checkpoints/steps/.last.0.partial.ckpt").touch()
    outcome = cli(*command)
    assert outcome.code == 0, outcome.err
    files = {str(path.relative_to("run/checkpoints")) for path in Path("run/checkpoints").rglob("*.ckpt")}
    named = {name for name in files if not name.startswith("steps/epoch")}
    assert named == {"best.ckpt", "last.ckpt", "steps/last.ckpt", "worst/best.ckpt"}
    run = RunDirectory("run")
    assert load_checkpoint(run.best)["epoch"] == run.read_metrics()["best_epoch"]
