"""Settings that contradict each other: what one option sets is not wanted, or not known, by another one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from genreclf.config import instantiate
from genreclf.config.keys import COMBINED, CONFIG_DIR

ADDING = ("experiment", "regularization")
"""Groups whose options may add classes to the groups in `COMBINED`."""

NOTHING = ("", "none", "null", "[none]", "[]")
"""Choices of a group for which it adds nothing."""


def left_on(plain: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Remove the classes that are on although the user typed ``GROUP=none``; return a sentence for each such group.

    Args:
        plain: Composed configuration, from which the classes are removed.
        overrides: Overrides that the user typed; a class of which one sets a key is wanted.
    """
    typed = _by_key(overrides)
    off = {key for key, word in typed.items() if word.partition("=")[2].strip() in NOTHING}
    adding = [typed[group] for group in ADDING if group in typed.keys() - off]
    adds = f"{_series(adding)} {'adds' if len(adding) == 1 else 'add'}" if adding else "other options add"
    problems = []
    for group in COMBINED:
        if group not in off or not isinstance(section := plain.get(group), dict):
            continue
        wanted = {key.split(".")[1] for key in typed if key.startswith(f"{group}.")}
        names = [name for name, node in section.items() if node is not None and name not in wanted]
        if names:
            ways = " ".join(f"{group}.{name}=null" for name in names)
            problems.append(f"{typed[group]} leaves {_series(names)} on, which {adds}: set {ways}.")
        for name in names:
            del section[name]
    return problems


def set_by_experiment(sections: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Remove the keys that the chosen experiment sets and that the class of their section lacks.

    Experiments of the user's own are not looked at.

    Args:
        sections: Sections with a ``_target_`` by group, from which the keys are removed.
        overrides: Overrides that the user typed; keys that they set are kept.

    Returns:
        A sentence for each section from which keys were removed.
    """
    typed = _by_key(overrides)
    word = typed.get("experiment", "")
    chosen, keys = _experiment(word.partition("=")[2])
    problems = []
    for group, section in sections.items():
        target = instantiate.find(group, section, []) if group in keys and isinstance(section, dict) else None
        if target is None:
            continue
        strange = [key for key in keys[group] if key in section.keys() - instantiate.arguments(target)]
        if lacking := [key for key in strange if f"{group}.{key}" not in typed]:
            of = f" for {group}={chosen[group]}" if group in chosen else ""
            names = _series([f"{group}.{key}" for key in lacking])
            name = section["_target_"].rpartition(".")[2]
            problems.append(f"{word} sets {names}{of}, and {name} has no such key: leave {word} out.")
        for key in lacking:
            del section[key]
    return problems


def _experiment(name: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the options that an experiment of genreclf and its bases choose, by group, and the keys that they set."""
    path = Path(CONFIG_DIR, "experiment", f"{name}.yaml")
    chosen: dict[str, str] = {}
    keys: dict[str, list[str]] = {}
    content: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    for entry in content.pop("defaults", ()):
        if isinstance(entry, dict):
            chosen |= {group.removeprefix("override /"): option for group, option in entry.items()}
        elif entry.startswith("/experiment/"):
            of_base, keys = _experiment(entry.removeprefix("/experiment/"))
            chosen |= of_base
    for group, section in content.items():
        if isinstance(section, dict):
            keys[group] = list(dict.fromkeys([*keys.get(group, ()), *section]))
    return chosen, keys


def _by_key(overrides: Sequence[str]) -> dict[str, str]:
    return {word.lstrip("+~").partition("=")[0]: word for word in overrides}


def _series(words: Sequence[str]) -> str:
    """Return words as in a sentence: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
