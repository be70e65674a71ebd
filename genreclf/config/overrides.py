"""The overrides of a command, as Hydra keeps them in its section of a configuration."""

from typing import Any

from hydra.conf import HydraConf
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
