"""What is said of words that Hydra refuses, and of modules of the user's own."""

import sys
from pathlib import Path

import pytest
from helpers import Cli

REFUSED = {
    "model=crnn,cnn": "model=crnn,cnn stands for several values: add --multirun to sweep over them.",
    "data.root=a,b": "add --multirun to sweep over them, or write data.root=[a,b] for a list, or \"data.root='a,b'\"",
    "seed=range(1,3)": "seed=range(1,3) stands for several values: add --multirun to sweep over them.",
    "prepare seed=1,2": "seed=1,2 stands for several values: choose one.",
    "prepare -m seed=1,2": "prepare: -m is for training only; run prepare once for each value; python -m",
    "prepare data=[synthetic,folder]": "but a run has one data; start the command once for each.",
    "prepare sweep=seeds": "sweep=seeds is many trainings, and this command has none; leave it out.",
    "+experiment=x": "There is no experiment=x; the options of experiment are ablation/",
    "callbacks=[default,early_stoping]": "There is no callbacks=early_stoping; the options of callbacks are code",
    "prepare regularization=[mixup,dropuot]": "There is no regularization=dropuot; the options of regularization are",
    "-m logger=[wandb,tensorbord] seed=1,2": "There is no logger=tensorbord; the options of logger are csv, mlflow, ",
    "+experiment=best": "The group experiment is set already: write experiment=best without a +, or in a file of",
    "+seed=3": "There is a key seed already: write seed=3, without a +.",
    "hydra/job_logging=colorlog": "There is no hydra/job_logging=colorlog; the options of hydra/job_logging",
    "hydra/launcher=nothing": "the options of hydra/launcher are basic, ",
    "hydra.foo=1": "There is no key hydra.foo; --cfg hydra shows Hydra's keys",
    "hydra.job={foo:1}": "There is no key hydra.job.foo; --cfg hydra shows Hydra's keys",
    "-m hydra/sweeper=optuna hydra.sweeper.params={seed:[0,1]}": "There is no key hydra.sweeper.params.seed; write its "
    "values as a setting, seed=A,B, or \"+hydra.sweeper.params.seed='A,B'\".\n",
    "-m hydra/sweeper=optuna hydra.sweeper.params={optimizer.lr:[0,1]}": "as a setting, optimizer.lr=A,B.\n",
    "trainer={max_epoch:1}": "There is no key trainer.max_epoch; did you mean trainer.max_epochs?\n",
    "hydra.job.chdir=maybe": "hydra.job.chdir: Value 'maybe' is not a valid bool",
    "hydra.job.chdir=true run_dir=a/b": "hydra.job.chdir=true would move every relative path into the run directory",
    "hydra.run.dir=": "hydra.run.dir is empty; give it a value, or leave it out.",
    "-m seed=1,2 hydra.sweep.dir=": "hydra.sweep.dir is empty; give it a value, or leave it out.",
    "-m sweep=optuna model=svm": "sweep=optuna varies model.dropout, which the chosen model does not have: choose",
    "-m sweep=nested split=track": "over folds, which the chosen split does not have: choose split=artist_folds.\n",
    "-m sweep=artist_cv split.inner_folds=null": "split.inner_folds=null must be a whole number.\n",
    "-m sweep=layers": "sweep=layers needs a pretrained encoder: choose one with encoder=NAME.\n",
    "hydra.verbose=2": "hydra.verbose is true, false, or the name of a logger",
    "--help evaluat": "evaluat is neither a command nor an override; did you mean evaluate?",
    "seed=1 predict": "predict is a command, which stands first: python -m genreclf predict --help shows how.",
    "predict=1": "predict is a command, not a key: python -m genreclf predict --help shows how.",
    "seed =1": "seed is neither a command nor an override; write seed=VALUE, without spaces.",
    "=1": "=1 has no key before its =; write KEY=VALUE",
    "help": "help is neither a command nor an override; python -m genreclf --help shows how.",
    "data.root=it's": "data.root=it's cannot be read as KEY=VALUE; close its brackets, or quote a value",
    "data.genre_map={R&B: soul}": "set data.genre_map=FILE.yaml.",
    "~sed": "There is no key sed to delete; did you mean seed?",
    "--seed=1": "There is no option --seed=1; settings are written KEY=VALUE",
    "--cfg": "argument --cfg/-c: expected one argument; python -m genreclf --help",
    "--experimental-rerun nothing.pickle": "--experimental-rerun would run a pickle, which may hold any code: repeat a "
    "run with python -m genreclf --config-dir RUN --config-name config run_dir=NEW.\n",
    "--config-path own": "--config-path=own is looked for inside genreclf: write an absolute path, such as "
    '--config-path "$PWD/own", or add options to genreclf\'s own with --config-dir own.\n',
    "--config-path /no/folder": "--config-path=/no/folder: there is no such folder.\n",
    "--run -m seed=1,2": "--run and --multirun exclude each other",
    "model=cnn -m seed=1,2": "seed=1,2 stands apart from the other settings",
    "-m seed=range(1,2,0)": "A range needs a step other than 0",
    "--shell-completion": "--shell-completion wants install=SHELL",
    "-m optimizer.lr=interval(0,1)": "An interval is searched, not swept: add hydra/sweeper=optuna",
    "optimizer=${seed}": "A group is chosen by the name of one of its options, such as model=crnn, not by ${seed}.",
    "=": "A setting has no key before its =; write KEY=VALUE",
    "seed=${seeds}": "Interpolation key 'seeds' not found",
}


@pytest.mark.parametrize("command", REFUSED)
def test_a_refused_word_is_answered_in_one_line(command: str, cli: Cli) -> None:
    outcome = cli(*command.split())
    assert outcome.code == 2, outcome
    assert REFUSED[command] in outcome.err
    assert len(outcome.err.splitlines()) == 1, outcome.err


def test_a_search_without_its_extra_names_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "hydra_plugins.genreclf_optuna._study", raising=False)
    outcome = cli("-m", "sweep=optuna", "data=synthetic")
    assert outcome.code == 2
    assert outcome.err == 'A search needs optuna: python -m pip install -e ".[optuna]"\n'


def test_modules_of_the_working_directory_are_found_by_the_installed_command(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_conf/data").mkdir(parents=True)
    (tmp_path / "my_conf/data/mine.yaml").write_text("defaults: [_clips]\n_target_: my_working_directory.Mine\n")
    module = "from genreclf.datasets.synthetic import Synthetic\n\n\nclass Mine(Synthetic):\n    pass\n"
    (tmp_path / "my_working_directory.py").write_text(module)
    # A script in bin/ has that folder on the path where `python -m` has the working directory.
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    outcome = cli("--config-dir", "my_conf", "data=mine", "split=track", "trainer=cpu", "trainer.max_epochs=0")
    assert outcome.err == "trainer.max_epochs=0 must be at least 1.\n"


def test_a_model_without_a_network_is_told_the_contract(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from genreclf.models import GenreClassifier\n\n\nclass Bare(GenreClassifier):\n    pass\n"
    (tmp_path / "bare_model.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    plain = [word for word in tiny if not word.startswith("model")]
    outcome = cli(
        *plain, "model=cnn", "~model.channels", "~model.pools", "~model.dropout", "model._target_=bare_model.Bare"
    )
    assert outcome.code == 2
    assert "model._target_=bare_model.Bare sets no network: its __init__ must set self.network" in outcome.err
