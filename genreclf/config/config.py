"""The typed and checked configuration of a run; all problems are reported at once.

A section with a ``_target_`` names a class or a function and its arguments; `genreclf.config.instantiate` checks such
sections.
"""

import copy
import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from genreclf.config import instantiate
from genreclf.config.conflicts import left_on, set_by_experiment
from genreclf.config.identity import digest, flat, identity
from genreclf.config.keys import COMBINED, hint, to_be_set, without_package
from genreclf.config.schema import ClipConfig, FeaturesConfig, RootConfig, SplitConfig, TrainerConfig
from genreclf.config.sections import Section, nodes_of, section_of, trainer_section, typed_section
from genreclf.datasets.base import ImageDataset
from genreclf.errors import UserError, first_line
from genreclf.values import value_problems

FEATURES_OF_PICTURES = ("sample_rate", "n_fft", "hop_length", "n_mels", "f_min", "f_max")
"""Features that image datasets define themselves; setting them with ``features=`` as well is an error."""

INSTANTIATED = ("split", "encoder", "model", "loss", "optimizer", "scheduler")
"""Sections that name a class or a function, except ``data``, which also contains the keys of `ClipConfig`."""

BUNDLED = (("model", "dropout"), ("loss", "label_smoothing"), ("optimizer", "weight_decay"))
"""Keys that ``regularization`` sets for every class; a key that the class lacks is dropped with a warning."""


@dataclass
class Config:
    """Checked configuration of a run; sections that are plain dictionaries hold a ``_target_`` and its arguments."""

    data: Section
    clips: ClipConfig
    split: Section
    subsets: SplitConfig
    """How the subsets of the split are used."""
    features: FeaturesConfig
    encoder: Section
    """Pretrained encoder; for a network trained from scratch, its ``_target_`` is None and ``config.yaml`` omits it."""
    model: Section
    loss: Section
    optimizer: Section
    scheduler: Section
    augmentation: dict[str, Section]
    """Augmentations by name, in the order in which they are applied."""
    callbacks: dict[str, Section]
    trainer: TrainerConfig
    logger: dict[str, Section]
    robustness: dict[str, Section]
    """Changes of the test tracks whose effect ``evaluate`` measures; omitted from ``config.yaml`` if there are none."""
    seed: int
    run_dir: str
    init_from: str | None
    ckpt_path: str | None
    refit: str | None
    """Finished run to repeat with its validation tracks added to the training tracks."""
    compare_with: str | None
    """Finished run whose accuracy is compared with that of this run in the report."""
    debug: bool
    warnings: list[str]
    """Sentences about settings whose effect a user may not expect."""

    @classmethod
    def from_hydra(cls, config: DictConfig, *, run_dir: str, overrides: Sequence[str] = ()) -> "Config":
        """Check a configuration composed by Hydra.

        Args:
            config: Composed configuration.
            run_dir: Run directory to use if the configuration does not set one.
            overrides: Overrides that the user typed, which distinguish explicit settings from defaults.

        Raises:
            UserError: The configuration cannot be used; the message lists all problems, one sentence each.
        """
        try:
            raw: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
            if missing := sorted(key for key, value in flat(raw).items() if value == MISSING):
                raise UserError("\n".join(to_be_set(key, overrides) for key in missing))
            plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        except MissingMandatoryValue as error:  # Within a list.
            raise UserError(to_be_set(str(error.full_key), overrides)) from error
        except OmegaConfBaseException as error:
            raise UserError(f"{error.full_key or 'The configuration'}: {first_line(error)}") from error
        if plain.get("run_dir") == "":
            raise UserError("run_dir is empty; give it a value, or leave it out.")
        if plain.get("run_dir") is None:
            plain["run_dir"] = run_dir
        return cls.from_plain(plain, overrides=overrides)

    @classmethod
    def from_plain(cls, plain: dict[str, Any], *, overrides: Sequence[str] = ()) -> "Config":
        """Check a resolved configuration, such as the content of a ``config.yaml``; see `from_hydra`."""
        plain = {"encoder": {"_target_": None}, "robustness": {}, **plain}  # These may be omitted.
        values = {**plain, "run_dir": plain.get("run_dir") or "-"}
        if problems := [*_unknown_keys(plain, overrides), *value_problems(values)]:
            raise UserError("\n".join(dict.fromkeys(problems)))
        plain = copy.deepcopy(plain)
        warnings = _without_effect(plain, overrides)
        data, clips = _divided(ClipConfig, "data", plain, problems)
        split, subsets = _divided(SplitConfig, "split", plain, problems)
        made = {name: plain.get(name) for name in INSTANTIATED} | {"data": data, "split": split}
        problems += set_by_experiment(made, overrides)
        features = _features(plain, data, overrides, problems)
        root = {entry.name: plain[entry.name] for entry in dataclasses.fields(RootConfig) if entry.name in plain}
        checked = typed_section(RootConfig, "", root, problems)
        trainer = trainer_section(section_of(plain, "trainer", problems), problems)
        problems += left_on(plain, overrides)
        plain |= {group: nodes_of(plain, group, problems) for group in COMBINED}
        sections: dict[str, Any] = {group: plain[group] for group in COMBINED}
        sections |= {name: section_of(plain, name, problems) for name in INSTANTIATED if name != "split"}
        config = cls(
            data=data,
            clips=clips,
            features=typed_section(FeaturesConfig, "features", features, problems),
            split=split,
            subsets=subsets,
            trainer=trainer,
            **sections,
            **vars(checked),
            warnings=[*warnings, *trainer.warnings()],
        )
        for name in INSTANTIATED:
            instantiate.find(name, getattr(config, name), problems)
        problems += config._problems()
        if problems:
            raise UserError("\n".join(dict.fromkeys(problems)))
        return config

    def _problems(self) -> list[str]:
        if self.init_from is not None and self.ckpt_path is not None:
            return ["init_from and ckpt_path each say where training starts; leave one of them out."]
        if self.refit is not None and self.ckpt_path is not None:
            return ["refit trains anew on other tracks than ckpt_path continues with; omit one of them."]
        if self.subsets.unseen and self.init_from is None and self.ckpt_path is None:
            return [
                "split.unseen=true leaves out the test tracks that an earlier run has seen, and there is none: set "
                "init_from, use the command evaluate, or leave split.unseen out."
            ]
        return []

    @property
    def is_pretrained(self) -> bool:
        """Whether the network, or the encoder that computes its input, has weights trained on other data."""
        return self.encoder.get("_target_") is not None and self.model.get("pretrained", True) is True

    @property
    def takes(self) -> str:
        """Input of the network: ``log_mel``, ``waveform`` or ``embedding``."""
        return instantiate.input_of(self.model, self.encoder)

    @property
    def plain(self) -> dict[str, Any]:
        """The configuration as plain data, as it is written to ``config.yaml``."""
        root = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(RootConfig)}
        made = {name: copy.deepcopy(getattr(self, name)) for name in (*INSTANTIATED, *COMBINED)}
        made["split"] |= dataclasses.asdict(self.subsets)
        if self.encoder.get("_target_") is None:
            del made["encoder"]
        if not self.robustness:
            del made["robustness"]
        data = {**copy.deepcopy(self.data), **dataclasses.asdict(self.clips)}
        if self.clips.genre_map is None:  # Runs of earlier versions stay the same experiment.
            del data["genre_map"]
        features = dataclasses.asdict(self.features)
        return {**root, "features": features, **made, "trainer": self.trainer.plain(), "data": data}

    @property
    def hash(self) -> str:
        """Hash of the settings that define the experiment, see `genreclf.config.identity.identity`."""
        return digest(identity(self.plain))[:16]


def _without_effect(plain: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Remove the `BUNDLED` keys that a class does not have, unless the user typed them; return a warning for each."""
    typed = {override.lstrip("+").partition("=")[0] for override in overrides}
    warnings = []
    for group, key in BUNDLED:
        section = plain.get(group)
        if not isinstance(section, dict) or key not in section or f"{group}.{key}" in typed:
            continue
        if instantiate.find(group, section, []) and not instantiate.accepts(group, section, key):
            name = section["_target_"].rpartition(".")[2]
            warnings.append(f"{name} has no {key} of its own to set: {group}.{key}={section.pop(key)} has no effect.")
    return warnings


def _unknown_keys(plain: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Return a sentence for each unknown key of the root, with the key that may have been meant."""
    known = [*INSTANTIATED, "data", "features", "trainer", *COMBINED]
    known += [entry.name for entry in dataclasses.fields(RootConfig)]
    dotted = list(flat({name: plain.get(name) for name in known}))
    chosen = [override for override in overrides if override.startswith(("experiment=", "sweep="))]
    files = {override.partition("=")[0]: override.replace("=", "/") for override in chosen}
    problems = []
    for key in plain:
        if key in files:
            problems.append(without_package(files[key]))
        elif key not in known:
            near = [name for name in dotted if name.endswith(f".{key}")] or difflib.get_close_matches(key, known, 1)
            way = f"did you mean {near[0]}?" if near else "python -m genreclf --cfg job shows all keys."
            names = section if isinstance(section := plain[key], Mapping) else ()
            ways = [*filter(None, (hint(f"{key}.{name}") for name in names)), way]
            problems.append(f"There is no key {key}; {ways[0]}")
    return problems


def _divided(kind: type[Any], name: str, plain: Mapping[str, Any], problems: list[str]) -> tuple[Section, Any]:
    """Split a section into the keys that are not fields of the dataclass `kind`, and an instance of `kind`."""
    section = section_of(plain, name, problems)
    keys = {entry.name for entry in dataclasses.fields(kind)}
    typed = {key: value for key, value in section.items() if key in keys}
    others = {key: value for key, value in section.items() if key not in keys}
    return others, typed_section(kind, name, typed, problems)


def _features(plain: Mapping[str, Any], data: Section, overrides: Sequence[str], problems: list[str]) -> Section:
    """Return the section ``features`` with None for each feature that the images or the network's input determine."""
    features = dict(section_of(plain, "features", problems))
    model, encoder_section = section_of(plain, "model", []), section_of(plain, "encoder", [])
    dataset = instantiate.find("data", data, problems)
    takes = instantiate.input_of(model, encoder_section)
    encoder = instantiate.find("encoder", encoder_section, problems)
    if takes == "waveform" or (takes == "embedding" and getattr(encoder, "sample_rate", None)):
        brought = FEATURES_OF_PICTURES if encoder is not None else FEATURES_OF_PICTURES[1:]
        problems += _features_beside(overrides, brought, "What the network takes has no such features")
        if features.get("scale") != "standardize":
            problems.append("features.scale is for spectrograms, and the network takes none: leave it out.")
        return features | dict.fromkeys(brought)
    if isinstance(dataset, type) and issubclass(dataset, ImageDataset):
        problems += _features_beside(overrides, FEATURES_OF_PICTURES, "Pictures bring their own features")
        return features | dict.fromkeys(FEATURES_OF_PICTURES)
    return features


def _features_beside(overrides: Sequence[str], brought: Sequence[str], reason: str) -> list[str]:
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key == "features" or key in {f"features.{name}" for name in brought}:
            return [f"{reason}; leave out {override} (features.scale may stay)."]
    return []


def _clip_s(*, _root_: DictConfig) -> float:
    """Return the length of a clip in seconds, or the default length if ``data.clip_seconds`` is not a number."""
    given = OmegaConf.select(_root_, "data.clip_seconds")
    return float(given if isinstance(given, int | float) else ClipConfig().clip_seconds)


OmegaConf.register_new_resolver("clip_s", _clip_s, replace=True)
