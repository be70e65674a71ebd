"""Restrict the code that the configuration of a run directory, or of a bundle from elsewhere, may name.

A configuration that the user composes is not restricted: it may name any class that Python finds.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from genreclf.config import instantiate
from genreclf.errors import UserError

GROUPS = ("data", "split", "encoder", "model", "loss", "optimizer", "scheduler")
"""Sections of a configuration that name a class or a function."""

_OF_GENRECLF = ("data", "split", "encoder", "model")
"""Groups whose classes derive from a class of genreclf, so that no other class of a module can be meant."""

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def check_trust(
    config: Mapping[str, Any], trust: Sequence[str] | None, *, place: object, groups: Iterable[str] = GROUPS
) -> None:
    """Check that a configuration names only code of genreclf, PyTorch and trusted modules.

    A section may name what genreclf itself defines, the losses of `torch.nn`, the optimizers of `torch.optim`, anything
    in the modules of `trust` and their submodules, and the models, encoders, datasets and splits of modules that are
    already imported. Arguments within a section may name only layers of `torch.nn` in a model, the member models of an
    ensemble, and anything in `trust`. Nothing else is imported.

    Args:
        config: Resolved configuration that was read.
        trust: Modules whose code may run, such as ``my_model``; None if the command has no way to name any.
        place: File or other place that the configuration was read from, for the message.
        groups: Sections that are about to be used.

    Raises:
        UserError: The configuration names other code.
    """
    if isinstance(trust, str):
        raise UserError(f"trust is a list of modules: trust=[{trust!r}].")
    modules = trust or ()
    if unusable := [module for module in modules if not _DOTTED.fullmatch(module)]:
        raise UserError(f"--trust {unusable[0]} is not the name of a module, such as my_model.")
    for group in groups:
        for section in _with_members(config.get(group)) if group == "model" else [config.get(group)]:
            for name in _names(section):
                if not _is_allowed(group, name, modules):
                    raise UserError(_refusal(place, group, name, has_option=trust is not None))
            for name in _nested_names(section):
                if not _is_allowed_within(group, name, modules):
                    raise UserError(_refusal_within(place, group, name, has_option=trust is not None))


def named_by(config: Mapping[str, Any], group: str) -> Any:
    """Return the ``_target_`` of a section of a configuration; None if there is no such section or name."""
    section = config.get(group)
    return section.get("_target_") if isinstance(section, dict) else None


def _with_members(section: Any) -> Iterator[Any]:
    """Yield the section of a model without its members, and the sections of the members that an ensemble creates."""
    members = section.get("members") if isinstance(section, dict) else None
    if isinstance(members, list) and all(isinstance(each, dict) and each.get("_partial_") is True for each in members):
        section = {key: value for key, value in section.items() if key != "members"}
        for member in members:
            yield from _with_members(member)
    yield section


def _names(section: Any) -> list[Any]:
    return [name] if isinstance(section, dict) and (name := section.get("_target_")) is not None else []


def _nested_names(section: Any) -> Iterator[Any]:
    """Yield the names of classes in the arguments of a section, which Hydra instantiates as well."""
    entries = section.values() if isinstance(section, dict) else section if isinstance(section, list) else ()
    for entry in entries:
        yield from _names(entry)
        yield from _nested_names(entry)


def _is_trusted(name: Any, trust: Sequence[str]) -> bool:
    module = name.rpartition(".")[0] if isinstance(name, str) and _DOTTED.fullmatch(name) else ""
    return any(f"{module}.".startswith(f"{trusted}.") for trusted in trust)


def _is_allowed(kind: str, name: Any, trust: Sequence[str]) -> bool:
    if not isinstance(name, str) or not _DOTTED.fullmatch(name):
        return False
    if _is_trusted(name, trust):
        return True
    module, _, attribute = name.rpartition(".")
    if module.startswith("genreclf."):
        return _is_defined_in_genreclf(module, attribute)
    if module in ("torch.nn", "torch.optim"):
        return _is_of_torch(kind, attribute)
    found = vars(sys.modules[module]).get(attribute) if module in sys.modules else None
    return kind in _OF_GENRECLF and instantiate.fits(kind, found)


def _is_allowed_within(group: str, name: Any, trust: Sequence[str]) -> bool:
    """Return whether a nested argument may be instantiated: a layer of `torch.nn` in a model, or a trusted class."""
    import torch

    layer = name.removeprefix("torch.nn.") if isinstance(name, str) and name.startswith("torch.nn.") else ""
    found = vars(torch.nn).get(layer) if group == "model" else None
    return (inspect.isclass(found) and issubclass(found, torch.nn.Module)) or _is_trusted(name, trust)


def _is_defined_in_genreclf(module: str, attribute: str) -> bool:
    try:
        found = vars(importlib.import_module(module)).get(attribute)
    except ImportError:
        return False
    return (inspect.isfunction(found) or inspect.isclass(found)) and found.__module__.startswith("genreclf.")


def _is_of_torch(kind: str, attribute: str) -> bool:
    import torch

    kinds = {"loss": (torch.nn, torch.nn.modules.loss._Loss), "optimizer": (torch.optim, torch.optim.Optimizer)}
    if kind not in kinds:
        return False
    module, base = kinds[kind]
    found = vars(module).get(attribute)
    return inspect.isclass(found) and issubclass(found, base)


def _refusal(place: object, group: str, name: Any, *, has_option: bool) -> str:
    module = str(name).rpartition(".")[0]
    if not isinstance(name, str) or not _DOTTED.fullmatch(module) or module.startswith(("genreclf.", "torch")):
        return f"{place} names {name!r} as {group}, which neither genreclf nor PyTorch has."
    way = f"let it run with --trust {module}, or in Python with trust=[{module!r}]"
    if not has_option:
        way = f"train in Python, with import {module} before genreclf.train"
    return (
        f"{place} names {name}, which is not part of genreclf: read that code, put it where Python finds it, and if "
        f"you trust it, {way}."
    )


def _refusal_within(place: object, group: str, name: Any, *, has_option: bool) -> str:
    if not isinstance(name, str) or not _DOTTED.fullmatch(name):
        return f"{place} names {name!r} within {group}, which is not a class."
    if not has_option:
        return f"{place} names {name} within {group}, where only layers of torch.nn may be named; choose another run."
    module = name.rpartition(".")[0]
    return (
        f"{place} names {name} within {group}, where only layers of torch.nn may be named: if you trust that code, let "
        f"it run with --trust {module}, or in Python with trust=[{module!r}]."
    )
