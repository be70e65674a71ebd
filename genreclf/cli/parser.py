"""Argument parser of all commands: uniform help, shared options, and one-sentence error messages."""

import argparse
import difflib
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from genreclf.errors import UserError


class Parser(argparse.ArgumentParser):
    """Argument parser of a command, which accepts positional arguments and options in any order."""

    def __init__(self, command: str, description: str, epilog: str | None = None) -> None:
        """Create a parser without arguments.

        Args:
            command: Name of the command.
            description: Text that ``--help`` shows before the arguments.
            epilog: Text that ``--help`` shows after the arguments.
        """
        super().__init__(prog=f"python -m genreclf {command}", description=description, epilog=epilog)
        self.command = command

    def add_run(
        self, help: str = "run directory, or wandb:ENTITY/PROJECT/ARTIFACT:ALIAS", *, trust: bool = True
    ) -> None:
        """Add the positional argument RUN and, if `trust` is True, the option ``--trust``."""
        self.add_argument("run", metavar="RUN", type=_run_directory, help=help)
        if trust:
            self.add_trust()

    def add_trust(self) -> None:
        """Add the option ``--trust``, which allows a run directory to use classes of the given Python modules."""
        self.add_argument(
            "--trust",
            action="append",
            default=[],
            metavar="MODULE",
            help="allow RUN to use classes of this Python module, such as my_model; may be repeated",
        )

    def add_device(self) -> None:
        """Add the option ``--device``, the device that the network computes on."""
        self.add_argument(
            "--device",
            type=_device,
            default="cpu",
            metavar="D",
            help="device to compute on: auto (a GPU if there is one), cpu, cuda, cuda:1, mps; default: cpu",
        )

    def add_overrides(self, help: str) -> None:
        """Add the configuration overrides (``KEY=VALUE``) and the option ``--config-dir``."""
        self.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=help)
        self.add_config_dir()

    def add_config_dir(self) -> None:
        """Add the option ``--config-dir``, a folder with configuration files of the user."""
        self.add_argument(
            "--config-dir", "-cd", type=_folder, metavar="DIR", help="folder of your own options, in addition to conf/"
        )

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments, and download RUN if it names a model in W&B; raise `UserError` for a mistake."""
        options = self.parse_intermixed_args(list(arguments))
        if getattr(options, "run", None) is not None and str(options.run).startswith("wandb:"):
            from genreclf.training.artifacts import fetch

            options.run = str(fetch(options.run))
        return options

    def option_names(self) -> list[str]:
        """Return the names of the long options, such as ``--device``."""
        return [name for action in self._actions for name in action.option_strings if name.startswith("--")]

    def error(self, message: str) -> NoReturn:
        """Raise a `UserError` that describes a mistake in the arguments in one sentence."""
        if re.match("the following arguments are required: RUN\\b", message):
            message = f"{self.command} needs a run directory first"
        elif found := re.match(r"unrecognized arguments: (\S+)", message):
            message = f"{self.command}: {self._unknown(found[1])}"
        else:
            message = f"{self.command}: {message}"
        raise UserError(f"{message}; {self.prog} --help shows how.")

    def _unknown(self, word: str) -> str:
        if not word.startswith("-"):
            return f"{word} is not expected here"
        if word in ("-m", "--multirun"):
            return f"{word} is for training only; run {self.command} once for each value"
        near = difflib.get_close_matches(word.partition("=")[0], self.option_names(), 1)
        return f"there is no option {word}" + (f" (did you mean {near[0]}?)" if near else "")


def number(kind: type[int] | type[float], low: float, high: float, name: str) -> Callable[[str], Any]:
    """Return an argument type for numbers from `low` to `high`; `name` ends its error, as in "0 is not a port"."""

    def read(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not a {name}")
        return value

    return read


def png(text: str) -> Path:
    """Return the path of a picture to write; raise `argparse.ArgumentTypeError` if it does not end in ``.png``."""
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text} does not end in .png")
    return path


def _run_directory(text: str) -> str:
    if "=" in text and not Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text} is a setting; put a run directory before it")
    return text


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text} is not one of auto, cpu, cuda, cuda:1, mps")
    return text


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return Path(text).absolute()
