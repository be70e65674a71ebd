"""A recorded training step trains as the same steps one by one do, and says where it cannot be recorded."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Cli
from torch import Tensor

from genreclf.checkpoint import load_checkpoint
from genreclf.run_directory import RunDirectory
from genreclf.training import graph
from genreclf.training.graph import Work

pytestmark = pytest.mark.filterwarnings("ignore")


class Repeater:
    """Records on a CPU: does the same work anew, on the tensors it was recorded with."""

    recorded = 0
    replayed = 0

    def __init__(self, device: torch.device) -> None:
        """Need nothing of the device."""

    def seed(self, seed: int) -> None:
        """Draw from the generator of the process, which is seeded already."""

    def run(self, work: Work) -> None:
        """Do `work`."""
        work()

    def record(self, work: Work) -> Work:
        """Return `work`, counted."""
        type(self).recorded += 1

        def replay() -> None:
            type(self).replayed += 1
            work()

        return replay


@pytest.fixture
def repeater(monkeypatch: pytest.MonkeyPatch) -> type[Repeater]:
    """Let CPUs record."""
    monkeypatch.setitem(graph.RECORDERS, "cpu", Repeater)
    Repeater.recorded = Repeater.replayed = 0
    return Repeater


def state_of(run: RunDirectory) -> dict[str, Any]:
    """Return what a run leaves behind, but for times."""
    history = [{key: row[key] for key in row if not key.endswith("_s")} for row in run.read_history()]
    predictions = (run.path / "predictions.csv").read_text()
    checkpoint = load_checkpoint(run.last)
    kept = {key: checkpoint[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step")}
    return {"history": history, "predictions": predictions, **kept}


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Compare nested values to the last digit."""
    if isinstance(one, Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, (first, second) in enumerate(zip(one, other, strict=True)):
            assert_same(first, second, f"{where}[{number}]")
    else:
        assert one == other, where


CASES = [
    pytest.param("regularization=strong optimizer=adamw scheduler=cosine"),
    pytest.param("regularization=mixup optimizer=sgd scheduler=plateau"),
    pytest.param("regularization=filter_augment optimizer=sgd_plain", marks=pytest.mark.slow),
    pytest.param("optimizer=rmsprop scheduler=cosine", marks=pytest.mark.slow),
    pytest.param("optimizer=adam_keras loss=bce_softmax optimizer.fused=false", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("overrides", CASES)
def test_trains_as_step_by_step(
    overrides: str, cli: Cli, tiny: list[str], tmp_path: Path, repeater: type[Repeater]
) -> None:
    long = ["trainer.max_epochs=2", "data.crops_per_track=3", *overrides.split()]
    for step in ("eager", "graph"):
        outcome = cli(*tiny, *long, f"trainer.step={step}", f"run_dir={step}")
        assert outcome.code == 0, outcome.err
        assert "Note: trainer.step" not in outcome.err
    assert repeater.recorded == 1
    assert_same(state_of(RunDirectory(tmp_path / "eager")), state_of(RunDirectory(tmp_path / "graph")))
