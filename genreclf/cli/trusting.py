"""The option ``--trust`` of the commands that take a run directory."""

import argparse


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Let a command take the modules whose code may run although a run directory names it."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="MODULE",
        help="let RUN name classes of this module of yours, such as my_model; may be repeated",
    )
