import csv
from pathlib import Path
from typing import Any

import pytest
from helpers import Cli

from genreclf.run_directory import RunDirectory
from genreclf.training.record import StepRecord
from genreclf.training.steps import StepModule


def rows_with(path: Path, column: str) -> list[dict[str, float]]:
    with path.open(newline="") as lines:
        return [
            {key: float(value) for key, value in row.items() if value} for row in csv.DictReader(lines) if row[column]
        ]


def test_loggers_are_told_of_steps_and_epochs(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    every = [
        "callbacks.record.every_n_steps=1",
        "callbacks.record.gradient_norm=true",
        "trainer.gradient_clip_val=1e-3",
    ]
    outcome = cli(*tiny, *every, "logger=csv", "trainer.max_epochs=2", "optimizer.lr=0.01", "run_dir=run")
    assert outcome.code == 0, outcome.err
    record, history = tmp_path / "run/csv/metrics.csv", RunDirectory("run").read_history()
    steps = rows_with(record, "train/loss_step")
    assert [step["step"] for step in steps] == [0, 1, 2, 3]
    assert [step["epoch"] for step in steps] == [0, 0, 1, 1]
    assert [steps[0]["lr"], steps[2]["lr"]] == pytest.approx([row["lr"] for row in history])
    assert steps[0]["lr"] > steps[1]["lr"] > steps[2]["lr"] > steps[3]["lr"]
    assert all(step["train/gradient_norm"] > 1e-3 for step in steps)
    for row, (first, second) in zip(history, (steps[:2], steps[2:]), strict=True):
        mean = (first["train/loss_step"] + second["train/loss_step"]) / 2
        assert mean == pytest.approx(row["train/loss"], rel=1e-5)
    epochs = rows_with(record, "epoch_s")
    assert [(row["step"], row["epoch"]) for row in epochs] == [(1, 0), (3, 1)]
    assert [row["clips_per_s"] for row in epochs] == [row["clips_per_s"] for row in history]


def test_a_step_of_several_batches_is_recorded_when_it_is_complete(
    cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []
    clip = StepModule.configure_gradient_clipping

    def note_norm(model: StepModule, *arguments: Any, **settings: Any) -> None:
        clip(model, *arguments, **settings)
        assert model.gradient_norm is not None
        norms.append(float(model.gradient_norm))

    monkeypatch.setattr(StepModule, "configure_gradient_clipping", note_norm)
    words = ["callbacks.record.every_n_steps=1", "callbacks.record.gradient_norm=true", "logger=csv"]
    # Two batches an epoch, so that the last step takes fewer batches than it may.
    outcome = cli(*tiny, *words, "trainer.accumulate_grad_batches=3", "trainer.max_epochs=2", "run_dir=run")
    assert outcome.code == 0, outcome.err
    steps = rows_with(Path("run/csv/metrics.csv"), "train/loss_step")
    assert [step["step"] for step in steps] == [0, 1]
    assert [step["train/gradient_norm"] for step in steps] == pytest.approx(norms)
    losses = [row["train/loss"] for row in RunDirectory("run").read_history()]
    assert [step["train/loss_step"] for step in steps] == pytest.approx(losses, rel=1e-5)


def test_a_record_of_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="every_n_steps=0 must be at least 1"):
        StepRecord(0)
