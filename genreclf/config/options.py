"""The command-line options of Hydra, such as ``--multirun``."""

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager

from hydra._internal.utils import get_args_parser


def options_parser() -> ArgumentParser:
    """Return Hydra's parser of its options."""
    with unchecked_help():
        return get_args_parser()


@contextmanager
def unchecked_help() -> Iterator[None]:
    """Let Hydra 1.3 add an option whose help is not a string, which Python 3.14 refuses.

    See https://github.com/facebookresearch/hydra/issues/3121.
    """
    name = "_check_help"
    if not hasattr(ArgumentParser, name):  # Before Python 3.14.
        yield
        return
    check = getattr(ArgumentParser, name)
    setattr(ArgumentParser, name, lambda parser, action: None)
    try:
        yield
    finally:
        setattr(ArgumentParser, name, check)
