"""Sweeps of W&B: what is registered, and the trials that agents start."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import Cli
from hydra.core.override_parser.overrides_parser import OverridesParser

from genreclf.run_directory import RunDirectory
from genreclf.sweep.space import Space
from genreclf.sweep.wandb import WandbSweep

SEARCHED: dict[str, dict[str, Any]] = {
    "interval(0, 1.5)": {"distribution": "uniform", "min": 0.0, "max": 1.5},
    "int(interval(2, 9))": {"distribution": "int_uniform", "min": 2, "max": 9},
    "tag(log, interval(1e-4, 1e-2))": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
    "tag(log, int(interval(1, 64)))": {"distribution": "q_log_uniform_values", "q": 1, "min": 1, "max": 64},
    "range(2, 10, 3)": {"values": [2, 5, 8]},
    "choice(cnn, crnn)": {"values": ["cnn", "crnn"]},
    "null,0.1,true": {"values": ["null", 0.1, True]},
    "[1,2],[3]": {"values": ["[1,2]", "[3]"]},
}


def sweep_of(folder: Path, **settings: Any) -> WandbSweep:
    defaults = {"n_trials": 4, "method": "random", "params": {}, "metric": "objective", "direction": "maximize"}
    place = {"sweep_dir": str(folder), "project": "genreclf", "entity": None, "own": []}
    return WandbSweep(**{**defaults, "early_terminate": None, **place, **settings})


@pytest.mark.parametrize("text", SEARCHED)
def test_a_search_space_is_written_in_the_words_of_w_and_b(text: str, tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path).configuration(Space.of([f"+key={text}", "model=cnn"], {}))
    assert sweep["parameters"] == {"+key": SEARCHED[text]}
    for value in sweep["parameters"]["+key"].get("values", []):  # As the client writes it, and Hydra reads it.
        (again,) = OverridesParser.create().parse_overrides([f"+key={value}"])
        assert not again.is_sweep_override()
    command = sweep["command"]
    assert command[command.index("trial") + 1 :][:2] == [str(tmp_path), "model=cnn"]


def test_it_is_the_space_of_optuna_and_waits_for_an_account(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("-m", "sweep=wandb", "data=synthetic", "optimizer.lr=0.1", "hydra.sweep.dir=sweep")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "  wandb sweep --project genreclf sweep/wandb_sweep.yaml"
    sweep = yaml.safe_load(Path("sweep/wandb_sweep.yaml").read_text())
    spaces = [
        yaml.safe_load(cli(f"sweep={name}", "--cfg", "hydra").out)["hydra"]["sweeper"]["params"]
        for name in ("wandb", "optuna")
    ]
    assert spaces[0] == spaces[1]
    assert sweep["parameters"].keys() == spaces[0].keys() - {"optimizer.lr"}
    assert "optimizer.lr=0.1" in sweep["command"]
    assert (sweep["metric"], sweep["run_cap"]) == ({"name": "objective", "goal": "maximize"}, 20)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["hydra.sweeper.method=best"], "method=best is not one of bayes, random, grid"),
        (["hydra.sweeper.method=grid"], "optimizer.lr=tag(log, interval(1e-4, 1e-2)) is endless in a grid"),
        (["hydra.sweeper.n_trials=0"], "n_trials=0 must be a whole number of at least 1"),
        (["hydra.sweeper.direction=up"], "direction=up must be maximize or minimize"),
        (["+hydra.sweeper.early_terminate.type=hyperband"], "early_terminate needs a metric of each epoch"),
        (["optimizer.lr=interval(2, 1)"], "cannot be searched (it must start below its end"),
        (["seed=range(5,5)"], "cannot be searched (it has no values)"),
        (["hydra/launcher=together"], "are started by its agents: leave hydra/launcher out"),
        (["logger=csv"], "sweep=wandb needs the record of each trial in W&B: set logger=wandb"),
    ],
)
def test_a_wrong_setting_is_named(words: list[str], sentence: str, cli: Cli) -> None:
    outcome = cli("-m", "sweep=wandb", "data=synthetic", "hydra.sweep.dir=sweep", *words)
    assert (outcome.code, sentence in outcome.err) == (2, True), outcome.err
    assert not Path("sweep/wandb_sweep.yaml").exists()


def test_a_trial_finds_options_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    for name, option in (("own/model", "cnn"), ("sp/loss", "cross_entropy")):
        Path(name).mkdir(parents=True)
        Path(name, "mine.yaml").write_text(f"defaults: [{option}]\n")
    words = ["hydra.searchpath=[sp]", "data=synthetic", "trainer=cpu", "model=mine", "loss=mine"]
    outcome = cli("--config-dir=own", "-m", "sweep=wandb", *words, "hydra.sweep.dir=sweep", "optimizer.lr=-1,-2")
    assert outcome.code == 0, outcome.err
    sweep = yaml.safe_load(Path("sweep/wandb_sweep.yaml").read_text())
    values = [f"{key}={0.1 if key != 'optimizer.lr' else -1}" for key in sweep["parameters"]]
    outcome = cli(*sweep["command"][4:-1], *values)
    assert "AdamW cannot be made of lr=-1" in outcome.err, outcome.err


def test_a_configuration_of_ones_own_is_refused(cli: Cli, tmp_path: Path) -> None:
    Path("conf").mkdir()
    Path("conf/mine.yaml").write_text("defaults: [train, _self_]\nseed: 3\n")
    own = ["--config-dir", "conf", "--config-name", "mine"]
    outcome = cli("-m", "sweep=wandb", "data=synthetic", "hydra.sweep.dir=sweep", *own)
    assert (outcome.code, "leave --config-name and --config-path out" in outcome.err) == (2, True), outcome.err
    assert not Path("sweep/wandb_sweep.yaml").exists()


def test_a_trial_is_trained_once_whatever_else_the_agent_hands_out(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    trial = ["trial", "sweep", "sweep=wandb", *tiny, "--search", "optimizer.lr,model.dropout", "--"]
    outcome = cli(*trial, "optimizer.lr=0.01", "model.dropout=0.1")
    assert outcome.code == 0, outcome.err
    (folder,) = (path.parent for path in Path("sweep").glob("*/job.json"))
    assert folder.name.startswith("lr-0.01_dropout-0.1_")
    assert RunDirectory(folder).read_metrics()["status"] == "finished"
    tested = folder.joinpath("metrics.json").stat().st_mtime_ns
    handed_again = ["_wandb={'cli_version': '0.31.0'}", "model={'_target_': 'CRNN'}", "optimizer.lr=0.01", "seed=0"]
    outcome = cli(*trial, *handed_again, "model.dropout=0.1")
    assert outcome.code == 0, outcome.err
    assert "is finished and left as it is" in outcome.out
    assert folder.joinpath("metrics.json").stat().st_mtime_ns == tested
    assert cli(*trial, "optimizer.lr=0.01").err.startswith("The agent gave no value for model.dropout")
    outcome = cli(*trial, "optimizer.lr=0.01", "model.dropout=2")
    assert outcome.code == 2
    assert "model" in outcome.err
    outcome = cli("-m", "sweep=wandb", *tiny, "logger=wandb", "hydra.sweep.dir=sweep")
    assert "2 jobs: 1 finished, 1 failed." in outcome.out
    assert json.loads(folder.joinpath("job.json").read_text())["varies"] == {
        "optimizer.lr": "0.01",
        "model.dropout": "0.1",
    }
