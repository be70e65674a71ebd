"""Check the sections of a resolved configuration and convert them to typed ones; all problems are collected."""

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genreclf.config import instantiate
from genreclf.config.keys import SET_BY_THE_RUN
from genreclf.config.schema import TrainerConfig, leaves_out
from genreclf.errors import first_line
from genreclf.values import shown

Section = dict[str, Any]

LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "val_check_interval": 1,
    "log_every_n_steps": 0,
    "min_epochs": 0,
    "min_steps": 0,
    "num_sanity_val_steps": -1,
}
"""Minimum values of arguments of the Trainer that Lightning itself does not check."""


def section_of(plain: Mapping[str, Any], name: str, problems: list[str]) -> Section:
    """Return a section; if it is not a dictionary, add the problem to `problems` and return an empty section."""
    section = plain.get(name)
    if isinstance(section, dict):
        return section
    problems.append(f"{name} is a group of keys, not {section!r}; choose one with {name}=NAME.")
    return {}


def typed_section(kind: type[Any], name: str, values: Mapping[str, Any], problems: list[str]) -> Any:
    """Create an instance of a dataclass from the values of a section, converted to the field types as Hydra does.

    Args:
        kind: Dataclass with a method ``problems``.
        name: Name of the section; empty for the root.
        values: Values of the section.
        problems: List to which a sentence is added for each value that does not fit.
    """
    typed, kinds = OmegaConf.structured(kind), get_type_hints(kind)
    whole = True
    for key, value in values.items():
        full_key = f"{name}.{key}" if name else key
        if key not in typed:
            near = difflib.get_close_matches(key, map(str, typed), 1)
            hint = f"did you mean {name}.{near[0]}?" if near else f"the keys of {name} are {', '.join(typed)}."
            problems.append(f"There is no key {full_key}; {hint}")
            continue
        if kinds[key] in (bool, bool | None) and type(value) in (int, float):  # OmegaConf accepts any number.
            whole = False
            problems.append(f"{full_key}={shown(value)} must be true or false.")
            continue
        if kinds[key] in (str, str | None) and type(value) is bool:  # OmegaConf would convert it to text.
            whole = False
            problems.append(f"{full_key}={shown(value)} must be text; quote it if it is meant so.")
            continue
        try:
            typed[key] = value
        except OmegaConfBaseException as error:
            whole = False
            problems.append(f"{full_key}={value}: {first_line(error)}.")
    result: Any = OmegaConf.to_object(typed)
    if whole:
        problems += result.problems()
    return result


def trainer_section(section: Section, problems: list[str]) -> TrainerConfig:
    """Return the section ``trainer``, checked against the signature of Lightning's Trainer.

    Args:
        section: Section as the user configured it.
        problems: List to which a sentence is added for each problem.
    """
    from lightning.pytorch import Trainer

    named = {entry.name for entry in fields(TrainerConfig)} - {"others"}
    trainer: TrainerConfig = typed_section(
        TrainerConfig, "trainer", {key: section[key] for key in section if key in named}, problems
    )
    others = {key: value for key, value in section.items() if key not in named}
    for key, (fixed, _) in SET_BY_THE_RUN.items():
        if key in others and others[key] == fixed:
            del others[key]
    for key, least in LEAST.items():
        if type(number := others.get(key)) is int and number < least:
            problems.append(f"trainer.{key}={number} must be at least {least}.")
    if others.get("max_steps") == 0:
        problems.append("trainer.max_steps=0 trains nothing; set at least 1, or -1 for no limit.")
    fewest, most = others.get("min_epochs"), trainer.max_epochs
    if isinstance(fewest, int) and isinstance(most, int) and fewest > most:
        problems.append(f"trainer.min_epochs={fewest} is more than trainer.max_epochs={most}.")
    for key in ("limit_train_batches", "limit_val_batches"):
        if others.get("overfit_batches") and leaves_out(getattr(trainer, key)):
            problems.append(f"trainer.overfit_batches and trainer.{key} exclude each other; leave one out.")
    instantiate.find("trainer", {"_target_": trainer._target_, **others}, problems)
    defaults = {name: entry.default for name, entry in inspect.signature(Trainer).parameters.items()}
    trainer.others = {key: value for key, value in others.items() if key not in defaults or value != defaults[key]}
    return trainer


def nodes_of(plain: Mapping[str, Any], group: str, problems: list[str]) -> dict[str, Section]:
    """Return the sections of the classes in a group that combines several, by name; classes set to null are left out.

    Problems of the sections are added to `problems`.
    """
    nodes = {name: node for name, node in section_of(plain, group, problems).items() if node is not None}
    if "_target_" in nodes:
        problems.append(
            f"{group}._target_={shown(nodes['_target_'])}: {group} holds several classes, each below a name; write "
            f"{group}.NAME._target_=..., or in a file NAME: with _target_ below it."
        )
        return {}
    for name, node in nodes.items():
        if isinstance(node, dict):
            instantiate.find(f"{group}.{name}", node, problems)
        else:
            problems.append(f"{group}.{name}={shown(node)} is not a class; null turns it off, {group}=NAME on.")
    return nodes
