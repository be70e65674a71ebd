"""Studies of Optuna: they continue, they are seeded, and they tell what they cannot do."""

import os
import signal
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from filelock import FileLock
from helpers import Cli, python_m
from omegaconf import OmegaConf
from optuna.samplers import TPESampler

from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory
from hydra_plugins.genreclf_optuna._study import Study


class Return(NamedTuple):
    return_value: float | None


class Jobs:
    """A launcher whose jobs answer at once, but for those that fail or are interrupted."""

    def __init__(self, *, killed: Sequence[int] = (), failing: Sequence[int] = ()) -> None:
        self.killed, self.failing = killed, failing
        self.started: list[dict[str, str]] = []

    def launch(self, overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Return]:
        (words,) = overrides
        values = dict(word.split("=", 1) for word in words)
        self.started.append(values)
        if len(self.started) in self.killed:
            raise KeyboardInterrupt
        return [Return(None if len(self.started) in self.failing else float(values["lr"]))]


def study_in(folder: Path, jobs: Jobs, *, n_trials: int) -> Study:
    params: dict[str, str] = {"lr": "tag(log, interval(1e-4, 1e-2))", "mixup": "null,0.2"}
    study = Study(
        seed=3,
        sampler=TPESampler,
        direction="maximize",
        storage=f"sqlite:///{folder}/study.db",
        study_name="test",
        n_trials=n_trials,
        n_jobs=1,
        max_failure_rate=1.0,
        params=OmegaConf.create(params),
        search_space=None,
        custom_search_space=None,
    )
    study.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    study.sweep_dir, study.launcher, study.hydra_context = str(folder), jobs, object()
    return study


def test_an_interrupted_study_goes_on_as_if_it_had_not_been(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unbroken = Jobs()
    study_in(tmp_path / "unbroken", unbroken, n_trials=5).sweep(["model=cnn"])
    assert len({tuple(values.items()) for values in unbroken.started}) == 5
    killed, after, more = Jobs(killed=[3]), Jobs(), Jobs()
    with pytest.raises(KeyboardInterrupt):
        study_in(tmp_path / "killed", killed, n_trials=5).sweep(["model=cnn"])
    study_in(tmp_path / "killed", after, n_trials=5).sweep(["model=cnn"])
    assert killed.started[:2] + after.started == unbroken.started
    assert killed.started[2] == after.started[0]
    best = max(unbroken.started, key=lambda values: float(values["lr"]))
    assert f"lr={best['lr']}" in capsys.readouterr().out.splitlines()[-1]
    study_in(tmp_path / "killed", more, n_trials=6).sweep(["model=cnn"])
    assert len(more.started) == 1


def test_a_failed_trial_is_named_and_tried_again(tmp_path: Path) -> None:
    first, second = Jobs(failing=[2]), Jobs()
    with pytest.raises(UserError, match="1 of 3 trials"):
        study_in(tmp_path, first, n_trials=3).sweep([])
    study_in(tmp_path, second, n_trials=3).sweep([])
    assert second.started == [first.started[1]]


def test_a_study_of_other_settings_or_in_use_is_refused(tmp_path: Path) -> None:
    study_in(tmp_path, Jobs(), n_trials=1).sweep(["model=cnn"])
    with pytest.raises(UserError, match="begun with model=cnn, not crnn"):
        study_in(tmp_path, Jobs(), n_trials=2).sweep(["model=crnn"])
    with FileLock(tmp_path / "study.lock"), pytest.raises(UserError, match="Another process"):
        study_in(tmp_path, Jobs(), n_trials=2).sweep(["model=cnn"])


@pytest.mark.parametrize("damage", [b"no database" * 99, None])
def test_a_damaged_study_is_named(damage: bytes | None, tmp_path: Path) -> None:
    study_in(tmp_path, Jobs(), n_trials=1).sweep(["model=cnn"])
    place = tmp_path / "study.db"
    place.write_bytes(damage or place.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"study\.db cannot be used \(.*\); if it is damaged, delete it"):
        study_in(tmp_path, Jobs(), n_trials=2).sweep(["model=cnn"])


def test_the_sweeper_maximizes_and_is_seeded(cli: Cli) -> None:
    for choice in ("sweep=optuna", "hydra/sweeper=optuna"):
        outcome = cli(choice, "seed=7", "--cfg", "hydra")
        assert outcome.code == 0, outcome.err
        sweeper = yaml.safe_load(outcome.out)["hydra"]["sweeper"]
        assert sweeper["direction"] == "maximize"
        assert sweeper["_target_"].endswith("StudySweeper")
        assert sweeper["seed"] == "${seed}"
        assert ("optimizer.lr" in sweeper["params"]) is (choice == "sweep=optuna")
    assert "must be a whole number" in cli("-m", "sweep=optuna", "hydra.sweeper.n_trials=0").err


def sweep_of(tiny: list[str], trials: int, *more: str) -> list[str]:
    return ["-m", "sweep=optuna", *tiny, "hydra.sweep.dir=sweep", f"hydra.sweeper.n_trials={trials}", *more]


def states(study: Path) -> list[str]:
    with closing(sqlite3.connect(study)) as base:
        return [str(state) for (state,) in base.execute("select state from trials order by number")]


def metrics_of(sweep: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: RunDirectory(path.parent).read_metrics() for path in sweep.glob("*/metrics.json")}


@pytest.mark.slow
def test_a_killed_study_continues(tiny: list[str], tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    process = python_m(*sweep_of(tiny, 3, "trainer.max_epochs=6"), start_new_session=True)
    deadline = time.monotonic() + 500
    while not (len(metrics_of(sweep)) == 2 and list(sweep.glob("*/checkpoints/last.ckpt"))[1:]):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = metrics_of(sweep)
    (interrupted,) = (name for name, metrics in before.items() if metrics["status"] == "running")
    assert states(sweep / "study.db") == ["COMPLETE", "RUNNING"]
    process = python_m(*sweep_of(tiny, 3, "trainer.max_epochs=6"))
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    after = metrics_of(sweep)
    assert len(after) == 3
    assert after[interrupted]["status"] == "finished"
    assert {name: after[name] for name in before if name != interrupted} == {
        name: before[name] for name in before if name != interrupted
    }
    assert states(sweep / "study.db") == ["COMPLETE"] * 3
    best = yaml.safe_load((sweep / "optimization_results.yaml").read_text())["best_value"]
    assert best == max(metrics["objective"] for metrics in after.values())


@pytest.mark.slow
def test_both_ranks_of_each_job_train_the_same(tiny: list[str], tmp_path: Path) -> None:
    process = python_m(*sweep_of(tiny, 2, "trainer.devices=2", "trainer.accelerator=cpu", "logger=wandb"))
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    jobs = [path.parent for path in (tmp_path / "sweep").glob("*/environment.json")]
    assert len(jobs) == 2
    hashes = []
    for job in jobs:
        ranks = RunDirectory(job).read_json(job / "environment.json")["ranks"]
        assert [rank["rank"] for rank in ranks] == [0, 1]
        assert len({rank["config_hash"] for rank in ranks}) == 1
        hashes.append(ranks[0]["config_hash"])
        assert len(list((job / "wandb").glob("offline-run-*/*.wandb"))) == 1
    assert len(set(hashes)) == 2
    here = {path.name for path in tmp_path.iterdir()}
    assert here == {"sweep", "cache"} or here == {"sweep"}
