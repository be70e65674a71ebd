"""The ready sweeps of conf/sweep, composed; they run elsewhere."""

from pathlib import Path

import hydra
import pytest
import yaml
from helpers import ROOT, Cli
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from genreclf.cli import train  # noqa: F401, for its resolvers.
from genreclf.config.keys import CONFIG_DIR
from genreclf.sweep.start import GRIDS


def jobs(*overrides: str) -> list[list[str]]:
    """Return the overrides of each job, as Hydra's sweeper makes them of the file and the command."""
    with hydra.initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        fixed = [override for override in overrides if "," not in override]
        composed = hydra.compose("train", fixed, return_hydra_config=True)
    params = [f"{key}={value}" for key, value in composed.hydra.sweeper.params.items()]
    parsed = OverridesParser.create().parse_overrides([*params, *overrides])
    (batch,) = BasicSweeper.split_arguments(parsed, None)
    return batch


def test_folds_are_all_folds_of_the_artists() -> None:
    assert jobs("sweep=folds") == [[f"split.fold={fold}", "sweep=folds"] for fold in range(5)]
    assert len(jobs("sweep=folds", "seed=0,1,2")) == 15
    assert len(jobs("sweep=folds", "split.folds=3")) == 3
    assert len(jobs("sweep=folds", "split.folds=0")) == 1
    with hydra.initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        split = hydra.compose("train", ["sweep=folds"]).split
    assert (split._target_, split.folds) == ("genreclf.splits.rules.ArtistFolds", 5)


def test_inner_folds_are_those_of_any_split() -> None:
    inner = jobs("sweep=artist_cv", "split=track", "model.dropout=0.1,0.5")
    assert [job[0] for job in inner[::2]] == [f"split.inner_fold={fold}" for fold in range(5)]
    assert len(jobs("sweep=nested", "model.dropout=0.1,0.5")) == 50
    assert len(jobs("sweep=nested", "split.folds=4", "split.inner_folds=3")) == 12
    assert len(jobs("sweep=artist_cv", "split.inner_folds=3")) == 3
    with hydra.initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        composed = hydra.compose("train", ["sweep=nested"], return_hydra_config=True)
    assert composed.split._target_ == "genreclf.splits.rules.ArtistFolds"
    assert composed.hydra.sweeper._target_ in GRIDS


def test_a_learning_curve_is_of_tracks_or_of_artists() -> None:
    assert len(jobs("sweep=learning_curve")) == 30
    artists = jobs("sweep=learning_curve", "split.train_fraction=1", "split.artists_per_genre=1,2")
    assert len(artists) == 10
    assert {job[0] for job in artists} == {"split.train_fraction=1"}


def test_seeds() -> None:
    assert [job[0] for job in jobs("sweep=seeds")] == [f"seed={seed}" for seed in range(5)]
    assert [job[0] for job in jobs("sweep=seeds", "seed=7,8")] == ["seed=7", "seed=8"]


def test_model_optimizer_regularization_is_a_grid() -> None:
    grid = jobs("sweep=model_optimizer_regularization")
    assert len({tuple(job) for job in grid}) == 12
    assert grid[0][:3] == ["model=ffnn", "optimizer=adam", "regularization=none"]
    assert grid[-1][:3] == ["model=crnn", "optimizer=sgd", "regularization=strong"]


def test_published_are_all_of_them() -> None:
    there = sorted(f"published/{path.stem}" for path in Path(ROOT, "conf/experiment/published").glob("[!_]*.yaml"))
    assert [job[0].removeprefix("experiment=") for job in jobs("sweep=published")] == there


def test_ablation_leaves_out_each_part_once() -> None:
    there = {f"ablation/{path.stem}" for path in Path(ROOT, "conf/experiment/ablation").glob("*.yaml")}
    whole, *parts = [job[0].removeprefix("experiment=") for job in jobs("sweep=ablation")]
    assert whole == "best"
    assert len(parts) == len(there)
    assert set(parts) == there


@pytest.mark.parametrize("name", ["folds", "published"])
def test_a_sweep_file_without_m_is_a_mistake(name: str, cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    outcome = cli(*tiny, f"sweep={name}")
    assert outcome.code == 2
    assert outcome.err == f"sweep={name} is a multirun; start it with python -m genreclf -m sweep={name}.\n"
    assert not list(tmp_path.glob("outputs/*/*"))


def test_the_sweeper_maximizes_and_is_seeded(cli: Cli) -> None:
    for choice in ("sweep=optuna", "hydra/sweeper=optuna"):
        outcome = cli(choice, "seed=7", "--cfg", "hydra")
        assert outcome.code == 0, outcome.err
        sweeper = yaml.safe_load(outcome.out)["hydra"]["sweeper"]
        assert sweeper["direction"] == "maximize"
        assert sweeper["_target_"].endswith("OptunaSweeper")
        assert sweeper["seed"] == "${seed}"
        assert ("optimizer.lr" in sweeper["params"]) is (choice == "sweep=optuna")
    assert "must be a whole number" in cli("-m", "sweep=optuna", "hydra.sweeper.n_trials=0").err
