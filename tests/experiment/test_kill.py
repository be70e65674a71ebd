"""Runs that are killed at named places go on to the end of an unbroken one."""

import csv
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers import Cli, forked, run_main

from genreclf.run_directory import RunDirectory

SETTINGS = [
    *("trainer.max_epochs=30", "callbacks=[default,early_stopping,ema]", "callbacks.early_stopping.patience=2"),
    *("optimizer.lr=0.05", "callbacks.ema.decay=0.9"),
    *("scheduler=plateau", "scheduler.patience=0", "model.dropout=0.3"),
]
"""A training that stops early, whose learning rate falls and whose weights are averaged."""


def train_and_be_killed(place: str, epoch: int, arguments: Sequence[str]) -> None:
    """Train in this process, which is killed at a place of an epoch."""
    from lightning.pytorch import Trainer

    from genreclf.training import callbacks

    reached = False
    write_row, save, sync = callbacks.History.on_train_epoch_end, Trainer.save_checkpoint, os.fsync

    def kill_at(here: str) -> None:
        if reached and here == place:
            os.kill(os.getpid(), signal.SIGKILL)

    def row(self: callbacks.History, *arguments: object) -> None:
        nonlocal reached
        write_row(self, *arguments)  # type: ignore[arg-type]
        reached = len(self.rows) > epoch
        kill_at("after the row")

    def saved(self: Trainer, path: str, *arguments: object) -> None:
        kill_at(f"before {Path(path).name}")
        save(self, path, *arguments)  # type: ignore[arg-type]
        kill_at(f"after {Path(path).name}")

    def synced(descriptor: int) -> None:
        sync(descriptor)
        # A thread writes to .best.XXXXXXXX.partial.ckpt, perhaps while the next checkpoint is saved.
        kill_at(f"within {os.readlink(f'/proc/self/fd/{descriptor}').split('/.')[-1].partition('.')[0]}.ckpt")

    callbacks.History.on_train_epoch_end = row  # type: ignore[method-assign]
    Trainer.save_checkpoint = saved  # type: ignore[assignment, method-assign]
    os.fsync = synced
    run_main(arguments)


def killed(place: str, epoch: int, *arguments: str) -> None:
    """Train in another process, which is killed at a place of an epoch."""
    process = forked(train_and_be_killed, place, epoch, arguments)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def end_of(run: RunDirectory) -> tuple[list[dict[str, str]], str, object]:
    """Return all that does not depend on the time: the history, the test's clips and the best epoch."""
    with run.history.open(newline="") as lines:
        history = [{key: row[key] for key in row if not key.endswith("_s")} for row in csv.DictReader(lines)]
    return history, run.clip_predictions.read_text(), run.read_metrics()["best_epoch"]


@pytest.fixture(scope="module")
def unbroken() -> list[RunDirectory]:
    """Keep the run that the first test makes."""
    return []


@pytest.mark.long
@pytest.mark.parametrize(
    ("place", "epoch"),
    [
        pytest.param("within last.ckpt", 4, marks=pytest.mark.slow),
        pytest.param("after last.ckpt", 5, marks=pytest.mark.slow),
        pytest.param("after last.ckpt", 4, marks=pytest.mark.slow),
        pytest.param("before last.ckpt", 5, marks=pytest.mark.slow),
        pytest.param("after the row", 5, marks=pytest.mark.slow),
        pytest.param("within best.ckpt", 3, marks=pytest.mark.slow),
        pytest.param("after best.ckpt", 3, marks=pytest.mark.slow),
        pytest.param("before last.ckpt", 0, marks=pytest.mark.slow),
    ],
)
def test_goes_on_to_the_same_end(
    place: str, epoch: int, cli: Cli, tiny: list[str], unbroken: list[RunDirectory], tmp_path: Path
) -> None:
    if not unbroken:
        assert cli(*tiny, *SETTINGS, "run_dir=unbroken").code == 0
        unbroken.append(RunDirectory(tmp_path / "unbroken"))
        assert len(unbroken[0].read_history()) == 6
        assert len({row["lr"] for row in unbroken[0].read_history()}) > 1
        assert unbroken[0].read_metrics()["best_epoch"] == 3
    killed(place, epoch, *tiny, *SETTINGS, "run_dir=killed")
    assert RunDirectory(tmp_path / "killed").status == "running"
    outcome = cli(*tiny, *SETTINGS, "run_dir=killed")
    assert outcome.code == 0, outcome.err
    assert end_of(RunDirectory(tmp_path / "killed")) == end_of(unbroken[0])
    assert not list(tmp_path.glob("killed/**/*.partial*"))


@pytest.mark.slow
def test_goes_on_in_another_place(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    arguments = [*tiny, *SETTINGS, "callbacks.checkpoint.monitor=val/track_accuracy", "optimizer.lr=0.2"]
    assert cli(*arguments, "run_dir=unbroken").code == 0
    unbroken = RunDirectory(tmp_path / "unbroken")
    best = unbroken.read_metrics()["best_epoch"]
    assert best < len(unbroken.read_history()) - 1
    killed("after last.ckpt", best, *arguments, "run_dir=killed")
    shutil.move(tmp_path / "killed", tmp_path / "moved")
    outcome = cli(*arguments, "run_dir=moved")
    assert outcome.code == 0, outcome.err
    assert end_of(RunDirectory(tmp_path / "moved")) == end_of(unbroken)
