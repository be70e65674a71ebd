"""Interpolations in overrides: Hydra resolves each where its value is used, and nothing resolves it elsewhere."""

from pathlib import Path

import pytest
from helpers import Cli
from omegaconf import OmegaConf

from genreclf.cli import train  # noqa: F401, for its resolvers.
from genreclf.cli.compose import composed

REFUSED = ["data=synthetic", "model=ffnn", "logger=none", "trainer=cpu", "+model.zzz=1"]
"""A run that is composed, and then refused."""

REASON = "model.zzz is not a key of FFNN; its keys are dropout, hidden."


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_FOLDER", "music (1), x")
    monkeypatch.setenv("A_LIST", "[8]")


@pytest.mark.parametrize("word", ["data.store_dir=${oc.env:A_FOLDER}", "optimizer.lr=${.weight_decay}"])
def test_a_run_takes_an_interpolation(word: str, cli: Cli) -> None:
    outcome = cli(*REFUSED, word)
    assert (outcome.code, outcome.err) == (2, f"{REASON}\n")


def test_a_list_can_be_read_from_an_environment_variable(cli: Cli) -> None:
    outcome = cli(*REFUSED, 'model.hidden="${oc.decode:${oc.env:A_LIST}}"')
    assert (outcome.code, outcome.err) == (2, f"{REASON}\n")


def test_an_interpolation_without_a_value_is_named_by_its_key(cli: Cli) -> None:
    outcome = cli(*REFUSED, "optimizer.lr=${nowhere}")
    assert (outcome.code, outcome.err) == (2, "optimizer.lr: Interpolation key 'nowhere' not found\n")


def test_a_key_that_must_be_set_is_named_rather_than_one_that_refers_to_it(cli: Cli) -> None:
    outcome = cli(*REFUSED, "split=list", "split.val=a", "split.test=b", "data.store_dir=${split.train}")
    assert outcome.code == 2
    assert outcome.err == "split.train must be set: split.train=VALUE (file that lists the training tracks).\n"


@pytest.mark.parametrize(
    ("word", "folders"),
    [
        ("data.store_dir=x-${hydra:job.num}", ["seed-1_*", "seed-2_*"]),
        ("data.store_dir=${hydra:sweep.dir}", ["seed-1_*", "seed-2_*"]),
        ("hydra.sweep.subdir=${hydra.job.override_dirname}", ["*,seed=1,*", "*,seed=2,*"]),
    ],
)
def test_a_sweep_takes_an_interpolation(word: str, folders: list[str], cli: Cli, tmp_path: Path) -> None:
    outcome = cli("-m", *REFUSED, word, "seed=1,2")
    assert outcome.err.count(f"Failed: seed=1: {REASON}") == 1
    assert [len(list(tmp_path.glob(f"outputs/sweeps/seed_*/{folder}/job.json"))) for folder in folders] == [1, 1]


def test_a_sweep_of_other_values_has_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def place() -> str:
        config = composed(["data=folder", "data.root=${oc.env:A_FOLDER}"], None, with_hydra=True)
        return str(OmegaConf.select(config, "hydra.sweep.dir"))

    first = place()
    assert place() == first
    monkeypatch.setenv("A_FOLDER", "elsewhere")
    assert place() != first
