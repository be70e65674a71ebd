"""Settings that contradict each other: what one option sets is not wanted, or not known, by another one."""

from collections.abc import Mapping, Sequence
from typing import Any

from genreclf.config.keys import COMBINED

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
    typed = {word.lstrip("+~").partition("=")[0]: word for word in overrides}
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


def _series(words: Sequence[str]) -> str:
    """Return words as in a sentence: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
