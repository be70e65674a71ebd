"""The test gives the same figures on any number of ranks."""

import csv
from pathlib import Path

import pytest
from helpers import Cli, python_m

from genreclf.run_directory import RunDirectory


@pytest.mark.slow
def test_one_two_and_three_ranks_test_alike(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    """Neither 2 nor 3 divides the 25 test tracks, their 125 clips or a batch."""
    assert cli(*tiny, "run_dir=run").code == 0
    genres = RunDirectory("run").read_json(RunDirectory("run").split)["genres"]
    places = {"train": [0], "val": [1], "test": [2, 3, 4]}
    for subset, numbers in places.items():
        ids = [f"{genre}/{number:05d}" for number in numbers for genre in (genres[:5] if number == 4 else genres)]
        (tmp_path / f"{subset}.txt").write_text("\n".join(ids))
    split = ["split=list", *(f"split.{subset}={subset}.txt" for subset in places), "data.batch_size=5"]
    split.append("data.grid_overlap=0.7")
    runs = []
    for devices in (1, 2, 3):
        process = python_m("evaluate", "run", f"run_dir=on{devices}", f"trainer.devices={devices}", *split)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        runs.append(RunDirectory(tmp_path / f"on{devices}"))
    first = runs[0]
    tracks = first.read_json(first.split)["test"]
    assert first.read_metrics()["test"]["track"]["n"] == len(tracks) == 25
    assert first.read_metrics()["test"]["clip"]["n"] == 125
    for run in runs:
        assert run.read_metrics()["test"] == first.read_metrics()["test"]
        for ours, theirs in ((run.predictions, first.predictions), (run.clip_predictions, first.clip_predictions)):
            same(ours, theirs)
        with run.predictions.open(newline="") as lines:
            assert [row["track_id"] for row in csv.DictReader(lines)] == sorted(tracks)


def same(ours: Path, theirs: Path) -> None:
    """Compare two tables; a probability may differ by what the place of a clip in its batch does to its sums."""
    with ours.open(newline="") as one, theirs.open(newline="") as two:
        for row, other in zip(csv.reader(one), csv.reader(two), strict=True):
            for word, expected in zip(row, other, strict=True):
                if word != expected:
                    assert float(word) == pytest.approx(float(expected), abs=2e-8)
