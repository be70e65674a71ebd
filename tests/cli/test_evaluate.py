"""What the command evaluate makes of its overrides."""

from pathlib import Path

import pytest
from helpers import Cli

from genreclf.run_directory import RunDirectory


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("override", ["~data.batch_size", "~data.grid_overlap=0.7", "~split", "~logger.wandb=1"])
def test_a_key_is_not_removed(override: str, cli: Cli) -> None:
    outcome = cli("evaluate", "run", override, "run_dir=again")
    assert (outcome.code, outcome.err) == (
        2,
        f"{override}: a key of a trained run cannot be removed; set another value, or omit it.\n",
    )
    assert not Path("again").exists()


@pytest.mark.usefixtures("finished")
def test_a_misspelt_key_is_answered_as_in_training(cli: Cli) -> None:
    outcome = cli("evaluate", "run", "data.sedd=3")
    assert (outcome.code, outcome.err) == (2, "There is no key data.sedd; did you mean data.seed?\n")


def test_a_logger_of_the_run_is_removed(cli: Cli, finished: RunDirectory) -> None:
    config = finished.read_config()
    config["logger"] = {"csv": {"_target_": "lightning.pytorch.loggers.CSVLogger"}}
    finished.write_config(config)
    outcome = cli("evaluate", "run", "~logger.csv", "run_dir=again")
    assert outcome.code == 0, outcome.err
    assert RunDirectory("again").read_config()["logger"] == {}


@pytest.mark.usefixtures("finished")
def test_an_evaluation_without_robustness_lies_among_evaluations(cli: Cli) -> None:
    outcome = cli("evaluate", "run", "robustness=none")
    assert outcome.code == 0, outcome.err
    assert len(list(Path("run/evaluations").iterdir())) == 1
    assert not Path("run/robustness").exists()


@pytest.mark.usefixtures("finished")
def test_a_measurement_of_robustness_lies_apart(cli: Cli) -> None:
    outcome = cli("evaluate", "run", "robustness=gain")
    assert outcome.code == 0, outcome.err
    (measured,) = Path("run/robustness").iterdir()
    assert RunDirectory(measured).read_config()["run_dir"] == str(measured)
    assert not Path("run/evaluations").exists()
