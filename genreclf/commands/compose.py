"""From the words after a command to a checked configuration."""

from collections.abc import Sequence
from typing import Any

import hydra
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from genreclf.config import CONFIG_DIR, Config


def checked(overrides: Sequence[str], *, run_dir: str) -> Config:
    """Compose ``conf/`` with the overrides and check the whole."""
    return Config.from_hydra(_composed(overrides), run_dir=run_dir, overrides=overrides)


def checked_again(plain: dict[str, Any], overrides: Sequence[str]) -> Config:
    """Check a run's own configuration with overrides on top, options of groups among them (``split=track``)."""
    fresh = _composed([])
    config = OmegaConf.create(plain)
    OmegaConf.set_struct(config, True)
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = override.key_or_group, override.value()
        if isinstance(value, str) and isinstance(OmegaConf.select(fresh, key), DictConfig):
            config[key] = OmegaConf.select(_composed([f"{key}={value}"]), key)
        else:
            OmegaConf.update(config, key, value)
    return Config.from_hydra(config, run_dir=plain["run_dir"], overrides=overrides)


def _composed(overrides: Sequence[str]) -> DictConfig:
    with hydra.initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        return compose("train", list(overrides))
