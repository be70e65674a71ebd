"""The typed truth behind conf/: one run, checked, with all faults named at once.

A section with a ``_target_`` is a class (or a function) and its arguments; `genreclf.targets` checks those.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genreclf.errors import UserError
from genreclf.sections import (
    ClipConfig,
    EarlyStoppingConfig,
    FeaturesConfig,
    LoggerConfig,
    RegularizationConfig,
    RootConfig,
    SplitConfig,
    TrainerConfig,
)

_here = Path(__file__).parent
CONFIG_DIR = str(_here / "conf" if (_here / "conf").is_dir() else _here.parent / "conf")
"""The conf/ of an installed package, or of the clone."""

PICTURES_BRING = ("sample_rate", "n_fft", "hop_length", "n_mels")
"""What pictures know themselves, so that ``features=`` beside them is a mistake."""

Section = dict[str, Any]


@dataclass
class Config:
    """One run, checked. Sections that are plain dictionaries hold a ``_target_`` and its arguments."""

    source: Section
    clips: ClipConfig
    split: Section
    unseen: bool
    """See `SplitConfig`."""
    features: FeaturesConfig
    model: Section
    loss: Section
    optimizer: Section
    scheduler: Section
    regularization: RegularizationConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    early_stopping: EarlyStoppingConfig
    seed: int
    run_dir: str
    init_from: str | None
    debug: bool
    plain: dict[str, Any]
    """The resolved configuration as it is kept in ``config.yaml``."""

    @classmethod
    def from_hydra(cls, config: DictConfig, *, run_dir: str, overrides: Sequence[str] = ()) -> "Config":
        """Check a composed configuration.

        Args:
            config: What Hydra composed.
            run_dir: Where the run lies if the configuration does not say.
            overrides: What the user typed, to tell what was asked for from what is a default.

        Raises:
            UserError: All faults, one sentence each.
        """
        try:
            OmegaConf.resolve(config)
            plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        except OmegaConfBaseException as error:
            raise UserError(f"{error.full_key or 'The configuration'}: {_first_line(error)}") from error
        plain["run_dir"] = plain.get("run_dir") or run_dir
        return cls.from_plain(plain, overrides=overrides)

    @classmethod
    def from_plain(cls, plain: dict[str, Any], *, overrides: Sequence[str] = ()) -> "Config":
        """Check a resolved configuration, such as a ``config.yaml``; see `from_hydra`."""
        from genreclf import targets
        from genreclf.data.source import PictureSource

        faults: list[str] = []
        data = dict(_section(plain, "data", faults))
        clip_keys = {entry.name for entry in dataclasses.fields(ClipConfig)}
        clips = _typed(ClipConfig, "data", {key: data.pop(key) for key in clip_keys & data.keys()}, faults)
        split = dict(_section(plain, "split", faults))
        of_split = _typed(SplitConfig, "split", {"unseen": split.pop("unseen", False)}, faults)
        features = dict(_section(plain, "features", faults))
        source = targets.find("data", data, faults)
        if isinstance(source, type) and issubclass(source, PictureSource):
            faults += _features_beside_pictures(overrides)
            features |= dict.fromkeys(PICTURES_BRING)
            plain["features"] = features
        root = {key: plain.get(key) for key in ("seed", "init_from", "debug", "run_dir")}
        checked = _typed(RootConfig, "", root, faults)

        def typed(kind: type[Any], name: str) -> Any:
            return _typed(kind, name, _section(plain, name, faults), faults)

        config = cls(
            source=data,
            clips=clips,
            features=_typed(FeaturesConfig, "features", features, faults),
            split=split,
            unseen=of_split.unseen,
            model=_section(plain, "model", faults),
            loss=_section(plain, "loss", faults),
            optimizer=_section(plain, "optimizer", faults),
            scheduler=_section(plain, "scheduler", faults),
            regularization=typed(RegularizationConfig, "regularization"),
            trainer=typed(TrainerConfig, "trainer"),
            logger=typed(LoggerConfig, "logger"),
            early_stopping=typed(EarlyStoppingConfig, "early_stopping"),
            seed=checked.seed,
            run_dir=checked.run_dir,
            init_from=checked.init_from,
            debug=checked.debug,
            plain=plain,
        )
        for name in ("split", "model", "loss", "optimizer", "scheduler"):
            targets.find(name, getattr(config, name), faults)
        faults += config._faults()
        if faults:
            raise UserError("\n".join(dict.fromkeys(faults)))
        return config

    def _faults(self) -> list[str]:
        if self.unseen and self.init_from is None:
            return [
                "split.unseen=true leaves out the test tracks that an earlier run has seen, and there is none: set "
                "init_from, use the command evaluate, or leave split.unseen out."
            ]
        devices, batch_size = self.trainer.devices, self.clips.batch_size
        if devices > 0 and batch_size % devices:
            return [f"data.batch_size={batch_size} cannot be divided among trainer.devices={devices}."]
        return []

    @property
    def hash(self) -> str:
        """A hash of all that makes the experiment what it is: not where it lies, nor who watches it."""
        return hash_of(self.plain)


def hash_of(plain: Mapping[str, Any]) -> str:
    """Return `Config.hash` of a resolved configuration, without a look at what it names."""
    same = {key: value for key, value in plain.items() if key not in ("run_dir", "debug", "logger")}
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


def _features_beside_pictures(overrides: Sequence[str]) -> list[str]:
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key == "features" or key in {f"features.{name}" for name in PICTURES_BRING}:
            return [f"Pictures bring their own features; leave out {override} (features.scale may stay)."]
    return []


def _section(plain: Mapping[str, Any], name: str, faults: list[str]) -> Section:
    section = plain.get(name)
    if isinstance(section, dict):
        return section
    faults.append(f"{name} is a group of keys, not {section!r}; choose one with {name}=NAME.")
    return {}


def _typed(kind: type[Any], name: str, values: Mapping[str, Any], faults: list[str]) -> Any:
    """Return `kind` made of `values`, each coerced to its type as Hydra does; note what does not fit."""
    typed = OmegaConf.structured(kind)
    whole = True
    for key, value in values.items():
        full_key = f"{name}.{key}" if name else key
        if key not in typed:
            faults.append(f"There is no key {full_key}; the keys of {name} are {', '.join(sorted(map(str, typed)))}.")
            continue
        try:
            typed[key] = value
        except OmegaConfBaseException as error:
            whole = False
            faults.append(f"{full_key}={value}: {_first_line(error)}.")
    result: Any = OmegaConf.to_object(typed)
    if whole:
        faults += result.faults()
    return result


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
