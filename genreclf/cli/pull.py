"""``python -m genreclf pull USER/NAME``: fetch a shared model from the Hugging Face hub."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from genreclf.cli.trusting import add_trust
from genreclf.errors import UserError
from genreclf.escaping import say


def main(arguments: list[str]) -> None:
    """Make a run directory of it; print where it lies and what it scored."""
    options = _parser().parse_args(arguments)
    from genreclf.hub.remote import pull

    path = options.to or Path("outputs", "pulled", *options.repo.rsplit("/", 1)[-1:])
    say(pull(options.repo, path, revision=options.revision, trusted=options.trust), sys.stdout)
    print(path)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"pull: {message}; python -m genreclf pull --help shows how.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m genreclf pull",
        description="Fetch a model that someone pushed, as a run directory for predict, evaluate and genreclf.load. "
        "Nothing in it is executed.",
    )
    parser.add_argument("repo", metavar="USER/NAME", help="on the Hugging Face hub")
    parser.add_argument("--to", type=Path, metavar="DIR", help="default: outputs/pulled/NAME")
    parser.add_argument("--revision", help="commit, branch or tag; default: the newest")
    add_trust(parser)
    return parser
