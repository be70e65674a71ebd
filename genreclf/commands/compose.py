"""From the words after a command to a checked configuration."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from operator import not_
from typing import TYPE_CHECKING, Any

import hydra
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from genreclf.config import CONFIG_DIR, Config
from genreclf.errors import UserError
from genreclf.rundir import RunDirectory
from genreclf.trust import GROUPS, check_trust, named_by

if TYPE_CHECKING:
    from genreclf.features import FeatureSpec
    from genreclf.material import Material


def checked(overrides: Sequence[str], *, run_dir: str) -> Config:
    """Compose ``conf/`` with the overrides and check the whole."""
    return Config.from_hydra(_composed(overrides), run_dir=run_dir, overrides=overrides)


def checked_again(run: RunDirectory, overrides: Sequence[str], *, trust: Sequence[str] = (), **given: Any) -> Config:
    """Check a run's own configuration with overrides on top, options of groups among them (``split=track``).

    Args:
        run: Whose configuration it is.
        overrides: What the user typed; it may name any class.
        trust: Modules whose classes the run's own configuration may name.
        **given: Keys of the root that are other than the run's.

    Raises:
        UserError: All faults, one sentence each.
    """
    plain = {**run.read_config(), **given}
    if isinstance(split := plain.get("split"), dict):
        split.setdefault("unseen", False)  # Runs of earlier versions do not have it.
    fresh = _composed([])
    config = OmegaConf.create(plain)
    OmegaConf.set_struct(config, True)
    settings = [
        (override.key_or_group, override.value())
        for override in OverridesParser.create().parse_overrides(list(overrides))
    ]
    is_option = [
        isinstance(value, str) and isinstance(OmegaConf.select(fresh, key), DictConfig) for key, value in settings
    ]
    for key, value in compress(settings, is_option):
        config[key] = OmegaConf.select(_composed([f"{key}={value}"]), key)
    for key, value in compress(settings, map(not_, is_option)):  # Whatever the order, as in Hydra.
        OmegaConf.update(config, key, value)
    kept = [group for group in GROUPS if OmegaConf.select(config, f"{group}._target_") == named_by(plain, group)]
    check_trust(plain, trust, place=run.config, groups=kept)
    return Config.from_hydra(config, run_dir=plain["run_dir"], overrides=overrides)


def _composed(overrides: Sequence[str]) -> DictConfig:
    with hydra.initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        return compose("train", list(overrides))


def gathered_for(
    spec: "FeatureSpec", run: RunDirectory, overrides: Sequence[str], *, trust: Sequence[str] = ()
) -> "Material":
    """Gather the tracks that a run's own configuration names with overrides on top, for a model that knows `spec`.

    Raises:
        UserError: There are none, or their spectrograms are not what the model knows.
    """
    from genreclf.material import gather

    material = gather(checked_again(run, overrides, trust=trust, run_dir="-"))
    ours = replace(material.spec, clip_frames=spec.clip_frames, making=spec.making)
    if ours != spec:
        differing = [key for key, value in ours.plain().items() if value != spec.plain()[key]]
        raise UserError(
            f"The model was trained on other spectrograms than data={material.source_name} gives "
            f"({', '.join(differing)}): choose a source of the same kind and features."
        )
    return material
