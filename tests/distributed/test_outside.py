"""Ranks that torchrun starts; ranks whose parent is gone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, Cli, python_m, wait_until
from ranked_sweeps import hashes_of

from genreclf.run_directory import RunDirectory


def torchrun(*arguments: str, ranks: int = 2) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={ranks}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, text=True, capture_output=True, env=environment, timeout=600, check=False)


@pytest.mark.slow
def test_ranks_of_torchrun_share_one_run(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    """Without run_dir each rank would make a directory of its own; they take the first rank's."""
    outcome = torchrun("-m", "genreclf", *tiny, "trainer.devices=auto", "split=track", "data.batch_size=6")
    assert outcome.returncode == 0, outcome.stderr
    (run,) = (tmp_path / "outputs/runs").iterdir()
    assert len(hashes_of(run)) == 2
    assert len(set(hashes_of(run))) == 1
    assert outcome.stdout.count("Report: ") == 1
    settings = ["trainer.devices=auto", "split=track", "data.batch_size=6", f"run_dir={run}"]
    again = torchrun("-m", "genreclf", *tiny, *settings)
    assert again.returncode == 0
    assert again.stdout.count("is finished and left as it is") == 1
    inside = python_m(*tiny, "trainer.devices=2", "split=track", "data.batch_size=6", "run_dir=inside")
    output, _ = inside.communicate(timeout=600)
    assert inside.returncode == 0, output
    assert (run / "predictions.csv").read_text() == (tmp_path / "inside/predictions.csv").read_text()


@pytest.mark.slow
def test_ranks_of_different_experiments_stop(tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "start.py").write_text(
        "import os, sys\n"
        "sys.argv.append('optimizer.lr=0.' + str(5 + int(os.environ['RANK'])))\n"
        "from genreclf.__main__ import main\n"
        "main()\n"
    )
    outcome = torchrun("start.py", *tiny, "trainer.devices=2", "run_dir=run")
    assert outcome.returncode != 0
    sentence = "The ranks were started for different experiments (optimizer.lr=0.5 at rank 0, 0.6 at rank 1)"
    assert outcome.stderr.count(sentence) == 1
    assert not (tmp_path / "run/metrics.json").exists()


@pytest.mark.slow
def test_a_mistake_stops_all_ranks_with_one_sentence(tiny: list[str], tmp_path: Path) -> None:
    """The first rank finds it while the others wait for its word."""
    tiny = [word for word in tiny if not word.startswith("data.batch_size")]
    outcome = torchrun("-m", "genreclf", *tiny, "data.batch_size=500", "trainer.devices=2", "init_from=missing")
    assert outcome.returncode != 0
    assert outcome.stderr.count("missing") - outcome.stderr.count("init_from=missing") == 1, outcome.stderr


def test_devices_are_as_many_as_the_ranks(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (("TORCHELASTIC_RUN_ID", "1"), ("WORLD_SIZE", "3"), ("RANK", "0")):
        monkeypatch.setenv(key, value)
    outcome = cli(*tiny, "trainer.devices=2")
    assert outcome.code == 2
    assert outcome.err.strip() == "3 ranks were started, but trainer.devices=2; set trainer.devices=3."


def test_gpus_are_chosen_for_each_rank(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (("TORCHELASTIC_RUN_ID", "1"), ("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(key, value)
    outcome = cli(*tiny, "trainer.accelerator=auto", "trainer.devices=[0,1]")
    assert outcome.code == 2
    assert "4 ranks were started: set trainer.devices=4, and choose GPUs with CUDA_VISIBLE_DEVICES." in outcome.err


def test_a_rank_that_nobody_started_is_named(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = cli(*tiny)
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert "unset RANK and WORLD_SIZE" in outcome.err


def test_machines_with_different_numbers_of_ranks(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2,1")
    monkeypatch.setenv("SLURM_PROCID", "0")
    outcome = cli(*tiny, "trainer.devices=3", "data.batch_size=3")
    assert outcome.code == 2
    assert "with --ntasks-per-node" in outcome.err


def test_a_sweep_is_not_started_by_torchrun(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = cli("-m", "seed=0,1")
    assert outcome.code == 2
    assert "leave torchrun or srun out" in outcome.err


@pytest.mark.slow
def test_ranks_end_with_their_parent(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    """Only the parent is killed; the ranks end, and run the same command to continue."""
    settings = [*tiny, "trainer.devices=2", "run_dir=run"]
    process = python_m(*settings, "trainer.max_epochs=400")
    run = RunDirectory(tmp_path / "run")
    wait_until(lambda: len(run.read_history()) > 1, process)
    ranks = ranks_of(process.pid)
    assert len(ranks) == 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(alive(rank) for rank in ranks))
    assert 2 <= len(run.read_history()) < 400
    assert run.status == "running"


def ranks_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], text=True, capture_output=True, check=True).stdout
    lines = [line.split(None, 2) for line in listed.splitlines()]
    return [int(child) for child, parent, words in lines if int(parent) == pid and "genreclf.experiment.rank" in words]


def alive(pid: int) -> bool:
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], text=True, capture_output=True, check=False).stdout
    return listed.strip() not in ("", "Z")
