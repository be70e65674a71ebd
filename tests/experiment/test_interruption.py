"""Runs that are killed or told to end go on, and no two processes work in one run directory."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import Cli, forked, history_without_times, run_main, wait_until

from genreclf.config.config import Config
from genreclf.experiment.corpus import Corpus
from genreclf.experiment.setup import Prepared
from genreclf.models import GenreClassifier
from genreclf.run_directory import RunBusy, RunDirectory

EARLY_PATIENCE = [
    *("callbacks.early_stopping.patience=1", "callbacks.early_stopping.monitor=val/track_accuracy"),
    *("trainer.min_epochs=5", "optimizer.lr=0.1"),
]
"""A training whose patience is exhausted in its second epoch, and whose fifth epoch is better."""


def test_a_run_directory_is_one_process_s(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genreclf.run_directory.HANDOVER_S", 0.1)
    run = RunDirectory(tmp_path / "run")
    run.make()
    with run.held():
        outcome = cli(*tiny, "run_dir=run")
        assert outcome.code == RunBusy.exit_code
        assert outcome.err.strip().endswith(
            "Another process works in run; let it end, or end it, then run the same command again."
        )
        assert not run.config.exists()
        assert run.status is None
    with run.held():  # It was let go.
        pass


def test_a_run_that_another_process_finished_meanwhile_is_left_alone(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genreclf.experiment.run import TASKS, run

    real, ends = TASKS["train"], []

    def prepare_slowly(config: Config, load: Callable[[Config], Corpus]) -> Prepared:
        if not ends:
            ends.append(0)
            ends.append(run(config).run.metrics.stat().st_mtime_ns)  # The same command, which is faster.
        return real.prepare(config, load)

    monkeypatch.setitem(TASKS, "train", real._replace(prepare=prepare_slowly))
    outcome = cli(*tiny, "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert "run is finished and left as it is." in outcome.out
    assert (tmp_path / "run/metrics.json").stat().st_mtime_ns == ends[1]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_told_to_end_in_its_test_goes_on(
    sent: signal.Signals, code: int, cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(GenreClassifier, "on_test_start", lambda self: os.kill(os.getpid(), sent))
        outcome = cli(*tiny, "run_dir=run")
    assert outcome.code == code
    word = {143: "Terminated", 130: "Interrupted"}[code]
    assert outcome.err.splitlines()[-1] == f"{word}. Run the same command with run_dir=run to continue."
    run = RunDirectory(tmp_path / "run")
    assert run.status == "interrupted"
    trained = run.last.stat().st_mtime_ns
    assert cli(*tiny, "run_dir=run").code == 0
    assert run.status == "finished"
    assert run.last.stat().st_mtime_ns == trained


def kill_after_epochs(arguments: list[str], run: RunDirectory, epochs: int) -> None:
    process = forked(run_main, arguments)
    wait_until(lambda: len(run.read_history()) >= epochs or not process.is_alive())
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_killed_run_goes_on_to_the_same_end(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    settings = [*tiny, "regularization=strong", "trainer.max_epochs=6", "model.dropout=0.5", "data.crops_per_track=4"]
    kill_after_epochs([*settings, "run_dir=killed"], RunDirectory(tmp_path / "killed"), 2)
    assert len(history_without_times(tmp_path / "killed")) < 6
    assert json.loads((tmp_path / "killed/metrics.json").read_text())["status"] == "running"
    for name in ("killed", "unbroken"):
        outcome = cli(*settings, f"run_dir={name}")
        assert outcome.code == 0, outcome.err
    assert history_without_times(tmp_path / "killed") == history_without_times(tmp_path / "unbroken")
    metrics: list[dict[str, Any]] = [RunDirectory(tmp_path / name).read_metrics() for name in ("killed", "unbroken")]
    assert metrics[0]["test"] == metrics[1]["test"]
    assert (tmp_path / "killed/predictions.csv").read_text() == (tmp_path / "unbroken/predictions.csv").read_text()


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        (["+callbacks.early_stopping.stopping_threshold=100"], 1),
        (EARLY_PATIENCE, 5),
    ],
    ids=["threshold", "patience before min_epochs"],
)
def test_a_run_that_stopped_early_stays_stopped(
    settings: list[str], epochs: int, cli: Cli, tiny: list[str], tmp_path: Path
) -> None:
    words = [*tiny, "callbacks=[default,early_stopping]", "trainer.max_epochs=9", "scheduler=constant", *settings]
    assert cli(*words, "run_dir=run").code == 0
    history = history_without_times(tmp_path / "run")
    assert len(history) == epochs
    (tmp_path / "run/metrics.json").unlink()  # As after a kill at the end of the training.
    assert cli(*words, "run_dir=run").code == 0
    assert history_without_times(tmp_path / "run") == history


def write_lists(train: tuple[int, ...], test: int) -> None:
    for name, numbers in (("train.txt", train), ("test.txt", (test,))):
        Path(name).write_text("".join(f"{genre}/0000{n}\n" for genre in ("blues", "rock") for n in numbers))


def test_a_run_does_not_go_on_with_other_tracks(
    cli: Cli, tiny: list[str], no_val: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    genre_map = Path("genres.yaml")
    genre_map.write_text("blues: a\nrock: b\n")
    command = [*tiny, *no_val, f"data.genre_map={genre_map}", "run_dir=run"]
    run = RunDirectory("run")
    with monkeypatch.context() as patch:
        patch.setattr(GenreClassifier, "on_test_start", lambda self: os.kill(os.getpid(), signal.SIGINT))
        assert cli(*command).code == 130
    record = run.split.read_text()

    def is_refused() -> bool:
        outcome = cli(*command)
        assert run.split.read_text() == record
        sentence = "run was begun with other tracks, as the data or the split have changed since: restore them, or set"
        return outcome.code == 2 and sentence in outcome.err and run.status in ("interrupted", None)

    write_lists((0, 2), 1)
    assert is_refused()
    write_lists((0, 1), 2)
    genre_map.write_text("blues: b\nrock: a\n")
    assert is_refused()
    run.metrics.unlink()  # As after a kill in the second epoch.
    assert is_refused()
    genre_map.write_text("blues: a\nrock: b\n")
    earlier = json.loads(record)
    del earlier["genre_hash"]  # As in a run of an earlier version.
    run.write_json(run.split, earlier)
    assert cli(*command).code == 0
    assert run.split.read_text() == record


def test_a_run_that_trained_no_whole_epoch_begins_anew_with_the_tracks_of_now(
    cli: Cli, tiny: list[str], no_val: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory("run")
    with monkeypatch.context() as patch:
        patch.setattr(GenreClassifier, "on_train_epoch_end", lambda self: os.kill(os.getpid(), signal.SIGINT))
        assert cli(*tiny, *no_val, "run_dir=run").code == 130
    write_lists((0, 2), 1)
    outcome = cli(*tiny, *no_val, "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert run.read_json(run.split)["test"] == ["blues/00001", "rock/00001"]
