"""The overrides of a command, as Hydra keeps them in its section of a configuration."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf


def typed_overrides(hydra: HydraConf | DictConfig, part: str = "task") -> list[str]:
    """Return overrides as the user typed them, with interpolations such as ``${seed}`` unresolved.

    Hydra resolves an interpolation where its value is used. In the list of the overrides, it has another value or none.

    Args:
        hydra: Section ``hydra`` of a configuration.
        part: ``task`` for settings of runs, or ``hydra`` for settings of Hydra.
    """
    typed: Any = OmegaConf.to_container(OmegaConf.select(hydra, f"overrides.{part}"), resolve=False)  # type: ignore[arg-type]
    return [str(word) for word in typed]


def search_path(overrides: Iterable[str], config_dir: str | None = None) -> list[str]:
    """Return the override ``hydra.searchpath`` with absolute paths; an empty list if it would name nothing.

    Args:
        overrides: Overrides of a command; Hydra uses the first ``hydra.searchpath`` among them.
        config_dir: Folder to search before those that the overrides name.
    """
    given = [word for word in overrides if word.startswith("hydra.searchpath=")]
    value = OverridesParser.create().parse_override(given[0]).value() if given else []
    places = [config_dir] if config_dir else []
    places += [place for place in value if isinstance(place, str)] if isinstance(value, list) else []
    quoted = [QuotedString(_absolute(place), Quote.double).with_quotes() for place in places]
    return [f"hydra.searchpath=[{','.join(quoted)}]"] if quoted else []


def _absolute(place: str) -> str:
    scheme, separator, path = place.rpartition("://")
    return place if scheme not in ("", "file") else f"{scheme}{separator}{Path(path).absolute()}"
