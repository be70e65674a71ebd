"""``python -m genreclf list [GROUP]``: list the groups of the configuration, or the options of one group."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from genreclf.cli.parser import Parser
from genreclf.config.keys import CONFIG_DIR
from genreclf.errors import UserError
from genreclf.escaping import printable

_INTERNAL = re.compile(r"(^|/)[_.]")


def main(arguments: list[str]) -> None:
    """Print a line for each group, or for each option of the given group."""
    asked = parser().parse(arguments)
    places = [Path(CONFIG_DIR), *([asked.config_dir] if asked.config_dir else [])]
    names = groups(places)
    if asked.group is None:
        lines = {name: ", ".join(options(name, places)) for name in names}
    elif asked.group in names:
        lines = options(asked.group, places)
    else:
        near = difflib.get_close_matches(asked.group, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"the groups are {', '.join(names)}."
        raise UserError(f"list: there is no group {asked.group}; {hint}")
    width = max((len(name) for name in lines), default=0)
    for name, line in lines.items():
        print(printable(f"{name:{width}}  {line}".rstrip()))


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser("list", "List the groups of the configuration, or the options of one, which GROUP=OPTION chooses.")
    command.add_argument("group", metavar="GROUP", nargs="?", help="a group, such as model; default: all groups")
    command.add_config_dir()
    return command


def groups(places: Sequence[Path] = (Path(CONFIG_DIR),)) -> list[str]:
    """Return the names of all configuration groups, with those of Hydra (such as ``hydra/launcher``) last."""
    folders = {path for place in places for path in place.glob("*") if path.is_dir() and path.name != "hydra"}
    hydras = {path for place in places for path in place.glob("hydra/*") if path.is_dir()}
    names = sorted({path.name for path in folders if any(path.rglob("*.yaml"))})
    return [*names, *sorted({f"hydra/{path.name}" for path in hydras})]


def options(group: str, places: Sequence[Path] = (Path(CONFIG_DIR),)) -> dict[str, str]:
    """Return the options of a group with their first comments; those in subfolders (``published/wu_cnn``) come last."""
    found = {}
    for place in places:
        for path in sorted(Path(place, group).rglob("*.yaml")):
            name = path.relative_to(Path(place, group)).with_suffix("").as_posix()
            if not _INTERNAL.search(name):
                found[name] = _first_comment(path)
    return dict(sorted(found.items(), key=lambda entry: ("/" in entry[0], entry[0])))


def _first_comment(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    comments = (line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return next((comment for comment in comments if not comment.startswith("@package")), "")
