"""Create the object that the ``_target_`` of a section names, or explain in a sentence why it cannot be created.

Only classes of the kind that a group requires are ever called. To find a class, its module is imported, which runs the
module's code: a configuration from elsewhere must be checked by `genreclf.config.trust` first.
"""

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf.errors import OmegaConfBaseException

from genreclf.config.keys import COMBINED, SET_BY_THE_RUN, hint
from genreclf.errors import FULL, UserError
from genreclf.run_directory import reason_of
from genreclf.values import argument_problems, shown

GIVEN = {
    "data": (),
    "split": (),
    "model": ("spec", "genres", "scale", "encoder", "loss", "augment", "optimizer", "scheduler"),
    "loss": ("genre_counts",),
    "optimizer": ("params",),
    "scheduler": ("optimizer", "steps"),
    "trainer": tuple(SET_BY_THE_RUN),
}
"""Arguments that the run passes itself, by group; a configuration cannot set them."""

FACTORIES = ("loss", "optimizer", "scheduler")
"""Groups whose objects get their last arguments from the run, and therefore use ``_partial_: true``."""

INPUTS = ("log_mel", "waveform", "embedding", "encoder")
"""Inputs that a model may take, see `genreclf.training.module.GenreClassifier.takes`."""

HYDRA_KEYS = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")
"""Keys of `hydra.utils.instantiate`, which every section may have."""

ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError),
)
"""Exceptions that a class may raise if its arguments cannot be used, in addition to Lightning's own."""

KINDS = {
    "data": "genreclf.datasets.base.Dataset",
    "split": "genreclf.splits.base.Splitter",
    "encoder": "genreclf.models.encoders.base.Encoder",
    "model": "genreclf.models.GenreClassifier",
    "loss": "torch.nn.Module",
    "optimizer": "torch.optim.Optimizer",
    "augmentation": "torch.nn.Module",
    "callbacks": "lightning.pytorch.Callback",
    "logger": "lightning.pytorch.loggers.Logger",
    "robustness": "genreclf.audio.transforms.Transformation",
    "trainer": "lightning.pytorch.Trainer",
}
"""Base class of the classes of each group; schedulers are functions instead."""

OF_LIGHTNING = {
    "data": (
        "LightningDataModule",
        "; data names a dataset, a subclass of genreclf.datasets.base.AudioDataset or ImageDataset, from which the run "
        "makes its own data module (docs/extending.md)",
    ),
    "model": ("LightningModule", ", but a model must subclass genreclf.models.GenreClassifier (docs/extending.md)"),
}
"""Classes of Lightning that users may take for the kind of a group, each with what the group requires instead."""


def find(group: str, section: Mapping[str, Any], problems: list[str]) -> Callable[..., Any] | None:
    """Return the class or function that a section names, and add the problems of it and its arguments to `problems`.

    Args:
        group: Name of the section. In a group that combines several classes, it includes the name of the class, as in
            ``callbacks.ema``.
        section: Section with a ``_target_`` and its arguments.
        problems: List to which a sentence is added for each problem.

    Returns:
        The class or function; None if there is none, or it is not of the kind that the group requires.

    Raises:
        UserError: The module's own code fails when it is imported.
    """
    name = section.get("_target_")
    if name is None:
        if group not in ("scheduler", "encoder"):
            whole, _, name_in_it = group.partition(".")
            way = f"set {group}._target_, or add the option that sets it to {whole}=[NAME,...]"
            problems.append(f"{group} has no _target_; {way if name_in_it else f'choose one with {whole}=NAME'}.")
        return None
    module_name, _, attribute = str(name).rpartition(".")
    try:
        target = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        top = module_name.partition(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and error.name == top
        way = f"; if it is yours, add the folder that holds {top} to PYTHONPATH" if absent else ""
        problems.append(f"{group}._target_={name} cannot be imported ({error}){way}.")
        return None
    except Exception as error:  # The module's own code may raise anything.
        raise UserError(f"{group}._target_={name} cannot be imported ({reason_of(error)}).") from error
    if not fits(group, target):
        problems.append(f"{group}._target_={name} {_mistaken(group, target)}.")
        return None
    if not isinstance(partial := section.get("_partial_", False), bool):
        problems.append(f"{group}._partial_={shown(partial)} must be true or false.")
    elif partial and group not in FACTORIES:
        problems.append(f"{group}._partial_=true: a run needs the {group} itself; leave it out.")
    elif "_partial_" in section and not partial and group in FACTORIES:
        problems.append(f"{group}._partial_=false: the {group} is made within the run; leave it true.")
    known, given = arguments(target), GIVEN.get(group, ())
    for key in () if takes_any(group, target) else section:
        if key not in HYDRA_KEYS and (key not in known or key in given):
            settable = sorted(known - set(given))
            near = difflib.get_close_matches(key, settable, 1)
            way = f"did you mean {group}.{near[0]}?" if near else f"its keys are {', '.join(settable) or 'none'}."
            elsewhere = None if group.partition(".")[0] in COMBINED else hint(f"{group}.{key}")
            problems.append(f"{group}.{key} is not a key of {attribute}; {elsewhere or way}")
    plain = {key: value for key, value in section.items() if key in known and not is_node(value)}
    problems += argument_problems(group, target, plain)
    return target  # type: ignore[no-any-return]


def make(group: str, section: Mapping[str, Any], **given: Any) -> Any:
    """Create the object that a checked section names, with additional arguments.

    Args:
        group: Name of the section.
        section: Section with a ``_target_`` and its arguments.
        **given: Arguments that the section does not set.

    Raises:
        UserError: The section has a problem, or the class refuses its arguments.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    problems: list[str] = []
    find(group, section, problems)
    if problems:
        raise UserError(problems[0])
    factory = _instantiate(group, {**section, "_partial_": True})
    try:
        return factory(**given)
    except (InstantiationException, MisconfigurationException, *ERRORS) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        name = str(section["_target_"]).rpartition(".")[2]
        chosen = (f"{key}={shown(value)}" for key, value in section.items() if key not in HYDRA_KEYS)
        settings = ", ".join(chosen) or "its defaults"
        reason = re.sub("^(ValueError|TypeError|MisconfigurationException): ", "", reason_of(error)).rstrip(".")
        raise UserError(f"{group}: {name} cannot be made of {settings}: {reason}.") from error


def make_model(section: Mapping[str, Any], encoder: Mapping[str, Any], **given: Any) -> Any:
    """Create the model that a checked section names, with a pretrained encoder if the model takes one.

    The pretrained weights of the encoder are not loaded yet, see `genreclf.models.encoders.base.Encoder.load`.

    Args:
        section: Section of the model.
        encoder: Section of the encoder.
        **given: Arguments of the model that its section does not set.

    Raises:
        UserError: The model cannot be created, see `make`, or it requires an encoder and none is chosen.
    """
    if accepts("model", section, "encoder") and (requires("model", section, "encoder") or encoder.get("_target_")):
        given["encoder"] = make_encoder(section, encoder)
    return make("model", section, **given)


def make_encoder(model: Mapping[str, Any], encoder: Mapping[str, Any]) -> Any:
    """Create the encoder that a model needs, without its pretrained weights; raise `UserError` if none is chosen."""
    if encoder.get("_target_") is None:
        name = str(model["_target_"]).rpartition(".")[2]
        raise UserError(f"{name} needs a pretrained encoder: choose one with encoder=NAME.")
    return make("encoder", encoder)


def input_of(model: Mapping[str, Any], encoder: Mapping[str, Any]) -> str:
    """Return the input that the model of a configuration takes: ``log_mel``, ``waveform`` or ``embedding``."""
    while members := model.get("members"):  # All members of an ensemble take the same input.
        model = members[0]
    network = find("model", model, [])
    takes: str = getattr(network, "takes", "log_mel")
    if takes not in INPUTS:
        name = getattr(network, "__name__", "")
        raise UserError(f"model: takes={shown(takes)} of {name} is not one of {', '.join(INPUTS)}.")
    if takes == "encoder":
        rate = getattr(find("encoder", encoder, []), "sample_rate", None)
        return "log_mel" if rate is None else "waveform"
    return takes


def is_node(value: Any) -> bool:
    """Return whether a value is a section with a ``_target_``, or a list that contains one."""
    return any(map(is_node, value)) if isinstance(value, list) else isinstance(value, Mapping) and "_target_" in value


def make_nodes(group: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section in which each value with a ``_target_`` is replaced by the object that it describes.

    Raises:
        UserError: An object cannot be created.
    """
    return {**section, **_instantiate(group, {key: value for key, value in section.items() if is_node(value)})}


def _instantiate(group: str, section: Mapping[str, Any]) -> Any:
    """Call `hydra.utils.instantiate`, and turn its errors into a `UserError`."""
    try:
        return hydra.utils.instantiate({"_convert_": "all", **section})
    except (InstantiationException, OmegaConfBaseException, TypeError) as error:
        cause, key = error.__cause__, re.search(r"full_key: (\S+)", str(error))
        reason = reason_of(cause if isinstance(cause, Exception) else str(error).partition("full_key: ")[0])
        raise UserError(f"{f'{group}.{key[1]}' if key else group} cannot be made: {reason.rstrip('.:')}.") from error


def takes_any(group: str, target: Callable[..., Any]) -> bool:
    """Return whether a third-party class, in a group that combines classes, accepts arbitrary keyword arguments."""
    if group.partition(".")[0] not in COMBINED or target.__module__.startswith("genreclf."):
        return False
    return any(entry.kind is entry.VAR_KEYWORD for entry in inspect.signature(target).parameters.values())


def accepts(group: str, section: Mapping[str, Any], key: str) -> bool:
    """Return whether the class or function that a section names has an argument `key`."""
    target = find(group, section, [])
    return target is not None and key in arguments(target)


def requires(group: str, section: Mapping[str, Any], key: str) -> bool:
    """Return whether the class or function that a section names has an argument `key` without a default."""
    target = find(group, section, [])
    entry = None if target is None else inspect.signature(target).parameters.get(key)
    return entry is not None and entry.default is entry.empty


def lacking(group: str, section: Mapping[str, Any], given: Iterable[str]) -> list[str]:
    """Return the sorted names of the required arguments that a section does not set and that are not in `given`."""
    target = find(group, section, [])
    if target is None or "_args_" in section:
        return []
    return sorted(key for key in arguments(target).difference(section, given) if requires(group, section, key))


def arguments(target: Callable[..., Any]) -> set[str]:
    """Return the names of the arguments, including those of base classes to which ``**kwargs`` are passed on."""
    owners = target.__mro__ if isinstance(target, type) else (target,)
    names: set[str] = set()
    for owner in owners:
        function = owner.__dict__.get("__init__") if isinstance(owner, type) else owner
        if function is None:
            continue
        parameters = [entry for entry in inspect.signature(function).parameters.values() if entry.name != "self"]
        names |= {entry.name for entry in parameters if entry.kind not in (entry.VAR_KEYWORD, entry.VAR_POSITIONAL)}
        if not any(entry.kind is entry.VAR_KEYWORD for entry in parameters):
            break
    return names


def _kind(group: str) -> type | None:
    name = KINDS.get(group.partition(".")[0])
    return None if name is None else hydra.utils.get_class(name)


def fits(group: str, target: Any) -> bool:
    """Return whether an object is of the kind that a group requires: a class, or for the scheduler a function."""
    kind = _kind(group)
    if kind is None:
        return inspect.isfunction(target) and {"optimizer", "steps"} <= arguments(target)
    return isinstance(target, type) and issubclass(target, kind)


def _mistaken(group: str, target: Any) -> str:
    """Return how an object differs from the kind that a group requires, as the end of a sentence."""
    name, way = OF_LIGHTNING.get(group, (None, ""))
    if name and isinstance(target, type) and issubclass(target, hydra.utils.get_class(f"lightning.pytorch.{name}")):
        return f"is a {name}{way}"
    kind = _kind(group)
    return f"is not a {'function of an optimizer and steps' if kind is None else f'{kind.__module__}.{kind.__name__}'}"
