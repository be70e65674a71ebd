"""Launchers of sweeps that are extras."""

import importlib.metadata
from collections.abc import Sequence

from genreclf.errors import UserError

PACKAGES = {
    "joblib": ("hydra-joblib-launcher", "sweep"),
    "ray": ("hydra-ray-launcher", "ray"),
    "slurm": ("hydra-submitit-launcher", "slurm"),
}
"""Options of ``hydra/launcher``: the distribution each needs, and the extra of this package that brings it."""


def check_launcher(arguments: Sequence[str]) -> None:
    """See that the launcher that the command names is installed.

    Raises:
        UserError: It is not.
    """
    for argument in arguments:
        group, _, option = argument.partition("=")
        if group == "hydra/launcher" and option in PACKAGES:
            package, extra = PACKAGES[option]
            try:
                importlib.metadata.distribution(package)
            except importlib.metadata.PackageNotFoundError:
                sentence = f'{argument} needs {package}: python -m pip install -e ".[{extra}]"'
                raise UserError(sentence) from None
