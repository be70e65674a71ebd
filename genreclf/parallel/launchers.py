"""Launchers of sweeps that are extras."""

import importlib.metadata
from collections.abc import Sequence

from genreclf.errors import UserError

PACKAGES = {"ray": "hydra-ray-launcher", "slurm": "hydra-submitit-launcher"}
"""Options of ``hydra/launcher``, which are extras of this package too, and what they need."""


def check_launcher(arguments: Sequence[str]) -> None:
    """See that the launcher that the command names is installed.

    Raises:
        UserError: It is not.
    """
    for argument in arguments:
        group, _, option = argument.partition("=")
        if group == "hydra/launcher" and option in PACKAGES:
            try:
                importlib.metadata.distribution(PACKAGES[option])
            except importlib.metadata.PackageNotFoundError:
                sentence = f'{argument} needs {PACKAGES[option]}: python -m pip install -e ".[{option}]"'
                raise UserError(sentence) from None
