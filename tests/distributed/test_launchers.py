"""Sweeps whose jobs have two ranks, under every launcher; launchers that are not installed."""

import importlib.util
import json
from pathlib import Path

import pytest
from helpers import Cli, python_m
from ranked_sweeps import hashes_of, jobs_of

from genreclf.distributed.launchers import PACKAGES

PLUGINS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "ray": "hydra_plugins.hydra_ray_launcher",
}


def installed(plugin: str) -> bool:
    try:
        return importlib.util.find_spec(plugin) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", *PLUGINS])
def test_two_jobs_of_two_ranks(launcher: str, tiny: list[str], tmp_path: Path) -> None:
    if launcher in PLUGINS and not installed(PLUGINS[launcher]):
        pytest.skip(f"{PLUGINS[launcher]} is not installed")
    arguments = ["-m", f"hydra/launcher={launcher}", *tiny, "logger=wandb", "trainer.devices=2"]
    if launcher == "ray":
        arguments += ["hydra.launcher.ray.init.address=local", "+hydra.launcher.ray.init.num_cpus=2"]
    process = python_m(*arguments, "optimizer.lr=0.01,0.02")
    output, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, output
    jobs = jobs_of(tmp_path)
    assert len(jobs) == 2
    for job in jobs:
        assert json.loads((job / "metrics.json").read_text())["status"] == "finished"
        assert len(list((job / "wandb").glob("offline-run-*"))) == 1
        assert len(hashes_of(job)) == 2
        assert len(set(hashes_of(job))) == 1
    assert hashes_of(jobs[0]) != hashes_of(jobs[1])


@pytest.mark.parametrize("launcher", ["ray", "slurm"])
def test_a_launcher_that_is_not_installed(launcher: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, launcher, ("not-there", launcher))
    outcome = cli("-m", f"hydra/launcher={launcher}", "seed=0,1")
    assert outcome.code == 2
    assert outcome.err.strip() == f'hydra/launcher={launcher} needs not-there: python -m pip install -e ".[{launcher}]"'


def test_slurm_is_not_there(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = cli("-m", "hydra/launcher=slurm", "seed=0,1")
    assert outcome.code == 2
    assert outcome.err.strip() == "hydra/launcher=slurm needs Slurm: there is no srun on this machine."


def test_a_launcher_that_loses_a_job(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As submitit does when Slurm cancels one."""

    class Launcher:
        def launch(self, *_: object, **__: object) -> None:
            raise RuntimeError("Job 3_0 (task: 0)\nhas not produced any output (state: CANCELLED)\nSee its log")

    monkeypatch.setattr("hydra.core.plugins.Plugins.instantiate_launcher", lambda *_, **__: Launcher())
    outcome = cli("-m", *tiny, "seed=0,1")
    assert outcome.code == 1
    said = "The launcher stopped (Job 3_0 (task: 0) has not produced any output (state: CANCELLED))"
    assert outcome.err.startswith(said)
    assert len(outcome.err.splitlines()) == 1
