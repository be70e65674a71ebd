"""The typed truth behind conf/: one run, checked, with all problems named at once.

A section with a ``_target_`` is a class (or a function) and its arguments; `genreclf.config.instantiate` checks those.
"""

import copy
import dataclasses
import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genreclf.config.identity import digest, identity
from genreclf.config.keys import OF_A_RUN, hint
from genreclf.config.schema import (
    ClipConfig,
    EarlyStoppingConfig,
    FeaturesConfig,
    LoggerConfig,
    RegularizationConfig,
    RootConfig,
    SplitConfig,
    TrainerConfig,
)
from genreclf.errors import UserError
from genreclf.values import shown, value_problems

_here = Path(__file__).parent.parent
CONFIG_DIR = str(_here / "conf" if (_here / "conf").is_dir() else _here.parent / "conf")
"""The conf/ of an installed package, or of the clone."""

PICTURES_BRING = ("sample_rate", "n_fft", "hop_length", "n_mels")
"""What pictures know themselves, so that ``features=`` beside them is a mistake."""

MADE = ("split", "model", "loss", "optimizer", "scheduler")
"""Sections that name a class or a function, beside `data`, which holds the keys of `ClipConfig` too."""

SINGLE = ("data", "features", "trainer", "experiment", *MADE)
"""Groups of which a run has one option, whereas those of ``regularization``, ``logger`` and ``sweep`` combine."""

TYPED: dict[str, type[Any]] = {
    "regularization": RegularizationConfig,
    "trainer": TrainerConfig,
    "logger": LoggerConfig,
    "early_stopping": EarlyStoppingConfig,
}
"""Sections whose keys are all known."""

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
    ckpt_path: str | None
    debug: bool
    warnings: list[str]
    """What a user may not expect of a setting."""

    @classmethod
    def from_hydra(cls, config: DictConfig, *, run_dir: str, overrides: Sequence[str] = ()) -> "Config":
        """Check a composed configuration.

        Args:
            config: What Hydra composed.
            run_dir: Where the run lies if the configuration does not say.
            overrides: What the user typed, to tell what was asked for from what is a default.

        Raises:
            UserError: All problems, one sentence each.
        """
        try:
            OmegaConf.resolve(config)
            plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        except OmegaConfBaseException as error:
            raise UserError(f"{error.full_key or 'The configuration'}: {_first_line(error)}") from error
        if plain.get("run_dir") == "":
            raise UserError("run_dir is empty; give it a value, or leave it out.")
        plain["run_dir"] = plain.get("run_dir") or run_dir
        return cls.from_plain(plain, overrides=overrides)

    @classmethod
    def from_plain(cls, plain: dict[str, Any], *, overrides: Sequence[str] = ()) -> "Config":
        """Check a resolved configuration, such as a ``config.yaml``; see `from_hydra`."""
        from genreclf.config import instantiate
        from genreclf.datasets.base import ImageDataset

        values = {**plain, "run_dir": plain.get("run_dir") or "-"}
        if problems := [*_several_options(overrides), *_unknown_keys(plain), *value_problems(values)]:
            raise UserError("\n".join(dict.fromkeys(problems)))
        plain = copy.deepcopy(plain)
        data = dict(_section(plain, "data", problems))
        clip_keys = {entry.name for entry in dataclasses.fields(ClipConfig)}
        clips = _typed(ClipConfig, "data", {key: data.pop(key) for key in clip_keys & data.keys()}, problems)
        split = dict(_section(plain, "split", problems))
        of_split = _typed(SplitConfig, "split", {"unseen": split.pop("unseen", False)}, problems)
        features = dict(_section(plain, "features", problems))
        source = instantiate.find("data", data, problems)
        if isinstance(source, type) and issubclass(source, ImageDataset):
            problems += _features_beside_pictures(overrides)
            features |= dict.fromkeys(PICTURES_BRING)
        logger = _section(plain, "logger", problems)
        if (name := logger.pop("name", None)) is not None:  # Of a run from before loggers combined.
            logger |= {} if name == "none" else {str(name): True}
        root = {entry.name: plain[entry.name] for entry in dataclasses.fields(RootConfig) if entry.name in plain}
        checked = _typed(RootConfig, "", root, problems)
        trainer = _trainer(_section(plain, "trainer", problems), problems)

        def typed(kind: type[Any], name: str) -> Any:
            return _typed(kind, name, _section(plain, name, problems), problems)

        config = cls(
            source=data,
            clips=clips,
            features=_typed(FeaturesConfig, "features", features, problems),
            split=split,
            unseen=of_split.unseen,
            model=_section(plain, "model", problems),
            loss=_section(plain, "loss", problems),
            optimizer=_section(plain, "optimizer", problems),
            scheduler=_section(plain, "scheduler", problems),
            regularization=typed(RegularizationConfig, "regularization"),
            trainer=trainer,
            logger=_typed(LoggerConfig, "logger", logger, problems),
            early_stopping=typed(EarlyStoppingConfig, "early_stopping"),
            **vars(checked),
            warnings=trainer.warnings(),
        )
        for name in MADE:
            instantiate.find(name, getattr(config, name), problems)
        problems += config._problems()
        if not problems:
            problems += config._settle(overrides)
        if problems:
            raise UserError("\n".join(dict.fromkeys(problems)))
        return config

    def _problems(self) -> list[str]:
        if self.init_from is not None and self.ckpt_path is not None:
            return ["init_from and ckpt_path each say where training starts; leave one of them out."]
        if self.unseen and self.init_from is None and self.ckpt_path is None:
            return [
                "split.unseen=true leaves out the test tracks that an earlier run has seen, and there is none: set "
                "init_from, use the command evaluate, or leave split.unseen out."
            ]
        return []

    def _settle(self, overrides: Sequence[str]) -> list[str]:
        """Move what the regularization sets for the model and the loss to their own keys, where they have these.

        A key of their own that the user typed stays. So the configuration names each of the two values once, and the
        network has what it says.
        """
        from genreclf.config import instantiate

        problems = []
        typed = {override.lstrip("+").partition("=")[0] for override in overrides}
        for group, key in (("model", "dropout"), ("loss", "label_smoothing")):
            section: Section = getattr(self, group)
            value = getattr(self.regularization, key)
            if value is None or not instantiate.accepts(group, section, key):
                continue
            own, bundled = f"{group}.{key}", f"regularization.{key}"
            if own not in typed:
                section[key] = value
            elif bundled in typed and section[key] != value:
                problems.append(f"{own}={section[key]} and {bundled}={value} are one setting; leave one of them out.")
            setattr(self.regularization, key, None)
        return problems

    @property
    def plain(self) -> dict[str, Any]:
        """The configuration as it is kept in ``config.yaml``."""
        root = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(RootConfig)}
        typed = {name: dataclasses.asdict(getattr(self, name)) for name in ("features", *TYPED)}
        made = {name: copy.deepcopy(getattr(self, name)) for name in MADE}
        made["split"]["unseen"] = self.unseen
        data = {**copy.deepcopy(self.source), **dataclasses.asdict(self.clips)}
        return {**root, **typed, **made, "trainer": self.trainer.plain(), "data": data}

    @property
    def hash(self) -> str:
        """A hash of all that makes the experiment what it is: not where it lies, nor who watches it."""
        return digest(identity(self.plain))[:16]


def _several_options(overrides: Sequence[str]) -> list[str]:
    problems = []
    for override in overrides:
        key, _, value = override.partition("=")
        group, chosen = key.lstrip("+"), value.strip().removeprefix("[").removesuffix("]")
        if group in SINGLE and value.strip().startswith("[") and "," in chosen:
            several = f"{override} names several options, but a run has one {group}"
            problems.append(f"{several}; for a run of each: -m {group}={chosen}.")
    return problems


def _unknown_keys(plain: Mapping[str, Any]) -> list[str]:
    """Name the keys of the root that nothing reads, each with the key that may have been meant."""
    known = [*MADE, "data", "features", *TYPED]
    known += [entry.name for entry in dataclasses.fields(RootConfig)]
    dotted = [f"{name}.{entry.name}" for name, kind in TYPED.items() for entry in dataclasses.fields(kind)]
    dotted.remove("trainer.others")
    dotted += [f"{name}.{key}" for name in known if isinstance(section := plain.get(name), Mapping) for key in section]
    problems = []
    for key in plain:
        if key not in known:
            near = [name for name in dotted if name.endswith(f".{key}")] or difflib.get_close_matches(key, known, 1)
            way = f"did you mean {near[0]}?" if near else "python -m genreclf --cfg job shows all keys."
            problems.append(f"There is no key {key}; {hint(key) or way}")
    return problems


def _features_beside_pictures(overrides: Sequence[str]) -> list[str]:
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key == "features" or key in {f"features.{name}" for name in PICTURES_BRING}:
            return [f"Pictures bring their own features; leave out {override} (features.scale may stay)."]
    return []


def _section(plain: Mapping[str, Any], name: str, problems: list[str]) -> Section:
    section = plain.get(name)
    if isinstance(section, dict):
        return section
    problems.append(f"{name} is a group of keys, not {section!r}; choose one with {name}=NAME.")
    return {}


def _typed(kind: type[Any], name: str, values: Mapping[str, Any], problems: list[str]) -> Any:
    """Return `kind` made of `values`, each coerced to its type as Hydra does; note what does not fit."""
    typed, kinds = OmegaConf.structured(kind), get_type_hints(kind)
    whole = True
    for key, value in values.items():
        full_key = f"{name}.{key}" if name else key
        if key not in typed:
            near = difflib.get_close_matches(key, map(str, typed), 1)
            hint = f"did you mean {name}.{near[0]}?" if near else f"the keys of {name} are {', '.join(typed)}."
            problems.append(f"There is no key {full_key}; {hint}")
            continue
        if kinds[key] in (bool, bool | None) and type(value) in (int, float):  # OmegaConf takes any number.
            whole = False
            problems.append(f"{full_key}={shown(value)} must be true or false.")
            continue
        try:
            typed[key] = value
        except OmegaConfBaseException as error:
            whole = False
            problems.append(f"{full_key}={value}: {_first_line(error)}.")
    result: Any = OmegaConf.to_object(typed)
    if whole:
        problems += result.problems()
    return result


def _trainer(section: Section, problems: list[str]) -> TrainerConfig:
    """Return the trainer's section, checked against the signature of Lightning's Trainer."""
    from lightning.pytorch import Trainer

    from genreclf.config import instantiate

    named = {entry.name for entry in dataclasses.fields(TrainerConfig)} - {"others"}
    trainer: TrainerConfig = _typed(
        TrainerConfig, "trainer", {key: section[key] for key in section if key in named}, problems
    )
    others = {key: value for key, value in section.items() if key not in named}
    for key, (fixed, _) in OF_A_RUN.items():
        if key in others and others[key] == fixed:
            del others[key]
    if isinstance(strategy := others.get("strategy"), str) and re.search("spawn|fork|notebook", strategy):
        problems.append(f"trainer.strategy={strategy} starts processes of its own, as a run does already; use ddp.")
    for key in ("accumulate_grad_batches", "check_val_every_n_epoch"):
        if type(number := others.get(key)) is int and number < 1:
            problems.append(f"trainer.{key}={number} must be at least 1.")
    instantiate.find("trainer", {"_target_": trainer._target_, **others}, problems)
    defaults = {name: entry.default for name, entry in inspect.signature(Trainer).parameters.items()}
    trainer.others = {key: value for key, value in others.items() if key not in defaults or value != defaults[key]}
    return trainer


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
