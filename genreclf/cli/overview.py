"""``python -m genreclf`` without arguments or with ``--help``: list the commands."""

from genreclf.cli import COMMANDS

OPTIONS = {
    "-h, --help": "show this help; with the name of a command, its help",
    "-m, --multirun": "sweep over KEY=A,B or sweep=NAME",
    "-cd, --config-dir DIR": "folder of your own options, in addition to conf/",
    "-c, --cfg job": "show the configuration instead of training",
    "-sc, --shell-completion install=SHELL": "print the completion for bash, zsh or fish",
    "--hydra-help": "show all of Hydra's options",
    "--version": "show the version",
}
"""Options of the training command, each with a line of help."""


def main() -> None:
    """Print the commands and the options of the training command."""
    print("usage: python -m genreclf [COMMAND] ...\n\nTrain, test and report music genre classifiers.\n")
    print("commands (python -m genreclf COMMAND --help shows how):")
    _print(COMMANDS)
    print("\ntraining (python -m genreclf [KEY=VALUE ...]), such as experiment=quickstart or model=cnn trainer=cpu:")
    _print(OPTIONS)
    print("\npython -m genreclf list shows the groups of settings, python -m genreclf list model shows one group;")
    print("python -m genreclf train --help shows every setting.")


def _print(entries: dict[str, str]) -> None:
    width = max(map(len, entries))
    for name, line in entries.items():
        print(f"  {name:{width}}  {line}")
