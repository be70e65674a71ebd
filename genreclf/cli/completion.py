"""Complete a command line that is being typed, for Hydra's completion scripts of the shells."""

import importlib
import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from genreclf.cli import COMMANDS, OVERRIDDEN
from genreclf.cli.list import groups, options
from genreclf.config.keys import CONFIG_DIR


def complete() -> list[str] | None:
    """Print what completes the line in ``COMP_LINE``: commands, their options, the options of a group.

    Returns:
        The arguments with which Hydra should add the keys and groups of the configuration, of a line that it
        understands and that ``COMP_LINE`` then holds; None if it should add nothing.
    """
    *words, current = os.environ.get("COMP_LINE", "").split(" ")
    words = [word for word in words[1:] if word]
    print("\n".join(completions(words, current)))
    command = words[0] if words and words[0] in COMMANDS else "train"
    own = _own_folders(words)
    if command not in OVERRIDDEN or current.startswith("-") or _group_of(current) in groups((Path(CONFIG_DIR), *own)):
        return None
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    os.environ["COMP_LINE"] = " ".join(["genreclf", *overrides, current])
    return [f"--config-dir={folder}" for folder in own]


def completions(words: Iterable[str], current: str) -> list[str]:
    """Return what a word that stands behind others can become, but for the keys and groups that Hydra completes."""
    words = list(words)
    command = words[0] if words and words[0] in COMMANDS else "train"
    places = (Path(CONFIG_DIR), *_own_folders(words))
    if (group := _group_of(current)) in groups(places):
        found = [f"{group}={name}" for name in options(group, places)] if command in OVERRIDDEN else []
    elif command == "list":
        found = groups(places)
    elif current.startswith("-") and command != "train":
        found = importlib.import_module(f"genreclf.cli.{command}").parser().option_names()
    else:
        found = [] if words else list(COMMANDS)
    return [name for name in found if name.startswith(current)]


def _own_folders(words: Sequence[str]) -> list[Path]:
    """Return the folder of the user's own options that a line names, if there is one."""
    named = [after for word, after in pairwise(words) if word in ("--config-dir", "-cd")]
    named += [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    return [folder for name in named[-1:] if (folder := Path(name).expanduser()).is_dir()]


def _group_of(word: str) -> str:
    group, equals, _ = word.partition("=")
    return group if equals else ""
