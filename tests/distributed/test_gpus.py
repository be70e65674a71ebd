"""Jobs of a sweep divide the GPUs of a machine."""

import contextlib
import json
import os
from pathlib import Path

import pytest
from helpers import Cli

from genreclf.distributed.gpus import VISIBLE, least_used_gpus, visible_gpus


def test_jobs_take_the_gpus_that_the_fewest_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "2,GPU-77, 5,-1,6")
    assert visible_gpus() == ["2", "GPU-77", "5"]
    jobs = []
    for expected in (["2"], ["GPU-77"], ["5"], ["2"], ["GPU-77"]):
        job = contextlib.ExitStack()
        monkeypatch.setenv(VISIBLE, "2,GPU-77,5")  # Each job is a process of its own.
        assert job.enter_context(least_used_gpus(tmp_path, 1)) == expected
        assert os.environ[VISIBLE] == expected[0]
        jobs.append(job)
    jobs[2].close()
    assert os.environ[VISIBLE] == "2,GPU-77,5"
    with least_used_gpus(tmp_path, 1) as gpus:
        assert gpus == ["5"]
    for job in jobs:
        job.close()
    with least_used_gpus(tmp_path, 2) as gpus:
        assert (gpus, os.environ[VISIBLE]) == (["2", "GPU-77"], "2,GPU-77")
    with least_used_gpus(tmp_path, 4) as gpus:
        assert (gpus, os.environ[VISIBLE]) == ((), "2,GPU-77,5")


def test_without_the_variable_all_gpus_of_the_machine_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv(VISIBLE, "")
    assert visible_gpus() == []


@pytest.mark.parametrize(("accelerator", "gpus", "expected"), [("auto", "0,1", 2), ("auto", "", 0), ("cpu", "0,1", 0)])
def test_a_job_of_ray_takes_a_gpu_for_each_device(
    accelerator: str, gpus: str, expected: int, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, gpus)
    settings = [f"trainer.accelerator={accelerator}", "trainer.devices=2"]
    outcome = cli(
        "hydra/launcher=ray", *settings, "--cfg", "all", "--resolve", "--package", "hydra.launcher.ray.remote"
    )
    assert outcome.code == 0, outcome.err
    assert f"num_gpus: {expected}\n" in outcome.out


@pytest.mark.slow
def test_jobs_side_by_side_see_a_gpu_each_and_say_which(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is none here, so that they compute on the CPU."""
    monkeypatch.setenv(VISIBLE, "0,1")
    words = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep", *tiny]
    outcome = cli(*words, "trainer.accelerator=auto", "seed=0,1")
    assert outcome.code == 0, outcome.err
    found = [json.loads(path.read_text()) for path in tmp_path.glob("sweep/*/environment.json")]
    assert {each["cuda_visible_devices"] for each in found} == {"0", "1"}
