"""``python -m genreclf pull USER/NAME``: fetch a shared model from the Hugging Face hub."""

import sys
from pathlib import Path

from genreclf.cli.parser import Parser
from genreclf.escaping import say


def main(arguments: list[str]) -> None:
    """Download the model as a run directory; print its results and its path."""
    options = parser().parse(arguments)
    from genreclf.hub.remote import pull

    path = options.to or Path("outputs", "pulled", *options.repo.rsplit("/", 1)[-1:])
    say(pull(options.repo, path, revision=options.revision, trusted=options.trust), sys.stdout)
    print(path)


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "pull",
        "Download a pushed model as a run directory for predict, evaluate and genreclf.load. "
        "Nothing in it is executed.",
    )
    command.add_argument("repo", metavar="USER/NAME", help="repository on the Hugging Face hub")
    command.add_argument("--to", type=Path, metavar="DIR", help="new run directory; default: outputs/pulled/NAME")
    command.add_argument("--revision", help="commit, branch or tag; default: the newest")
    command.add_trust()
    return command
