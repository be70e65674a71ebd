"""Sweeps through the real command: every job a process, whatever becomes of it."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT, python_m, wait_until
from wandb_records import record_of

from genreclf.run_directory import RunDirectory

pytestmark = pytest.mark.slow

FAULTY = '''
import os, signal, subprocess
from pathlib import Path
from genreclf.models import CRNN

class Faulty(CRNN):
    """A network whose training goes wrong in its second epoch, while FAULTS is set."""

    def __init__(self, *, fault="nothing", **training):
        super().__init__(**training)
        self.fault = fault

    def on_train_epoch_start(self):
        if self.current_epoch == 1 and "FAULTS" in os.environ and self.fault == "diverged":
            self.network.classifier.weight.data.fill_(float("nan"))

    def on_train_epoch_end(self):
        super().on_train_epoch_end()
        if self.current_epoch == 1 and "FAULTS" in os.environ:
            getattr(self, self.fault)()

    def nothing(self):
        pass

    def wrong(self):
        raise ValueError("the loss is not what it was")

    def killed(self):
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)

    def full(self):
        folder = Path(self.trainer.default_root_dir, "checkpoints")
        small = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(folder)]
        if subprocess.run(small, capture_output=True).returncode:
            with open("/dev/full", "w") as file:
                file.write("x")
'''
FAULTS = {
    "fine": "nothing",
    "good": "nothing",
    "well": "nothing",
    "wrong": "wrong",
    "diverged": "diverged",
    "killed": "killed",
    "full": "full",
}


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[list[str]]:
    """A sweep of seven jobs, four of which fail while FAULTS is set."""
    (tmp_path / "faulty.py").write_text(FAULTY)
    folder = tmp_path / "conf/experiment"
    folder.mkdir(parents=True)
    for name, fault in FAULTS.items():
        devices = 2 if name == "killed" else 1
        model = f"model: {{_target_: faulty.Faulty, fault: '{fault}'}}"
        (folder / f"{name}.yaml").write_text(f"# @package _global_\n{model}\ntrainer: {{devices: {devices}}}\n")
    yield ["--config-dir", "conf", "-m", f"experiment={','.join(FAULTS)}"]
    for path in tmp_path.glob("outputs/sweeps/*/*/checkpoints"):
        subprocess.run(["umount", str(path)], capture_output=True, check=False)


def sweep(*arguments: str) -> tuple[int, str]:
    process = python_m(*arguments)
    output, _ = process.communicate(timeout=900)
    return process.returncode, output


def rows_of(tmp_path: Path) -> dict[str, dict[str, str]]:
    (path,) = tmp_path.glob("outputs/sweeps/*/sweep.csv")
    with path.open(newline="") as lines:
        return {row["experiment"]: row for row in csv.DictReader(lines)}


def test_failed_jobs_cost_no_other_and_are_done_again(
    faulty: list[str], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*faulty, *tiny, "trainer.max_epochs=4"]
    monkeypatch.setenv("FAULTS", "on")
    code, output = sweep(*arguments)
    assert code == 1, output
    rows = rows_of(tmp_path)
    assert {name for name, row in rows.items() if row["status"] == "finished"} == {"fine", "good", "well"}, output
    assert rows["wrong"]["reason"] == "ValueError: the loss is not what it was"
    assert "Rank 1" in rows["killed"]["reason"]
    assert "SIGKILL" in rows["killed"]["reason"]
    assert "No space is left" in rows["full"]["reason"]
    assert rows["diverged"]["reason"].startswith("The training diverged: train/loss is nan in epoch 1")
    for name in ("wrong", "diverged", "killed", "full"):
        assert f"Failed: experiment={name}: {rows[name]['reason']}" in output
        (run,) = tmp_path.glob(f"outputs/sweeps/*/experiment-{name}_*")
        assert RunDirectory(run).status == "failed"
        assert RunDirectory(run).reason == rows[name]["reason"]
    assert "7 jobs: 3 finished, 4 failed." in output
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/sweeps/*/*/metrics.json")}
    done = {path: time_ns for path, time_ns in done.items() if RunDirectory(path.parent).status == "finished"}
    assert len(done) == 3

    for path in tmp_path.glob("outputs/sweeps/*/*/checkpoints"):
        subprocess.run(["umount", str(path)], capture_output=True, check=False)
    monkeypatch.delenv("FAULTS")
    code, output = sweep(*arguments)
    assert code == 0, output
    assert output.count("finished and left as it is") == 3
    assert output.count("continues in") == 4
    assert {row["status"] for row in rows_of(tmp_path).values()} == {"finished"}
    assert done == {path: path.stat().st_mtime_ns for path in done}
    assert "reason" not in RunDirectory(run).read_metrics()
    assert len(RunDirectory(run).read_history()) == 4


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_every_job_has_its_ranks_directory_and_record(launcher: str, tiny: list[str], tmp_path: Path) -> None:
    arguments = ["-m", *tiny, "trainer.devices=2", "logger=wandb", "optimizer.lr=0.01,0.001"]
    ours = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    code, output = sweep(*arguments, *ours)
    assert code == 0, output
    (folder,) = tmp_path.glob("outputs/sweeps/*")
    assert [path.name for path in tmp_path.glob("outputs/*")] == ["sweeps"]
    runs = [RunDirectory(path.parent) for path in sorted(folder.glob("*/config.yaml"))]
    assert [path.name for path in sorted(folder.iterdir()) if path.is_dir()] == sorted(
        ["comparison", "figures", *(run.path.name for run in runs)]
    )
    hashes = []
    for run, lr in zip(runs, ("0.001", "0.01"), strict=True):
        ranks = run.read_json(run.environment)["ranks"]
        assert [rank["rank"] for rank in ranks] == [0, 1]
        hashes.append({rank["config_hash"] for rank in ranks})
        assert str(run.read_config()["optimizer"]["lr"]) == lr
        assert run.path.name.startswith(f"lr-{lr}_")
        record = record_of(run.path)
        assert (record.run_group, record.job_type, record.display_name) == (folder.name, "train", run.path.name)
        assert list(record.tags) == ["CRNN", "artist_folds"]
        assert (run.path / "job.log").exists() is (launcher == "joblib")
    assert [len(each) for each in hashes] == [1, 1]
    assert hashes[0] != hashes[1]
    assert "2 jobs: 2 finished." in output
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/sweeps/*/*/metrics.json")}
    other = [] if ours else ["hydra/launcher=joblib"]
    code, output = sweep(*arguments, *other)
    assert (code, "2 jobs: 2 finished." in output) == (0, True), output
    assert done == {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/sweeps/*/*/metrics.json")}


@pytest.mark.parametrize(
    ("launcher", "sent"),
    [
        ("basic", signal.SIGKILL),
        ("basic", signal.SIGINT),
        ("basic", signal.SIGTERM),
        ("joblib", signal.SIGKILL),
        ("joblib", signal.SIGTERM),
        ("together", signal.SIGKILL),
        ("together", signal.SIGINT),
    ],
)
def test_jobs_end_with_their_sweep_and_go_on_with_the_next(
    launcher: str, sent: signal.Signals, tiny: list[str], tmp_path: Path
) -> None:
    arguments = ["-m", *tiny, "trainer.max_epochs=300", "seed=0"]
    if launcher == "joblib":
        arguments += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    if launcher == "together":
        arguments += ["hydra/launcher=together", "optimizer.lr=0.01,0.02"]
    process = python_m(*arguments, start_new_session=True)
    begun = wait_until(lambda: list(tmp_path.glob("outputs/sweeps/*/*/history.csv")), process)
    wait_until((begun[0].parent / "checkpoints/last.ckpt").exists, process)
    os.kill(process.pid, sent)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[sent]
    if sent == signal.SIGTERM:
        assert output.endswith("Terminated. Jobs finished so far: 0. Run the same command again to continue.\n")
        assert "resource_tracker" not in output
    wait_until(lambda: not any(works_in(pid, tmp_path) for pid in Path("/proc").glob("[0-9]*")))
    epochs = len(RunDirectory(begun[0].parent).read_history())
    assert 0 < epochs < 300
    code, output = sweep(*arguments)
    assert code == 0, output
    assert "continues in" in output
    assert json.loads((begun[0].parent / "job.json").read_text())["exit_code"] == 0


def test_jobs_end_with_the_process_they_are_forked_from(tiny: list[str], tmp_path: Path) -> None:
    """The sweep takes a job for dead then, and goes on with the next."""
    process = python_m("-m", *tiny, "trainer.max_epochs=60,30")
    begun = wait_until(lambda: list(tmp_path.glob("outputs/sweeps/*/*/history.csv")), process)
    (server,) = (pid for pid in children_of(process.pid) if b"forkserver" in words_of(pid))
    (job,) = children_of(server)
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not words_of(job))
    assert process.poll() is None
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 1, output
    assert "2 jobs: 1 finished, 1 failed." in output
    assert "The process that starts the jobs died" in output
    run = RunDirectory(begun[0].parent)
    assert run.status == "failed"
    assert 0 < len(run.read_history()) < 60


def test_the_process_that_jobs_are_forked_from_has_only_imported() -> None:
    code = """
import threading, torch
asked = []
for name in ("_cuda_getDeviceCount", "_cuda_init"):
    setattr(torch._C, name, lambda *_: asked.append(name))
before = torch.get_rng_state()
import genreclf.experiment.run
assert not asked and not torch.cuda.is_initialized(), asked
assert threading.active_count() == 1
assert torch.equal(before, torch.get_rng_state())
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def words_of(pid: int) -> bytes:
    """Return the command line of a process, nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def works_in(process: Path, folder: Path) -> bool:
    """Whether a process other than this one has its working directory there."""
    try:
        return process.name != str(os.getpid()) and (process / "cwd").readlink() == folder
    except OSError:
        return False


def test_without_validation_tracks_a_grid_has_results_and_a_search_none(
    tiny: list[str], no_val: list[str], tmp_path: Path
) -> None:
    code, output = sweep("-m", *tiny, *no_val, "seed=0,1", "hydra.sweep.dir=grid")
    assert code == 0, output
    with (tmp_path / "grid/sweep.csv").open(newline="") as lines:
        assert [(row["status"], row["objective"]) for row in csv.DictReader(lines)] == [("finished", "")] * 2
    code, output = sweep("-m", *tiny, *no_val, "sweep=optuna", "hydra.sweeper.n_trials=1", "hydra.sweep.dir=search")
    assert code == 2, output
    assert "a search needs validation tracks to choose by, and this split has none." in output
