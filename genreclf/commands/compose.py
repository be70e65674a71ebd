"""From the words after a command to a checked configuration."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import hydra
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from genreclf.config import CONFIG_DIR, Config
from genreclf.errors import UserError

if TYPE_CHECKING:
    from genreclf.features import FeatureSpec
    from genreclf.material import Material


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


def gathered_for(spec: "FeatureSpec", plain: dict[str, Any], overrides: Sequence[str]) -> "Material":
    """Gather the tracks that a run's own configuration names with overrides on top, for a model that knows `spec`.

    Raises:
        UserError: There are none, or their spectrograms are not what the model knows.
    """
    from genreclf.material import gather

    material = gather(checked_again({**plain, "run_dir": "-"}, overrides))
    ours = replace(material.spec, clip_frames=spec.clip_frames, making=spec.making)
    if ours != spec:
        differing = [key for key, value in ours.plain().items() if value != spec.plain()[key]]
        raise UserError(
            f"The model was trained on other spectrograms than data={material.source_name} gives "
            f"({', '.join(differing)}): choose a source of the same kind and features."
        )
    return material
