"""Complete a command line that is being typed, for Hydra's completion scripts of the shells."""

import importlib
import os
from collections.abc import Iterable

from genreclf.cli import COMMANDS, OVERRIDDEN
from genreclf.cli.list import groups, options


def complete() -> bool:
    """Print what completes the line in ``COMP_LINE``: commands, their options, the options of a group.

    Returns:
        Whether Hydra should add the keys and groups of the configuration; ``COMP_LINE`` then holds a line that it
        understands.
    """
    *words, current = os.environ.get("COMP_LINE", "").split(" ")
    words = [word for word in words[1:] if word]
    print("\n".join(completions(words, current)))
    command = words[0] if words and words[0] in COMMANDS else "train"
    if command not in OVERRIDDEN or current.startswith("-") or _group_of(current) in groups():
        return False
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    os.environ["COMP_LINE"] = " ".join(["genreclf", *overrides, current])
    return True


def completions(words: Iterable[str], current: str) -> list[str]:
    """Return what a word that stands behind others can become, but for the keys and groups that Hydra completes."""
    words = list(words)
    command = words[0] if words and words[0] in COMMANDS else "train"
    if (group := _group_of(current)) in groups():
        found = [f"{group}={name}" for name in options(group)] if command in OVERRIDDEN else []
    elif command == "list":
        found = groups()
    elif current.startswith("-") and command != "train":
        found = importlib.import_module(f"genreclf.cli.{command}").parser().option_names()
    else:
        found = [] if words else list(COMMANDS)
    return [name for name in found if name.startswith(current)]


def _group_of(word: str) -> str:
    group, equals, _ = word.partition("=")
    return group if equals else ""
