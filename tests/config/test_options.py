"""Hydra's options under Python 3.14, which checks the help of an option when it is added."""

from argparse import Action, ArgumentParser

import pytest
from helpers import Cli


def test_hydras_options_are_added_without_the_check_of_their_help(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    add_argument = ArgumentParser.add_argument

    def check(parser: ArgumentParser, action: Action) -> None:
        if not isinstance(action.help, str):
            raise ValueError("badly formed help string")

    def add_checked(parser: ArgumentParser, *names: str, **settings: object) -> Action:
        action = add_argument(parser, *names, **settings)  # type: ignore[arg-type]
        parser._check_help(action)  # type: ignore[attr-defined]
        return action

    monkeypatch.setattr(ArgumentParser, "_check_help", check, raising=False)
    monkeypatch.setattr(ArgumentParser, "add_argument", add_checked)
    outcome = cli("--cfg", "job", "--package", "model", "model=ffnn")
    assert (outcome.code, outcome.err) == (0, "")
    assert "FFNN" in outcome.out
    with pytest.raises(ValueError, match="badly formed help"):
        ArgumentParser().add_argument("--own", help=len)  # type: ignore[arg-type]
