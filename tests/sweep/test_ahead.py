"""Values with which a job will fail are named before the first job starts, and the others are computed."""

import pytest
from helpers import Cli


def test_a_wrong_value_is_named_before_the_first_job(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "optimizer.lr=0.01,fast", "seed=1,2,-3", "-m")
    assert outcome.err.splitlines()[:2] == [
        "Note: The job with optimizer.lr=fast will fail: optimizer.lr=fast must be a number.",
        "Note: The job with seed=-3 will fail: seed=-3 must lie between 0 and 4294967295.",
    ]
    assert outcome.err.count("Note: ") == 2
    assert "6 jobs: 2 finished, 4 failed." in outcome.out


@pytest.fixture
def _untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the jobs of sweeps end at once."""
    monkeypatch.setattr("genreclf.cli.train.train", lambda config: 0.0)


@pytest.mark.usefixtures("_untrained")
def test_a_wrong_value_that_comes_first_is_blamed_alone(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "model.dropout=0.1,0.3", "optimizer.lr=fast,0.01", "seed=1,-3", "-m")
    assert [line for line in outcome.err.splitlines() if line.startswith("Note: ")] == [
        "Note: The job with optimizer.lr=fast will fail: optimizer.lr=fast must be a number.",
        "Note: The job with seed=-3 will fail: seed=-3 must lie between 0 and 4294967295.",
    ]


def test_a_mistake_of_all_jobs_is_named_once(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "trainer.max_epochs=0", "seed=1,2", "-m")
    assert outcome.err.count("Note: Every job will fail: trainer.max_epochs=0 must be at least 1.") == 1
    assert outcome.err.count("Note: ") == 1


@pytest.mark.usefixtures("_untrained")
def test_a_value_taken_from_another_key_is_that_of_the_job(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "trainer.max_epochs=${seed}", "seed=1,0", "-m")
    assert [line for line in outcome.err.splitlines() if line.startswith("Note: ")] == [
        "Note: The job with seed=0 will fail: trainer.max_epochs=0 must be at least 1."
    ]


@pytest.mark.usefixtures("_untrained")
def test_values_of_a_file_of_a_sweep_are_looked_at_too(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "sweep=seeds", "data.batch_size=20,0", "-m")
    assert outcome.err.startswith("Note: The job with data.batch_size=0 will fail: data.batch_size=0 must be at least")


def test_a_search_names_what_all_its_jobs_fail_with(cli: Cli) -> None:
    outcome = cli("-m", "sweep=wandb", "data=synthetic", "optimizer.lr=fast", "split.train_fraction=interval(2,4)")
    assert outcome.err.splitlines() == [
        "Note: Every job will fail: split.train_fraction=3.0 must lie above 0 and at most at 1.",
        "Note: Every job will fail: optimizer.lr=fast must be a number.",
    ]


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["hydra.sweeper.n_jobs=2"], "n_jobs=2, but without a hydra/launcher trials run one after another."),
        (["hydra/launcher=together"], "n_jobs=1 starts one trial at a time, whatever hydra/launcher could run."),
        (["hydra/launcher=together", "hydra.sweeper.n_jobs=2"], None),
        ([], None),
    ],
)
def test_a_search_says_where_its_launcher_has_nothing_to_do_at_once(
    words: list[str], note: str | None, cli: Cli
) -> None:
    pytest.importorskip("optuna")
    outcome = cli("-m", "sweep=optuna", "data=synthetic", "optimizer.lr=fast", "hydra.sweeper.n_trials=1", *words)
    said = [line for line in outcome.err.splitlines() if line.startswith("Note: hydra.sweeper.")]
    assert said == ([f"Note: hydra.sweeper.{note}"] if note else [])


@pytest.mark.usefixtures("_untrained")
@pytest.mark.filterwarnings("error:Callback SweepStart")
@pytest.mark.parametrize("setting", ["optimizer=glob(s*)", "optimizer.lr=range(1,2,0)", "optimizer.lr=interval(0,1)"])
def test_values_that_hydra_works_out_do_no_harm(setting: str, cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, setting, "-m")
    assert "Note: " not in outcome.err
    assert outcome.code == 2  # The jobs that end at once leave nothing behind, and the others have no values.


@pytest.mark.usefixtures("_untrained")
@pytest.mark.parametrize(
    "varied",
    [
        ["regularization=none,dropout", "model=ffnn,cnn"],
        ["+optimizer.betas=[0.9,0.99],[0.8,0.9]"],
        ["experiment=null,quickstart"],
        ["callbacks=[default],[default,ema]"],
        ["split.fold=0,1", "data.crops_per_track=1,2"],
        ["seed=0,1", "data.store_dir=stores/${hydra:job.num}"],
        ["sweep=folds", "split.folds=3"],
        ["sweep=artist_cv", "split.inner_folds=3"],
    ],
    ids=str,
)
def test_right_values_are_not_blamed(varied: list[str], cli: Cli) -> None:
    outcome = cli("data=synthetic", "logger=none", *varied, "-m")
    assert "Note: " not in outcome.err
