"""Studies of Optuna: they continue, they are seeded, and they tell what they cannot do."""

import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from filelock import FileLock
from helpers import python_m, wait_until
from hydra.core.utils import JobReturn, JobStatus
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory
from hydra_plugins.genreclf_optuna._study import Search


class Jobs:
    """A launcher whose jobs answer at once, but for those that fail or are interrupted."""

    def __init__(self, *, killed: Sequence[int] = (), failing: Sequence[int] = ()) -> None:
        self.killed, self.failing = killed, failing
        self.started: list[dict[str, str]] = []

    def launch(self, overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        assert initial_job_idx == len(self.started)
        results = []
        for words in overrides:
            values = dict(word.split("=", 1) for word in words)
            self.started.append(values)
            failed = len(self.started) in self.failing
            value, status = (ValueError(), JobStatus.FAILED) if failed else (float(values["lr"]), JobStatus.COMPLETED)
            results.append(JobReturn(status=status, _return_value=value))
        if any(number in self.killed for number in range(initial_job_idx + 1, len(self.started) + 1)):
            raise KeyboardInterrupt
        return results


SPACE = {"lr": "tag(log, interval(1e-4, 1e-2))", "mixup": "null,0.2"}


def study_in(folder: Path, jobs: Jobs, **settings: Any) -> Search:
    defaults = {
        "seed": 3,
        "sampler": {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 2},
        "direction": "maximize",
        "storage": f"{folder}/study.log",
        "study_name": "test",
        "n_jobs": 1,
        "max_failure_rate": 1.0,
        "params": SPACE,
    }
    return Search(**{**defaults, **settings}, sweep_dir=str(folder), launcher=jobs)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interrupted_study_goes_on_as_if_it_had_not_been(
    n_jobs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unbroken = Jobs()
    study_in(tmp_path / "unbroken", unbroken, n_trials=6, n_jobs=n_jobs).run(["model=cnn"])
    assert len({tuple(values.items()) for values in unbroken.started}) == 6
    killed, after, more = Jobs(killed=[4]), Jobs(), Jobs()
    with pytest.raises(KeyboardInterrupt):
        study_in(tmp_path / "killed", killed, n_trials=6, n_jobs=n_jobs).run(["model=cnn"])
    study_in(tmp_path / "killed", after, n_trials=6, n_jobs=n_jobs).run(["model=cnn", "debug=true"])
    whole = 4 - n_jobs
    assert [{**values, "debug": "true"} for values in unbroken.started[whole:]] == after.started
    assert killed.started == unbroken.started[:4]
    best = max(unbroken.started, key=lambda values: float(values["lr"]))
    assert f"lr={best['lr']}" in capsys.readouterr().out.splitlines()[-1]
    results = yaml.safe_load((tmp_path / "killed/optimization_results.yaml").read_text())
    assert results["best_value"] == results["best_params"]["lr"] == float(best["lr"])
    study_in(tmp_path / "killed", more, n_trials=7, n_jobs=n_jobs).run(["model=cnn"])
    assert len(more.started) == 1


def test_a_trial_interrupted_while_it_was_drawn_is_drawn_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, after = Jobs(), Jobs()
    study_in(tmp_path / "unbroken", unbroken, n_trials=2).run([])
    suggest = optuna.trial.Trial._suggest

    def interrupted(trial: optuna.trial.Trial, name: str, searched: BaseDistribution) -> Any:
        if (trial.number, name) == (1, "mixup"):
            raise KeyboardInterrupt
        return suggest(trial, name, searched)

    monkeypatch.setattr(optuna.trial.Trial, "_suggest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study_in(tmp_path / "killed", Jobs(), n_trials=2).run([])
    monkeypatch.undo()
    study_in(tmp_path / "killed", after, n_trials=2).run([])
    assert after.started == unbroken.started[1:]


def test_trials_of_equal_values_are_one_run(tmp_path: Path) -> None:
    jobs, more = Jobs(), Jobs()
    study_in(tmp_path, jobs, n_trials=4, n_jobs=4, params={"lr": "0.1,0.2"}).run([])
    assert sorted(values["lr"] for values in jobs.started) == ["0.1", "0.2"]
    study_in(tmp_path, more, n_trials=4, n_jobs=4, params={"lr": "0.1,0.2"}).run([])
    assert not more.started


def test_a_failed_trial_is_named_and_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = Jobs(failing=[2]), Jobs()
    with pytest.raises(UserError, match="1 of 3 trials"):
        study_in(tmp_path, first, n_trials=3).run([])
    assert "Error executing job" not in capsys.readouterr().err
    study_in(tmp_path, second, n_trials=3).run([])
    assert second.started == [first.started[1]]


def test_too_many_failures_end_a_search(tmp_path: Path) -> None:
    jobs = Jobs(failing=[2])
    with pytest.raises(UserError, match=r"1 of 2 trials failed, more than hydra\.sweeper\.max_failure_rate=0\.4"):
        study_in(tmp_path, jobs, n_trials=6, n_jobs=2, max_failure_rate=0.4).run([])
    assert len(jobs.started) == 2


def test_a_study_of_other_settings_or_in_use_is_refused(tmp_path: Path) -> None:
    study_in(tmp_path, Jobs(), n_trials=1).run(["model=cnn"])
    with pytest.raises(UserError, match="begun with model=cnn, not model=crnn; set another"):
        study_in(tmp_path, Jobs(), n_trials=2).run(["model=crnn"])
    with pytest.raises(UserError, match="begun with the default seed, not seed=1"):
        study_in(tmp_path, Jobs(), n_trials=2).run(["model=cnn", "seed=1"])
    with pytest.raises(UserError, match=r"begun with hydra\.sweeper\.direction=maximize"):
        study_in(tmp_path, Jobs(), n_trials=2, direction="minimize").run(["model=cnn"])
    with FileLock(tmp_path / "study.lock"), pytest.raises(UserError, match="Another process"):
        study_in(tmp_path, Jobs(), n_trials=2).run(["model=cnn"])


def test_a_key_of_the_command_line_replaces_what_is_searched(tmp_path: Path) -> None:
    jobs = Jobs()
    study_in(tmp_path, jobs, n_trials=3).run(["lr=0.1,0.2", "+mixup=0.5"])
    assert {values["lr"] for values in jobs.started} <= {"0.1", "0.2"}
    assert {(values["+mixup"], "mixup" in values) for values in jobs.started} == {("0.5", False)}
    study_in(tmp_path / "twice", twice := Jobs(), n_trials=3).run(
        ["lr=0.5", "lr=0.1,0.2", "mixup=0.5,0.6", "mixup=0.7"]
    )
    assert {values["lr"] for values in twice.started} <= {"0.1", "0.2"}
    assert {values["mixup"] for values in twice.started} == {"0.7"}
    with pytest.raises(UserError, match="nothing to search"):
        study_in(tmp_path / "other", jobs, n_trials=3).run(["lr=0.1", "mixup=0.5"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"params": {"lr": "interval(2, 1)"}}, r"lr=interval\(2, 1\) cannot be searched \("),
        ({"params": {"lr": "tag(log, interval(0.0, 1.0))"}}, "cannot be searched"),
        ({"params": {"lr": "range(5, 5)"}}, "cannot be searched"),
        ({"params": {"lr": "tag(log, range(1, 9))"}}, "tag log has no effect; only an interval takes log"),
        ({"params": {"lr": "tag(wide, interval(1, 9))"}}, "tag wide has no effect"),
        ({"n_trials": 0}, r"n_trials=0 must be a whole number of at least 1"),
        ({"n_jobs": "2"}, r"n_jobs=2 must be a whole number"),
        ({"direction": "up"}, "direction=up must be maximize or minimize"),
        ({"max_failure_rate": 2}, "max_failure_rate=2 must be a number from 0 to 1"),
        ({"sampler": {"_target_": "optuna.samplers.TPE"}}, "sampler cannot be made"),
        ({"sampler": {"_target_": "random.Random"}}, "sampler cannot be made"),
        ({"sampler": {"_target_": "optuna.samplers.TPESampler", "startup": 3}}, "sampler cannot be made .*startup"),
        ({"storage": 5}, r"""storage=5 must be text, as in "hydra\.sweeper\.storage='name'"\.$"""),
        ({"study_name": 5}, r"""study_name=5 must be text, as in "hydra\.sweeper\.study_name='name'"\.$"""),
        ({"study_name": ["a"]}, r"study_name=\['a'\] must be text"),
        ({"storage": "oracle://no such place"}, r"The study of hydra\.sweeper\.storage cannot be used"),
    ],
)
def test_a_wrong_setting_of_a_search_is_named_before_any_job(
    settings: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    jobs = Jobs()
    with pytest.raises(UserError, match=sentence):
        study_in(tmp_path, jobs, **{"n_trials": 1, **settings}).run(["model=cnn"])
    assert not jobs.started


@pytest.mark.parametrize("sampler", ["RandomSampler", "QMCSampler", "NSGAIISampler", "BruteForceSampler"])
def test_any_sampler_with_a_seed_searches(sampler: str, tmp_path: Path) -> None:
    jobs = Jobs()
    params = {"lr": "1,2,3", "mixup": "null,0.2"}
    section = {"_target_": f"optuna.samplers.{sampler}"}
    study_in(tmp_path, jobs, n_trials=4, sampler=section, params=params).run([])
    assert len(jobs.started) == 4


@pytest.mark.parametrize("damage", [b"no journal" * 99, b"{}\n", b"\xff\n{}\n"])
def test_a_damaged_study_is_named(damage: bytes, tmp_path: Path) -> None:
    study_in(tmp_path, Jobs(), n_trials=1).run(["model=cnn"])
    (tmp_path / "study.log").write_bytes(damage)
    with pytest.raises(UserError, match=r"study\.log cannot be used \(.*\); if it is damaged, .*delete it"):
        study_in(tmp_path, Jobs(), n_trials=2).run(["model=cnn"])


def test_a_study_cut_short_continues_with_what_is_left(tmp_path: Path) -> None:
    first, second = Jobs(), Jobs()
    study_in(tmp_path, first, n_trials=4).run([])
    place = tmp_path / "study.log"
    content = place.read_bytes()
    place.write_bytes(content[: len(content) * 3 // 4])
    (tmp_path / "study.log.lock").symlink_to(place)
    study_in(tmp_path, second, n_trials=4).run([])
    assert 0 < len(second.started) < 4
    assert second.started == first.started[-len(second.started) :]


def test_without_a_storage_the_study_lies_in_the_folder(tmp_path: Path) -> None:
    for n_trials in (1, 2):
        study_in(tmp_path, jobs := Jobs(), n_trials=n_trials, storage=None).run([])
        assert len(jobs.started) == 1
    assert (tmp_path / "study.log").exists()


def test_a_study_can_lie_in_a_database(tmp_path: Path) -> None:
    first, second = Jobs(), Jobs()
    storage = f"sqlite:///{tmp_path}/study.db"
    study_in(tmp_path, first, n_trials=1, storage=storage).run([])
    study_in(tmp_path, second, n_trials=2, storage=storage).run([])
    assert len(second.started) == 1
    (tmp_path / "study.db").write_bytes((tmp_path / "study.db").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"The study of hydra\.sweeper\.storage cannot be used \(.*malformed\)"):
        study_in(tmp_path, second, n_trials=2, storage=storage).run([])


@pytest.mark.parametrize("storage", ["sqlite:///{}/all.db", "{}/all.log"])
def test_two_searches_in_one_storage_need_two_names(storage: str, tmp_path: Path) -> None:
    storage = storage.format(tmp_path)
    study_in(tmp_path / "first", Jobs(), n_trials=1, storage=storage).run(["model=cnn"])
    sentence = (
        "The study test in hydra.sweeper.storage was begun with model=cnn, not model=crnn; set another "
        "hydra.sweeper.study_name."
    )
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        study_in(tmp_path / "second", Jobs(), n_trials=1, storage=storage).run(["model=crnn"])
    study_in(tmp_path / "second", Jobs(), n_trials=1, storage=storage, study_name="other").run(["model=crnn"])


def sweep_of(tiny: list[str], trials: int, *more: str) -> list[str]:
    return ["-m", "sweep=optuna", *tiny, "hydra.sweep.dir=sweep", f"hydra.sweeper.n_trials={trials}", *more]


def states(sweep: Path) -> list[str]:
    storage = JournalStorage(JournalFileBackend(str(sweep / "study.log")))
    return [trial.state.name for trial in optuna.load_study(study_name="genreclf", storage=storage).trials]


def metrics_of(sweep: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: RunDirectory(path.parent).read_metrics() for path in sweep.glob("*/metrics.json")}


@pytest.mark.slow
def test_a_killed_study_continues(tiny: list[str], tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    process = python_m(*sweep_of(tiny, 3, "trainer.max_epochs=6"), start_new_session=True)
    wait_until(lambda: len(metrics_of(sweep)) == 2 and list(sweep.glob("*/checkpoints/last.ckpt"))[1:], process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = metrics_of(sweep)
    (interrupted,) = (name for name, metrics in before.items() if metrics["status"] == "running")
    assert states(sweep) == ["COMPLETE", "RUNNING"]
    process = python_m(*sweep_of(tiny, 3, "trainer.max_epochs=6"))
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    after = metrics_of(sweep)
    assert len(after) == 3
    assert after[interrupted]["status"] == "finished"
    assert {name: after[name] for name in before if name != interrupted} == {
        name: before[name] for name in before if name != interrupted
    }
    assert states(sweep) == ["COMPLETE"] * 3
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
