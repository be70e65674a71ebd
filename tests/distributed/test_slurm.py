"""A real Slurm on this machine: jobs that are preempted go on to the same result."""

import csv
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT, python_m, wait_until
from ranked_sweeps import ONE_WRONG, hashes_of, jobs_of
from wandb_records import record_of

from genreclf.run_directory import RunDirectory

MISSING = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING} (Debian's slurm-wlm and munge)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="Slurm is started by root"),
]

EPOCHS = 16


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The slurm.conf of a Slurm of our own."""
    folder = tmp_path_factory.mktemp("slurm")
    script = str(Path(__file__).parent / "one_machine.sh")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    try:
        subprocess.run(
            [script, "start", str(folder)], check=True, timeout=600, env={**os.environ, "SLURM_TEST_PORT": port}
        )
        yield folder / "slurm.conf"
    finally:
        subprocess.run([script, "stop", str(folder)], check=True)


@pytest.fixture(autouse=True)
def _submit_here(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def long(tiny: list[str]) -> list[str]:
    """Overrides of a run that is long enough to be interrupted."""
    return [*tiny, f"trainer.max_epochs={EPOCHS}", "regularization=strong", "data.batch_size=6"]


def output_of(*command: str) -> str:
    return subprocess.run(command, check=True, text=True, capture_output=True, timeout=300).stdout


def requeue_in_the_middle(job: str, run: RunDirectory) -> None:
    """Take the machine from a job after some epochs, and see that it had not finished."""
    wait_until(lambda: len(run.read_history()) >= 3)
    output_of("scontrol", "requeue", job)
    wait_until(lambda: "JobState=RUNNING" not in output_of("scontrol", "show", "job", job))
    assert run.status != "finished"
    assert 3 <= len(run.read_history()) < EPOCHS
    wait_until(lambda: run.status == "finished")
    assert "Restarts=1" in output_of("scontrol", "show", "job", job)


def same(one: Path, two: Path) -> None:
    """See that two runs have the same history, but for times, and the same predictions."""
    histories = []
    for run in (one, two):
        with (run / "history.csv").open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert len(rows) == EPOCHS
        histories.append([{key: row[key] for key in row if not key.endswith("_s")} for row in rows])
    assert histories[0] == histories[1]
    assert (one / "clip_predictions.csv").read_text() == (two / "clip_predictions.csv").read_text()


def seeded(folder: Path, seed: int) -> list[Path]:
    """Return the jobs of the sweep below `folder` that have this seed and have begun."""
    runs = [RunDirectory(path.parent) for path in folder.glob("outputs/sweeps/*/*/config.yaml")]
    return [run.path for run in runs if run.read_config()["seed"] == seed]


def unbroken(*arguments: str) -> None:
    process = python_m(*arguments)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output


def test_a_run_on_two_tasks_goes_on_after_preemption(long: list[str], tmp_path: Path) -> None:
    words = " ".join(f"'{word}'" for word in [*long, "trainer.devices=2"])
    (tmp_path / "job.sh").write_text(
        "#!/bin/bash\n"
        "#SBATCH --ntasks-per-node=2 --requeue --open-mode=append --output=job.log\n"
        f"srun --kill-on-bad-exit=1 {sys.executable} -m genreclf {words} run_dir=preempted\n"
    )
    job = output_of("sbatch", "--parsable", "job.sh").strip()
    requeue_in_the_middle(job, RunDirectory("preempted"))
    unbroken(*long, "trainer.devices=2", "run_dir=unbroken")
    same(tmp_path / "preempted", tmp_path / "unbroken")
    assert len(hashes_of(tmp_path / "preempted")) == 2
    assert hashes_of(tmp_path / "preempted") == hashes_of(tmp_path / "unbroken")


def test_a_sweep_of_three_jobs_one_of_them_preempted(long: list[str], tmp_path: Path) -> None:
    """In its array of jobs, the first one is taken from the machine."""
    sweep = python_m("-m", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", *long, "seed=0,1,2")
    wait_until(lambda: bool(seeded(tmp_path, 0)))
    (first,) = seeded(tmp_path, 0)
    queue = output_of("squeue", "--noheader", "--format=%i").split()
    (job,) = [number for number in queue if number.endswith("_0")]
    requeue_in_the_middle(job, RunDirectory(first))
    output, _ = sweep.communicate(timeout=900)
    assert sweep.returncode == 0, output
    jobs = jobs_of(tmp_path)
    assert len(jobs) == 3
    assert all(RunDirectory(run).status == "finished" for run in jobs)
    assert len({tuple(hashes_of(run)) for run in jobs}) == 3
    unbroken(*long, "seed=0", "run_dir=unbroken")
    same(first, tmp_path / "unbroken")


def test_jobs_of_several_tasks(tiny: list[str], tmp_path: Path) -> None:
    """Slurm starts the ranks of each job; what the second rank of one says is the reason of its failure."""
    (tmp_path / "wrong.py").write_text(ONE_WRONG.format(error="ValueError('the loss is not what it was')"))
    launcher = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.tasks_per_node=2"]
    models = "model._target_=genreclf.models.CRNN,wrong.OneWrong"
    sweep = python_m("-m", *launcher, *tiny, "trainer.devices=2", "logger=wandb", models)
    output, _ = sweep.communicate(timeout=900)
    assert sweep.returncode == 1, output
    assert "2 jobs: 1 finished, 1 failed." in output
    (reason,) = [line for line in output.splitlines() if line.startswith("Failed: model._target_=wrong.OneWrong: ")]
    assert "failed (ValueError: the loss is not what it was)" in reason
    (well,) = [run for run in jobs_of(tmp_path) if RunDirectory(run).status == "finished"]
    assert len(hashes_of(well)) == 2
    assert len(set(hashes_of(well))) == 1
    assert record_of(well).run_group == well.parent.name
