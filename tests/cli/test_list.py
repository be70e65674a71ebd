"""What there is to choose from, as a list and as completions of a command that is being typed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, Cli, python_m

from genreclf.cli.list import groups, options
from genreclf.errors import BROKEN_PIPE

LINES = {
    "genreclf ev": ["evaluate"],
    "genreclf pre": ["predict", "prepare"],
    "genreclf experiment=q": ["experiment=quickstart"],
    "genreclf train model=cnn experiment=ablation/e": ["experiment=ablation/ema"],
    "genreclf evaluate outputs/mine split=art": ["split=artist_folds"],
    "genreclf -m sweep=se": ["sweep=seeds"],
    "genreclf model.dropo": ["model.dropout="],
    "genreclf prepare features.n_m": ["features.n_mels="],
    "genreclf predict outputs/mine --for": ["--format"],
    "genreclf list featu": ["features"],
    "genreclf predict outputs/mine so": [],
    "genreclf -m hydra/launcher=jo": ["hydra/launcher=joblib"],
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_completed(line: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "COMP_LINE", line)
    outcome = cli("-sc", "query=bash")
    assert outcome.code == 0, outcome.err
    assert outcome.out.split() == LINES[line]


@pytest.mark.parametrize("option", ["--config-dir own", "--config-dir=own", "-cd own"])
@pytest.mark.parametrize(
    ("word", "completed"), [("data=fe", "data=few"), ("data=few data.see", "data.seed="), ("mine=", "mine=one")]
)
def test_options_of_the_users_own_complete_a_line(
    option: str, word: str, completed: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = "genreclf.datasets.synthetic.dataset.Synthetic"
    for group, name in (("data", "few"), ("mine", "one")):
        Path("own", group).mkdir(parents=True)
        Path("own", group, f"{name}.yaml").write_text(f"# Few songs.\n_target_: {target}\nseed: 1\n")
    monkeypatch.setitem(os.environ, "COMP_LINE", f"genreclf {option} {word}")
    outcome = cli("-sc", "query=bash")
    assert outcome.code == 0, outcome.err
    assert outcome.out.split() == [completed]


def test_a_setting_with_query_in_it_is_no_completion(cli: Cli) -> None:
    outcome = cli('hydra.run.dir="x/query=1"', "seed=-1")
    assert (outcome.code, outcome.err) == (2, "seed=-1 must lie between 0 and 4294967295.\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str, cli: Cli) -> None:
    outcome = cli("-sc", f"install={shell}")
    assert outcome.code == 0, outcome.err
    assert "genreclf" in outcome.out


def test_the_module_gets_no_script_that_would_complete_nothing() -> None:
    process = python_m("-sc", "install=bash")
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 2
    assert output == "A shell completes genreclf, not python -m genreclf: write genreclf -sc install=SHELL.\n"


def test_every_group_is_listed_with_its_options(cli: Cli) -> None:
    lines = dict(line.split(maxsplit=1) for line in cli("list").out.splitlines())
    assert list(lines) == groups()
    assert lines["trainer"] == "auto, cpu, ddp, gpu, mps"


@pytest.mark.parametrize("group", groups())
def test_every_option_has_a_line(group: str, cli: Cli) -> None:
    outcome = cli("list", group)
    assert outcome.code == 0, outcome.err
    assert [line.split()[0] for line in outcome.out.splitlines()] == list(options(group))
    assert {name for name, comment in options(group).items() if not comment} == set()
    assert not [name for name in options(group) if name.startswith("_")]


def test_an_unknown_group_is_a_sentence(cli: Cli) -> None:
    outcome = cli("list", "modle")
    assert (outcome.code, outcome.err) == (2, "list: there is no group modle; did you mean model?\n")


def test_a_reader_that_stops_early_is_no_mistake() -> None:
    command = [sys.executable, "-m", "genreclf", "list", "model"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == BROKEN_PIPE
