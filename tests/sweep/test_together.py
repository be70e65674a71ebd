"""Jobs that share a process, through the real command."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Cli, python_m

from genreclf.checkpoint import load_checkpoint
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory
from genreclf.sweep.process import Tell

DRAWS = ["regularization=strong", "trainer.max_epochs=2"]
"""Everything that draws random numbers is on."""

EXACT = ("predictions.csv", "val_predictions.csv", "clip_predictions.csv", "split.json")
TIMES = {"epoch_s", "clips_per_s"}


def together(*arguments: str) -> list[str]:
    return ["-m", "hydra/launcher=together", "hydra.sweep.dir=sweep", *arguments]


def jobs(folder: Path) -> dict[str, RunDirectory]:
    """Return the runs of a sweep by what they vary, as in their records."""
    paths = {path.parent: json.loads(path.read_text()) for path in sorted(folder.glob("*/job.json"))}
    return {" ".join(map("=".join, record["varies"].items())): RunDirectory(path) for path, record in paths.items()}


def assert_equal(run: RunDirectory, alone: RunDirectory) -> None:
    """See that two runs are the same to the last digit, but for the times."""
    for name in EXACT:
        assert (run.path / name).read_bytes() == (alone.path / name).read_bytes(), name
    for kept in (run.best, run.last):
        ours, theirs = load_checkpoint(kept), load_checkpoint(alone.checkpoints / kept.name)
        torch.testing.assert_close(ours["state_dict"], theirs["state_dict"], rtol=0, atol=0)
        torch.testing.assert_close(ours["optimizer_states"], theirs["optimizer_states"], rtol=0, atol=0)
    rows = [[{key: row[key] for key in row.keys() - TIMES} for row in each.read_history()] for each in (run, alone)]
    assert rows[0] == rows[1]
    ours, theirs = ({**each.read_metrics(), "timing": None} for each in (run, alone))
    assert ours == theirs
    assert {path.name for path in run.path.rglob("*")} - {"job.json"} == {path.name for path in alone.path.rglob("*")}


@pytest.mark.long
def test_jobs_in_one_process_equal_runs_alone(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    outcome = cli(*together(*tiny, *DRAWS, "seed=0,1"))
    assert outcome.code == 0, outcome.err
    assert "2 jobs: 2 finished." in outcome.out
    runs = jobs(tmp_path / "sweep")
    assert list(runs) == ["seed=0", "seed=1"]
    for varied, run in runs.items():
        assert cli(*tiny, *DRAWS, varied, f"run_dir=alone-{varied[-1]}").code == 0
        assert_equal(run, RunDirectory(tmp_path / f"alone-{varied[-1]}"))
    again = cli(*together(*tiny, *DRAWS, "seed=0,1"))
    assert again.code == 0
    assert again.out.count("finished and left as it is") == 2
    assert "starts in" not in again.out


def test_jobs_share_a_process_that_differ_in_numbers_of_the_training(
    cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = []

    def compute(plains: list[dict[str, Any]], tell: Tell, *, at_once: int) -> None:
        assert at_once == 1
        groups.append([(plain["split"]["fold"], plain["optimizer"]["lr"]) for plain in plains])
        for number in range(len(plains)):
            tell(number, UserError.exit_code, 1.0)

    monkeypatch.setattr("genreclf.sweep.together.compute_together", compute)
    outcome = cli(*together(*tiny, "split.fold=0,1", "optimizer.lr=0.1,0.2", "model.hidden=4,8"))
    assert outcome.code == 2
    assert len(groups) == 2
    assert sorted(groups[0]) == sorted(groups[1]) == list(itertools.product((0, 1), (0.1, 0.2)))


def test_jobs_of_several_devices_are_refused(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    outcome = cli(*together(*tiny, "seed=0,1", "trainer.devices=2"))
    assert outcome.code == 2
    assert outcome.err.count("trainer.devices=2, but the jobs of hydra/launcher=together share one device") == 4
    assert not list(tmp_path.glob("sweep/*/config.yaml"))


FAULTY = '''
import os, signal
from genreclf.models import CRNN

class Faulty(CRNN):
    """A network whose training goes wrong in its second epoch, while FAULTS is set."""

    def on_train_epoch_end(self):
        super().on_train_epoch_end()
        if self.current_epoch == 1 and "FAULTS" in os.environ:
            if "seed-1_" in self.trainer.default_root_dir:
                raise ValueError("the loss is not what it was")
            if "seed-2_" in self.trainer.default_root_dir:
                os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.mark.slow
def test_a_job_that_fails_or_is_killed_costs_no_other(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    arguments = together(*tiny, "model._target_=faulty.Faulty", "trainer.max_epochs=3", "seed=0,1,2,3")
    monkeypatch.setenv("FAULTS", "on")
    process = python_m(*arguments)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 1, output
    assert "4 jobs: 2 finished, 2 failed." in output
    assert "Failed: seed=1: ValueError: the loss is not what it was" in output
    assert "Failed: seed=2: It was killed by SIGKILL" in output
    runs = jobs(tmp_path / "sweep")
    assert [run.status for run in runs.values()] == ["finished", "failed", "failed", "finished"]
    monkeypatch.delenv("FAULTS")
    process = python_m(*arguments)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    assert output.count("finished and left as it is") == 2
    assert output.count("continues in") == 2
    assert all(len(run.read_history()) == 3 for run in runs.values())


RECORDED = '''
import torch

from genreclf.models import CRNN
from genreclf.training.recorder import RECORDERS

class Same:
    """Records on a CPU, by doing the same again."""

    def __init__(self, device):
        pass

    def seed(self, seed):
        pass

    def run(self, work):
        work()

    def record(self, work):
        print("A step is recorded." if torch.is_grad_enabled() else "A validation is recorded.", flush=True)
        return work

RECORDERS["cpu"] = Same

class Recorded(CRNN):
    """A network without a random draw in its steps."""
'''


@pytest.mark.slow
def test_jobs_that_train_at_once_equal_runs_alone(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "recorded.py").write_text(RECORDED)
    words = [*tiny, "model._target_=recorded.Recorded", "model.dropout=0", "trainer.max_epochs=3", "trainer.step=graph"]
    process = python_m(*together(*words, "seed=0,1", "hydra.launcher.at_once=2"))
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    assert output.count("A step is recorded.") == output.count("A validation is recorded.") == 2
    assert "take turns" not in output
    for varied, run in jobs(tmp_path / "sweep").items():
        assert cli(*words, varied, f"run_dir=alone-{varied[-1]}").code == 0
        assert_equal(run, RunDirectory(tmp_path / f"alone-{varied[-1]}"))
