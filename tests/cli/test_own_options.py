"""Mistakes in a user's own options, those of ``--config-dir``: each is a sentence that names the file or the key."""

from pathlib import Path

import pytest
from helpers import Cli

import genreclf
from genreclf.errors import UserError


def own(folder: Path, group: str, text: str) -> list[str]:
    """Write an option of a group, ``mine``; return the arguments that choose it."""
    path = folder / "my_conf" / group / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return ["--config-dir", "my_conf", "data=synthetic", f"{group}=mine"]


BROKEN = {
    "a: [1, 2\n": ", line 2, is not YAML: expected ',' or ']', but got '<stream end>', in what begins in line 1; corr",
    "a:\n\tb: 1\n": ", line 2, is not YAML: found character '\\t' that cannot start any token; correct it there.\n",
    "a: 1\na: 2\n": ", line 2, is not YAML: found duplicate key a, in what begins in line 1; correct it there.\n",
    "a: \x01\n": " is not YAML: special characters are not allowed; correct it there.\n",
}


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("command", ["train", "prepare"])
def test_a_broken_file_is_named_with_the_line(command: str, text: str, cli: Cli, tmp_path: Path) -> None:
    outcome = cli(command, *own(tmp_path, "model", text))
    assert outcome.code == 2
    assert outcome.err.startswith(f"{tmp_path}/my_conf/model/mine.yaml{BROKEN[text]}")
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.filterwarnings("error:Callback SweepStart")
def test_a_broken_file_is_named_in_sweeps_and_from_python(cli: Cli, tmp_path: Path) -> None:
    chosen = own(tmp_path, "model", "a: [1, 2\n")
    outcome = cli("-m", *chosen[:-1], "model=cnn,mine")
    assert outcome.code == 2
    assert "mine.yaml, line 2, is not YAML" in outcome.err
    with pytest.raises(UserError, match="line 2, is not YAML"):
        genreclf.train("data=synthetic", "model=mine", config_dir="my_conf")


def test_own_options_are_among_those_of_a_list(cli: Cli, tmp_path: Path) -> None:
    chosen = own(tmp_path, "callbacks", "mine:\n  _target_: my_module.Mine\n")
    outcome = cli(*chosen[:-1], "callbacks=[default,mien]")
    assert outcome.code == 2
    assert outcome.err.startswith("There is no callbacks=mien; the options of callbacks are codecarbon, default, ")
    assert outcome.err.endswith(" learning_rate_monitor, mine, model_summary, none.\n")


@pytest.mark.parametrize("text", ["seed: 3\n", "defaults:\n  - override /model: cnn\n"])
@pytest.mark.parametrize("command", ["train", "prepare"])
def test_an_experiment_without_its_first_line_is_named(command: str, text: str, cli: Cli, tmp_path: Path) -> None:
    outcome = cli(command, *own(tmp_path, "experiment", text))
    assert outcome.code == 2
    assert outcome.err == (
        "experiment/mine.yaml must begin with the line # @package _global_, or it sets keys of experiment alone.\n"
    )


@pytest.mark.parametrize("command", ["train", "prepare"])
def test_a_misspelled_key_of_an_own_option_is_found(command: str, cli: Cli, tmp_path: Path) -> None:
    outcome = cli(command, *own(tmp_path, "loss", "_target_: my_module.Loss\ngamma: 2.0\n"), "loss.gama=3")
    assert (outcome.code, outcome.err) == (2, "There is no key loss.gama; did you mean loss.gamma?\n")


def test_a_file_in_another_encoding_is_named(cli: Cli, tmp_path: Path) -> None:
    chosen = own(tmp_path, "model", "")
    (tmp_path / "my_conf/model/mine.yaml").write_bytes("# café\n".encode("latin-1"))
    sentence = f"{tmp_path}/my_conf/model/mine.yaml is not UTF-8 text: save it in that encoding."
    outcome = cli(*chosen)
    assert (outcome.code, outcome.err) == (2, f"{sentence}\n")
    with pytest.raises(UserError, match="is not UTF-8 text: save it"):
        genreclf.train("data=synthetic", "model=mine", config_dir="my_conf")


@pytest.mark.parametrize("several", [[], ["seed=1,2", "-m"]])
def test_a_file_that_changes_the_working_directory_is_refused(cli: Cli, tmp_path: Path, several: list[str]) -> None:
    chosen = own(tmp_path, "experiment", "# @package _global_\nhydra: {job: {chdir: true}}\n")
    outcome = cli(*chosen, *several)
    assert outcome.code == 2
    assert "hydra.job.chdir=true would move every relative path into the run directory; leave it out." in outcome.err


MODULES = {
    "def broken(:\n": "SyntaxError: invalid syntax (own_broken_module.py, line 1)",
    "print(nothing_of_this_name)\n": "NameError: name 'nothing_of_this_name' is not defined",
    "open('not_there')\n": "FileNotFoundError: [Errno 2] No such file or directory: 'not_there'",
}


@pytest.mark.parametrize("source", MODULES)
def test_a_module_that_cannot_be_run_is_named(source: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "own_broken_module.py").write_text(source)
    chosen = ["data=synthetic", "trainer=cpu", "loss._target_=own_broken_module.Loss"]
    outcome = cli(*chosen)
    assert outcome.code == 2
    assert outcome.err == f"loss._target_=own_broken_module.Loss cannot be imported ({MODULES[source]}).\n"
    assert "own_broken_module.py" in cli(*chosen, "debug=true").err


def test_a_monitor_that_an_own_model_does_not_log_is_named(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    source = "from genreclf.models.crnn import CRNN\n\n\nclass Unlogged(CRNN):\n    pass\n"
    (tmp_path / "own_unlogged_model.py").write_text(source)
    stopping = "lightning.pytorch.callbacks.EarlyStopping"
    chosen = ["model._target_=own_unlogged_model.Unlogged", f"+callbacks.own._target_={stopping}"]
    outcome = cli(*tiny, *chosen, "+callbacks.own.monitor=val/los")
    assert outcome.code == 2
    assert "Lightning refuses the training: Early stopping conditioned on metric `val/los` which is not" in outcome.err
    assert "Traceback" not in outcome.err
