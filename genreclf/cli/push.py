"""``python -m genreclf push RUN --repo USER/NAME``: share a trained model on the Hugging Face hub."""

import argparse
from typing import NoReturn

from genreclf.errors import UserError


def main(arguments: list[str]) -> None:
    """Send weights, configuration, figures, split and a card; print the address."""
    options = _parser().parse_args(arguments)
    from genreclf.hub.remote import push
    from genreclf.run_directory import RunDirectory

    print(push(RunDirectory(options.run), options.repo, license=options.license, private=options.private))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"push: {message}; python -m genreclf push --help shows how.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m genreclf push",
        description="Share a finished run on the Hugging Face hub: weights (safetensors), configuration, figures, "
        "split and a model card. The ids of all tracks and their artists are in split.json; paths of this machine "
        "are left out.",
    )
    parser.add_argument("run", metavar="RUN", help="run directory, finished")
    parser.add_argument("--repo", required=True, metavar="USER/NAME", help="where to; made if it is not there")
    parser.add_argument("--license", default="unknown", help="of the weights, as the hub abbreviates it (unknown)")
    parser.add_argument("--private", action="store_true", help="make it visible to its owner alone")
    return parser
