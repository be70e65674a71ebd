"""OmegaConf resolvers used in ``conf/train.yaml`` to name the directories of runs and sweeps, and checks of these."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genreclf.config.identity import OUTSIDE_IDENTITY, digest, identity
from genreclf.config.keys import CONFIG_DIR
from genreclf.config.options import options_parser
from genreclf.config.overrides import typed_overrides
from genreclf.distributed.launchers import check_launcher
from genreclf.errors import UserError
from genreclf.sweep.start import names_run_dir

PASSING = (
    *("hydra/launcher=", "hydra.launcher.", "hydra.sweeper.n_jobs=", "hydra.sweeper.n_trials=", "hydra.mode="),
    "debug=",
)
"""Prefixes of overrides that change how or how far a sweep is run, but not which sweep it is."""

TRUE = ("true", "yes", "on", "y", "1")
"""Words that OmegaConf reads as true, in lower case."""


def check_directories(arguments: Sequence[str]) -> None:
    """Raise a `UserError` for a directory that has no path, a missing launcher or contradictory settings."""
    options, _ = options_parser().parse_known_args(list(arguments))
    if options.cfg or options.help or options.hydra_help or options.info:
        return
    overrides = _parsed(argument for argument in arguments if "=" in argument and not argument.startswith("-"))
    for override in overrides:
        if override.key_or_group == "hydra.job.chdir" and str(override.value()).lower() in TRUE:
            refuse_chdir(chdir=True)
        if override.key_or_group in ("hydra.run.dir", "hydra.sweep.dir") and override.value() == "":
            raise UserError(f"{override.key_or_group} is empty; give it a value, or leave it out.")
    places = {override.key_or_group: override for override in overrides if names_run_dir(override)}
    check_launcher(arguments)
    if len(places) > 1:
        raise UserError("run_dir and hydra.run.dir are one setting; leave one of them out.")
    for override in places.values():
        if override.is_sweep_override() or isinstance(override.value(), bool | list | dict):
            raise UserError(f"{override.input_line} is not a path; name one folder, or none for a sweep.")


def refuse_chdir(*, chdir: bool | None) -> None:
    """Raise a `UserError` if ``hydra.job.chdir`` is true, whether it was set on the command line or in a file."""
    if chdir:
        raise UserError("hydra.job.chdir=true would move every relative path into the run directory; leave it out.")


def use_for_every_configuration() -> None:
    """Make Hydra use the section ``hydra`` of ``conf/train.yaml`` also for primary configurations without one.

    An example is the ``config.yaml`` of a run, which ``--config-name config`` repeats.
    """
    ours = OmegaConf.load(Path(CONFIG_DIR, "train.yaml"))
    node: Any = OmegaConf.merge(OmegaConf.structured(HydraConf), ours.hydra)
    for group in node.defaults:
        group.update({key: "none" for key in group if key in ("job_logging", "hydra_logging")})
    ConfigStore.instance().store("config", node, group="hydra", provider="genreclf")


def sweep_folder(overrides: Sequence[str], of_hydra: Sequence[str] = (), values: str = "") -> str:
    """Return the folder name of a sweep: the keys it varies and a hash of its overrides except those in `PASSING`.

    Args:
        overrides: Overrides of the command, except those of Hydra.
        of_hydra: Overrides of Hydra.
        values: Hash of the values of interpolations in the overrides; empty without interpolations.
    """
    words = [*overrides, *of_hydra]
    lasting = sorted(word for word in words if not word.startswith(PASSING))
    command_hash = hashlib.sha256("\0".join([*lasting, *filter(None, [values])]).encode()).hexdigest()[:10]
    files = [word.partition("=")[2] for word in words if word.startswith("sweep=")]
    keys = [override.key_or_group.rpartition(".")[2] for override in _parsed(words) if override.is_sweep_override()]
    return f"{_readable('-'.join(dict.fromkeys([*files, *keys]))[:60]).strip('-')}_{command_hash}"


def fixed_keys(overrides: Sequence[str]) -> ListConfig:
    """Return the keys that a command sets to one value for all jobs of a sweep; folders of jobs do not name them."""
    last = {override.key_or_group: override for override in _parsed(overrides)}
    return OmegaConf.create([key for key, override in last.items() if not override.is_sweep_override()])


def job_folder(overrides: Sequence[str], fixed: Sequence[str], *, _root_: DictConfig) -> str:
    """Return the folder name of a job in its sweep: the settings that vary and a hash of the whole configuration."""
    parts = {key.lstrip("+~"): value for key, _, value in (word.partition("=") for word in overrides)}
    words = [f"{key.rpartition('.')[2]}-{value}" for key, value in parts.items() if key not in fixed]
    readable = _readable("_".join(words))[:80]
    return f"{readable}_{config_hash(_root_)}" if readable else config_hash(_root_)


def config_hash(config: DictConfig) -> str:
    """Return a hash of a composed configuration without Hydra's section, paths and logging."""
    plain: Any
    ours = OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("hydra", *OUTSIDE_IDENTITY)])
    try:
        plain = OmegaConf.to_container(ours, resolve=True)
    except OmegaConfBaseException:  # The job itself reports what is wrong with its configuration.
        plain = OmegaConf.to_container(ours, resolve=False)
    return digest(identity(plain))[:8]


def _values_hash(*, _root_: DictConfig) -> str:
    """Return a hash of the values of the interpolations in the overrides; "" without interpolations."""
    cache = OmegaConf.get_cache(_root_)["values_hash"]  # Hydra copies it from a sweep to its jobs.
    if not cache:
        cache["hash"] = ""  # For a value that refers to the folder of the sweep, which this hash is part of.
        if any("${" in word for word in typed_overrides(_root_.hydra)):
            cache["hash"] = config_hash(_root_)
    return str(cache["hash"])


def _parsed(words: Iterable[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides([str(word) for word in words])


def _readable(text: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in text)


# A cached value is the same for all jobs of a sweep, in whatever process they are composed.
OmegaConf.register_new_resolver("or", lambda first, second: second if first in (None, "") else first, replace=True)
OmegaConf.register_new_resolver("unique", lambda: os.urandom(2).hex(), use_cache=True, replace=True)
OmegaConf.register_new_resolver("typed", lambda part, *, _root_: typed_overrides(_root_.hydra, part), replace=True)
OmegaConf.register_new_resolver("values_hash", _values_hash, replace=True)
OmegaConf.register_new_resolver("sweep_folder", sweep_folder, use_cache=True, replace=True)
OmegaConf.register_new_resolver("fixed_keys", fixed_keys, use_cache=True, replace=True)
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
