"""A study of Optuna notices that a file of options has changed since it was begun."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Cli, Outcome

from genreclf.errors import UserError
from hydra_plugins.genreclf_optuna import _study

Search = Callable[..., Outcome]
"""Search with an own experiment, which gives the model a number of hidden units; the jobs end at once."""


@pytest.fixture
def search(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    monkeypatch.setattr("genreclf.cli.train.train", lambda config: 0.5)
    monkeypatch.setattr("genreclf.sweep.start.failing_jobs", lambda config, searches: [])

    def call(hidden: int, trials: int, *words: str) -> Outcome:
        file = tmp_path / "own/experiment/mine.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# @package _global_\nmodel: {{hidden: {hidden}}}\n")
        own = ["--config-dir=own", "hydra/sweeper=optuna", f"hydra.sweeper.n_trials={trials}", "data=synthetic"]
        return cli("-m", *own, *(words or ("experiment=mine", "optimizer.lr=0.1,0.2")), "hydra.sweep.dir=sweep")

    return call


def test_a_study_of_a_changed_file_of_options_is_refused(search: Search) -> None:
    words = ("experiment=quickstart,mine",)
    assert search(4, 1, *words).code == 0
    changed = search(8, 2, *words)
    sentence = "The files of options have changed since the study in sweep was begun; set another hydra.sweep.dir.\n"
    assert (changed.code, changed.err) == (2, sentence)
    assert search(4, 2, *words, "debug=true").code == 0


@pytest.mark.slow
def test_a_study_in_a_database_needs_another_name(search: Search) -> None:
    words = ("experiment=mine", "optimizer.lr=0.1,0.2", "hydra.sweeper.storage=sqlite:///study.db")
    assert search(4, 1, *words).code == 0
    assert search(8, 2, *words).err.endswith("was begun; set another hydra.sweeper.study_name.\n")


def test_a_study_without_finished_trials_takes_a_corrected_file(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: object) -> float:
        raise UserError("no")

    with monkeypatch.context() as patch:
        patch.setattr("genreclf.cli.train.train", fail)
        assert search(4, 1).code != 0
    assert search(8, 1).code == 0


def test_a_study_of_an_earlier_version_continues(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_study, "check_files", lambda *_, **__: None)
        assert search(4, 1).code == 0
    assert search(8, 2).code == 0
