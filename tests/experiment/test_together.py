"""Runs that train at once in threads of one process are the runs they are alone."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from fake_recorder import Repeater
from helpers import Cli

from genreclf.checkpoint import load_checkpoint
from genreclf.cli.compose import checked
from genreclf.errors import Terminated
from genreclf.experiment.together import run_together
from genreclf.models import GenreClassifier
from genreclf.run_directory import RunDirectory
from genreclf.training.gate import DEVICE_GATE
from genreclf.training.recorder import RECORDERS
from genreclf.training.shared_device import SharedDevice

pytestmark = pytest.mark.filterwarnings("ignore")
RUNS = 3


def number_of(model: GenreClassifier) -> int:
    return int(Path(model.trainer.default_root_dir).name)


def wait_beside_others(until: Callable[[], bool]) -> None:
    while not until():
        DEVICE_GATE.pause()
        time.sleep(0.01)


@pytest.mark.long
def test_runs_that_train_at_once_equal_runs_alone(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECORDERS, "cpu", Repeater)
    words = [*tiny, "model.dropout=0", "trainer.max_epochs=3", "trainer.step=graph", "logger=csv"]
    runs = [RunDirectory(Path("beside", str(number))) for number in range(RUNS)]
    configs = [
        checked([*words, f"seed={number}", f"run_dir={run.path}"], run_dir="-") for number, run in enumerate(runs)
    ]
    in_the_way: dict[int, Callable[[GenreClassifier], None]] = {}
    at_work: set[int] = set()
    meets = False
    whole = GenreClassifier.on_train_epoch_end

    def end_epoch(model: GenreClassifier) -> None:
        whole(model)
        at_work.add(number_of(model))
        if meets:  # So that none is over before the last begins.
            wait_beside_others(lambda: len(at_work) == RUNS)
        in_the_way.get(number_of(model), lambda model: None)(model)

    monkeypatch.setattr(GenreClassifier, "on_train_epoch_end", end_epoch)

    def be_terminated(model: GenreClassifier) -> None:
        if model.current_epoch == 1:
            if number_of(model) == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            (shared,) = (callback for callback in model.trainer.callbacks if isinstance(callback, SharedDevice))
            wait_beside_others(shared.stop.is_set)

    def fail(model: GenreClassifier) -> None:
        if model.current_epoch == 2:
            raise ValueError("the loss is not what it was")

    meets = True
    in_the_way = dict.fromkeys(range(RUNS), be_terminated)
    before = threading.active_count()
    # Processes that draw would take longer than all the runs: those of the slow tests of sweeps do.
    monkeypatch.setattr("genreclf.experiment.together.drawing_processes", ThreadPoolExecutor)
    with pytest.raises(Terminated):
        list(run_together(configs, at_once=RUNS))
    assert threading.active_count() <= before
    assert [run.status for run in runs] == ["interrupted"] * RUNS
    assert all(0 < len(run.read_history()) < 3 for run in runs)

    meets = False
    in_the_way = {1: fail}
    ended = [member for member in run_together(configs, at_once=RUNS) if member.ended]
    assert [(member.number, str(member.error or "")) for member in ended] == [
        (0, ""),
        (1, "the loss is not what it was"),
        (2, ""),
    ]
    assert [run.status for run in runs] == ["finished", "failed", "finished"]
    assert len(runs[1].read_history()) == 3

    for number in (0, 2):
        assert cli(*words, f"seed={number}", f"run_dir=alone/{number}").code == 0
        run, alone = runs[number], RunDirectory(Path("alone", str(number)))
        for name in ("predictions.csv", "val_predictions.csv", "clip_predictions.csv", "split.json"):
            assert (run.path / name).read_bytes() == (alone.path / name).read_bytes(), name
        for key in ("state_dict", "optimizer_states"):
            kept = (load_checkpoint(each.last)[key] for each in (run, alone))
            torch.testing.assert_close(*kept, rtol=0, atol=0)
        assert [row["val/loss"] for row in run.read_history()] == [row["val/loss"] for row in alone.read_history()]


def test_runs_that_cannot_train_at_once_take_turns(
    tiny: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [checked([*tiny, f"seed={number}", f"run_dir=turns/{number}"], run_dir="-") for number in range(2)]
    order = []
    monkeypatch.setattr(GenreClassifier, "on_fit_start", lambda model: order.append(("fit", number_of(model))))
    monkeypatch.setattr(GenreClassifier, "on_test_start", lambda model: order.append(("test", number_of(model))))
    assert all(member.error is None for member in run_together(configs, at_once=2))
    assert order == [("fit", 0), ("test", 0), ("fit", 1), ("test", 1)]
    assert capsys.readouterr().out.count("these runs take turns") == 1
