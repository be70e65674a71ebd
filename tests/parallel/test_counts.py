"""The test gives the same figures on any number of ranks."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome, python_m

from genreclf.rundir import RunDirectory

Cli = Callable[..., Outcome]


@pytest.mark.slow
def test_one_two_and_three_ranks_test_alike(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    """Of 23 test tracks neither 2 nor 3 is a divisor."""
    assert cli(*tiny, "run_dir=run").code == 0
    split = ["split=track", "split.train=0.36", "split.val=0.18", "split.test=0.46", "data.batch_size=6"]
    runs = []
    for devices in (1, 2, 3):
        process = python_m("evaluate", "run", f"run_dir=on{devices}", f"trainer.devices={devices}", *split)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        runs.append(RunDirectory(tmp_path / f"on{devices}"))
    first = runs[0]
    tracks = first.read_json(first.split)["test"]
    assert len(tracks) % 2
    assert len(tracks) % 3
    assert first.read_metrics()["test"]["track"]["n"] == len(tracks)
    for run in runs:
        assert run.read_metrics()["test"] == first.read_metrics()["test"]
        assert run.predictions.read_text() == first.predictions.read_text()
        assert run.clip_predictions.read_text() == first.clip_predictions.read_text()
        with run.predictions.open(newline="") as lines:
            assert [row["track_id"] for row in csv.DictReader(lines)] == sorted(tracks)
