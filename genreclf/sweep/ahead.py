"""Look, before the first job of a sweep starts, for values with which a job will fail."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genreclf.errors import UserError

MOST_VALUES = 100
"""Values that are looked at, since each takes some tenths of a second."""


def failing_jobs(config: DictConfig) -> Iterator[str]:
    """Yield a sentence for each value of a grid with which a job will fail, once for each reason.

    Each value is composed with the first values of the other keys, so that there is such a job.

    Args:
        config: Of the sweep, as Hydra composed it without what its jobs vary.
    """
    from genreclf.config.config import Config

    known: set[str] = set()
    loader = GlobalHydra.instance().config_loader()
    for varied, overrides in islice(_jobs(config), MOST_VALUES):
        with suppress(HydraException, OmegaConfBaseException, LookupError, ValueError):  # Hydra's to tell.
            composed = loader.load_sweep_config(config, overrides)
            ours = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
            ours.run_dir = None
            try:
                Config.from_hydra(ours, run_dir="-", overrides=overrides)
            except UserError as error:
                if (reason := str(error)) not in known:
                    known.add(reason)
                    yield f"The job with {varied} will fail: {reason}"


def _jobs(config: DictConfig) -> Iterator[tuple[str, list[str]]]:
    """Yield each value of each key that a sweep varies, and the overrides of a job with it."""
    settings = config.hydra
    params: dict[str, Any] = OmegaConf.to_container(settings.sweeper.get("params") or OmegaConf.create())  # type: ignore[assignment]
    words = [*(f"{key}={value}" for key, value in params.items()), *settings.overrides.task]
    values: dict[str, list[str]] = {}
    varied: list[str] = []
    for override in OverridesParser.create().parse_overrides(words):
        key = override.get_key_element()
        if override.is_discrete_sweep():
            values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
            varied.append(key)
        else:
            values[key] = [f"{key}={override.get_value_element_as_str()}"]
    if not all(values.values()):
        return
    first = {key: words[0] for key, words in values.items()}
    for key in dict.fromkeys(varied):
        for word in values[key]:
            yield word, [*{**first, key: word}.values()]
