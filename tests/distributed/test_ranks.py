"""Ranks that one process starts: the reason of the one that fails, and Ctrl-C."""

import os
import signal
from pathlib import Path

import pytest
from helpers import python_m, wait_until
from ranked_sweeps import ONE_WRONG

from genreclf.run_directory import RunDirectory

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            "ValueError('the loss is not what it was')",
            1,
            "Rank 1 of run died (ValueError: the loss is not what it was)",
        ),
        ("UserError('mend this')", 2, "mend this"),
    ],
)
def test_a_single_rank_s_reason_is_told_once(error: str, code: int, said: str, tiny: list[str], tmp_path: Path) -> None:
    """The first rank fails as well, since it has lost the second; that is not the reason."""
    (tmp_path / "wrong.py").write_text(ONE_WRONG.format(error=error))
    process = python_m(*tiny, "model._target_=wrong.OneWrong", "trainer.devices=2", "run_dir=run")
    output, _ = process.communicate(timeout=600)
    run = RunDirectory(tmp_path / "run")
    assert process.returncode == code, output
    assert run.status == "failed"
    assert run.reason is not None
    assert run.reason.startswith(said)
    assert output.count(run.reason) == 1


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_two_ranks_are_interrupted(sent: signal.Signals, code: int, tiny: list[str], tmp_path: Path) -> None:
    process = python_m(*tiny, "trainer.devices=2", "run_dir=run", "trainer.max_epochs=400", start_new_session=True)
    run = RunDirectory(tmp_path / "run")
    wait_until(run.read_history, process)
    os.killpg(process.pid, sent)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == code, output
    assert "Run the same command with run_dir=" in output
    assert "Traceback" not in output
    assert run.status == "interrupted"


def test_a_rank_that_is_told_to_end_ends_the_run(tiny: list[str], tmp_path: Path) -> None:
    process = python_m(*tiny, "trainer.devices=2", "run_dir=run", "trainer.max_epochs=400")
    run = RunDirectory(tmp_path / "run")
    wait_until(run.read_history, process)
    ranks = [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    (second,) = (pid for pid in ranks if b"RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    os.kill(second, signal.SIGTERM)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1, output
    assert "Rank 1 of run died (SIGTERM); run the same command with run_dir=run to continue" in output
    assert "Traceback" not in output


def test_a_diverged_training_of_two_ranks_is_told_once(tiny: list[str], tmp_path: Path) -> None:
    process = python_m(*tiny, "trainer.devices=2", "run_dir=run", "optimizer=sgd", "optimizer.lr=1e30")
    output, _ = process.communicate(timeout=600)
    run = RunDirectory(tmp_path / "run")
    assert process.returncode == 1, output
    assert run.status == "failed"
    assert run.reason is not None
    assert run.reason.startswith("The training diverged")
    assert output.count(run.reason) == 1
    assert "Traceback" not in output
