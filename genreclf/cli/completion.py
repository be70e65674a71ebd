"""Shell completion of a command line, called by the completion scripts that Hydra installs in the shells."""

import importlib
import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from genreclf.cli import COMMANDS, OVERRIDDEN
from genreclf.cli.list import groups, options
from genreclf.config.keys import CONFIG_DIR


def complete() -> list[str] | None:
    """Print completions of the line in ``COMP_LINE``: commands, their options, and the options of a group.

    If Hydra should add the keys and groups of the configuration, ``COMP_LINE`` is replaced by a line that Hydra
    understands.

    Returns:
        Additional arguments for Hydra to complete with, or None if Hydra should add nothing.
    """
    *words, current = os.environ.get("COMP_LINE", "").split(" ")
    words = [word for word in words[1:] if word]
    print("\n".join(completions(words, current)))
    command = words[0] if words and words[0] in COMMANDS else "train"
    own = _own_folders(words)
    group = _group_of(current)
    is_ours = group in groups((Path(CONFIG_DIR), *own)) and not group.startswith("hydra/")
    if command not in OVERRIDDEN or current.startswith("-") or is_ours:
        return None
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    os.environ["COMP_LINE"] = " ".join(["genreclf", *overrides, current])
    return [f"--config-dir={folder}" for folder in own]


def completions(words: Iterable[str], current: str) -> list[str]:
    """Return the completions of the word `current` after `words`, except for keys and groups, which Hydra completes."""
    words = list(words)
    command = words[0] if words and words[0] in COMMANDS else "train"
    places = (Path(CONFIG_DIR), *_own_folders(words))
    if (group := _group_of(current)) in groups(places) and not group.startswith("hydra/"):
        found = [f"{group}={name}" for name in options(group, places)] if command in OVERRIDDEN else []
    elif command == "list":
        found = groups(places)
    elif current.startswith("-") and command != "train":
        found = importlib.import_module(f"genreclf.cli.{command}").parser().option_names()
    else:
        found = [] if words else list(COMMANDS)
    return [name for name in found if name.startswith(current)]


def _own_folders(words: Sequence[str]) -> list[Path]:
    """Return the folder that a line names with ``--config-dir``, as a list that is empty if there is none."""
    named = [after for word, after in pairwise(words) if word in ("--config-dir", "-cd")]
    named += [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    return [folder for name in named[-1:] if (folder := Path(name).expanduser()).is_dir()]


def _group_of(word: str) -> str:
    group, equals, _ = word.partition("=")
    return group if equals else ""
