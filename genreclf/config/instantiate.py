"""Make the object that the ``_target_`` of a section names, or say in a sentence why it cannot be made.

Only classes of the kind a group asks for are ever called. To find one, its module is imported, which runs that module's
code: a configuration from elsewhere is checked by `genreclf.config.trust` before.
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
from genreclf.errors import UserError
from genreclf.run_directory import FULL, reason_of
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
"""Arguments that the experiment gives; a configuration does not set them."""

FACTORIES = ("loss", "optimizer", "scheduler")
"""Groups whose objects get their last arguments from the run, so that they are made with ``_partial_: true``."""

INPUTS = ("log_mel", "waveform", "embedding", "encoder")
"""What a model may take, see `genreclf.training.module.GenreClassifier.takes`."""

HYDRA_KEYS = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")
"""Keys of `hydra.utils.instantiate`, which any section may have."""

ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError),
)
"""What a class raises that cannot be made of its arguments, besides Lightning's own."""

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
"""What the classes of a group derive from; a scheduler is a function."""


def find(group: str, section: Mapping[str, Any], problems: list[str]) -> Callable[..., Any] | None:
    """Return what the section of a group names; note in `problems` what is wrong with it or with its arguments.

    In a group whose classes combine, `group` includes the name of the class, as in ``callbacks.ema``.
    """
    name = section.get("_target_")
    if name is None:
        if group not in ("scheduler", "encoder"):
            problems.append(f"{group} has no _target_; choose one with {group.partition('.')[0]}=NAME.")
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
    except Exception as error:  # Of the module's own code, which may raise any.
        raise UserError(f"{group}._target_={name} cannot be imported ({reason_of(error)}).") from error
    if not fits(group, target):
        problems.append(f"{group}._target_={name} is not a {_kind_name(group)}.")
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
    """Make the object that a checked section names, with `given` arguments; raise `UserError` if it refuses them."""
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
    """Return the model that a checked section names, with a pretrained encoder if it takes one.

    The encoder has no pretrained weights yet, see `genreclf.models.encoders.base.Encoder.load`.

    Raises:
        UserError: See `make`; or the model takes an encoder, and none is chosen.
    """
    if accepts("model", section, "encoder") and (requires("model", section, "encoder") or encoder.get("_target_")):
        given["encoder"] = make_encoder(section, encoder)
    return make("model", section, **given)


def make_encoder(model: Mapping[str, Any], encoder: Mapping[str, Any]) -> Any:
    """Return the pretrained encoder that a model needs, without its weights, or raise `UserError`."""
    if encoder.get("_target_") is None:
        name = str(model["_target_"]).rpartition(".")[2]
        raise UserError(f"{name} needs a pretrained encoder: choose one with encoder=NAME.")
    return make("encoder", encoder)


def input_of(model: Mapping[str, Any], encoder: Mapping[str, Any]) -> str:
    """Return what the network of a configuration is given: ``log_mel``, ``waveform`` or ``embedding``."""
    while members := model.get("members"):  # Those of an ensemble all take the same.
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
    """Return whether a value names a class to be made, or is a list of such values."""
    return any(map(is_node, value)) if isinstance(value, list) else isinstance(value, Mapping) and "_target_" in value


def make_nodes(group: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section with its object for each value that names a class; `UserError` if one cannot be made."""
    return {**section, **_instantiate(group, {key: value for key, value in section.items() if is_node(value)})}


def _instantiate(group: str, section: Mapping[str, Any]) -> Any:
    """Do what `hydra.utils.instantiate` does, and say in a sentence what cannot be made."""
    try:
        return hydra.utils.instantiate({"_convert_": "all", **section})
    except (InstantiationException, OmegaConfBaseException, TypeError) as error:
        cause, key = error.__cause__, re.search(r"full_key: (\S+)", str(error))
        reason = reason_of(cause if isinstance(cause, Exception) else str(error).partition("full_key: ")[0])
        raise UserError(f"{f'{group}.{key[1]}' if key else group} cannot be made: {reason.rstrip('.:')}.") from error


def takes_any(group: str, target: Callable[..., Any]) -> bool:
    """Return whether a third-party class, in a group whose classes combine, passes on arguments it does not name."""
    if group.partition(".")[0] not in COMBINED or target.__module__.startswith("genreclf."):
        return False
    return any(entry.kind is entry.VAR_KEYWORD for entry in inspect.signature(target).parameters.values())


def accepts(group: str, section: Mapping[str, Any], key: str) -> bool:
    """Return whether what a section names has an argument `key`."""
    target = find(group, section, [])
    return target is not None and key in arguments(target)


def requires(group: str, section: Mapping[str, Any], key: str) -> bool:
    """Return whether what a section names has an argument `key` without a default."""
    target = find(group, section, [])
    entry = None if target is None else inspect.signature(target).parameters.get(key)
    return entry is not None and entry.default is entry.empty


def lacking(group: str, section: Mapping[str, Any], given: Iterable[str]) -> list[str]:
    """Return the arguments without a default that a section does not set, but for those `given` to it later, sorted."""
    target = find(group, section, [])
    if target is None or "_args_" in section:
        return []
    return sorted(key for key in arguments(target).difference(section, given) if requires(group, section, key))


def arguments(target: Callable[..., Any]) -> set[str]:
    """Return the names of the arguments, those of base classes too where the class passes them on."""
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
    """Return whether an object is of the kind that a group asks for."""
    kind = _kind(group)
    if kind is None:
        return inspect.isfunction(target) and {"optimizer", "steps"} <= arguments(target)
    return isinstance(target, type) and issubclass(target, kind)


def _kind_name(group: str) -> str:
    kind = _kind(group)
    return "function of an optimizer and steps" if kind is None else f"{kind.__module__}.{kind.__name__}"
