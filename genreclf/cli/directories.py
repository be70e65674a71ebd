"""Where a run or a sweep is written, as overrides for Hydra."""

import hashlib
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from genreclf.distributed.external_ranks import external_ranks
from genreclf.distributed.launchers import check_launcher
from genreclf.errors import UserError
from genreclf.values import shown

PASSING = ("hydra/launcher=", "hydra.launcher.", "hydra.sweeper.n_jobs=", "hydra.sweeper.n_trials=", "debug=")
"""Overrides that say how a sweep is run or how far, not what it is."""


def with_directories(arguments: list[str]) -> list[str]:
    """Make `run_dir` Hydra's own directory too, and give a sweep a directory that the same command finds again."""
    chosen = [argument.partition("=")[2] for argument in arguments if argument.startswith("run_dir=")]
    sweeping = any(argument in ("-m", "--multirun") for argument in arguments)
    if any(argument.startswith(("--cfg", "--help", "--info")) for argument in arguments):
        return arguments
    if sweeping:
        check_launcher(arguments)
        if external_ranks() > 1:
            raise UserError("A sweep starts the ranks of its jobs: leave torchrun or srun out, set trainer.devices.")
    for argument in arguments:
        if argument.startswith("hydra.run.dir=") and "${" not in argument:
            _make(argument, argument.partition("=")[2].strip("'\""))
    if chosen and sweeping:
        raise UserError("run_dir is one run's; a sweep with -m gives each job its own below hydra.sweep.dir.")
    if chosen and chosen[-1] not in ("", "null"):
        _make(f"run_dir={chosen[-1]}", chosen[-1])
        quoted = chosen[-1].replace("'", r"\'")
        return _beside(arguments, "run_dir=", f"hydra.run.dir='{quoted}'")
    return as_sweep(arguments) if sweeping else arguments


def _make(override: str, path: str) -> None:
    """Make the directory that an override names."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{shown(override)} cannot be made ({reason}); choose another.") from error


def as_sweep(arguments: list[str]) -> list[str]:
    """Tell Hydra where the sweep lies and which keys all its jobs share, so that their folders name the others."""
    words = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    overrides = OverridesParser.create().parse_overrides(words)
    varied = [override.key_or_group for override in overrides if override.is_sweep_override()]
    fixed = [override.key_or_group for override in overrides if not override.is_sweep_override()]
    shared = ",".join(f"'{key}'" for key in dict.fromkeys(fixed) if not key.startswith("hydra"))
    place = words[0] if words else "-"
    arguments = _beside(arguments, place, f"hydra.job.config.override_dirname.exclude_keys=[{shared}]")
    if any(word.startswith("hydra.sweep.dir=") for word in words):
        return arguments
    lasting = sorted(word for word in words if not word.startswith(PASSING))
    identity = hashlib.sha256("\0".join(lasting).encode()).hexdigest()[:10]
    files = [word.partition("=")[2] for word in words if word.startswith("sweep=")]
    keys = [key.rpartition(".")[2] for key in varied]
    name = "-".join(dict.fromkeys([*files, *keys]))[:60]
    name = "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in name)
    return _beside(arguments, place, f"hydra.sweep.dir=outputs/sweeps/{name}_{identity}")


def _beside(arguments: list[str], start: str, override: str) -> list[str]:
    """Put an override behind the argument that starts so: Hydra wants all overrides in one place."""
    place = max(index for index, argument in enumerate(arguments) if argument.startswith(start))
    return [*arguments[: place + 1], override, *arguments[place + 1 :]]
