"""What all commands have in common: help, shared options, the sentences for mistakes."""

from pathlib import Path

import pytest
from helpers import Cli

from genreclf.cli import COMMANDS

PARSED = [command for command in COMMANDS if command != "train"]

MISTAKES = {
    "evaluate": "evaluate needs a run directory first; python -m genreclf evaluate --help shows how.",
    "predict": "predict needs a run directory first; python -m genreclf predict --help shows how.",
    "evaluate model=cnn": "evaluate: argument RUN: model=cnn is a setting; put a run directory before it;",
    "predict run": "predict: the following arguments are required: PATH;",
    "predict run song.mp3 --formt csv": "predict: there is no option --formt (did you mean --format?);",
    "export run another": "export: another is not expected here;",
    "compare": "compare: the following arguments are required: RUN_OR_SWEEP;",
    "prepare --config-dir nowhere": "prepare: argument --config-dir/-cd: there is no folder nowhere;",
    "prepare --multirun": "prepare: --multirun is for training only;",
    "push run": "push: the following arguments are required: --repo;",
}


@pytest.mark.parametrize("command", PARSED)
def test_every_command_has_help(command: str, cli: Cli) -> None:
    outcome = cli(command, "--help")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(f"usage: python -m genreclf {command} ")
    assert cli("--help", command) == outcome == cli(command, "-h")


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_one_sentence(command: str, cli: Cli) -> None:
    outcome = cli(*command.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(MISTAKES[command])
    assert len(outcome.err.splitlines()) == 1


def test_commands_take_options_of_the_users_own(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "it's mine"
    (folder / "data").mkdir(parents=True)
    target = "genreclf.datasets.synthetic.dataset.Synthetic"
    (folder / "data/few.yaml").write_text(f"# Few songs.\ndefaults: [_clips]\n_target_: {target}\n")
    data = [word for word in tiny if word.startswith("data.") and "grid" not in word and "crops" not in word]
    settings = [f"+{word}" if "tracks" in word or "artists" in word or "duration" in word else word for word in data]
    outcome = cli("prepare", "--config-dir", str(folder), "data=few", "split=track", *settings)
    assert outcome.code == 0, outcome.err
    assert "50 tracks" in outcome.out
    assert "Few songs." in cli("list", "data", "-cd", str(folder)).out
