"""Check a sweep before its first job starts, to find values with which a job will fail."""

from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from itertools import islice
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from genreclf.config.overrides import typed_overrides
from genreclf.errors import UserError

MOST_VALUES = 100
"""Maximum number of values that are checked, since each check takes some tenths of a second."""

HYDRAS_TO_TELL = (HydraException, OmegaConfBaseException, YAMLError, LookupError, OSError, ValueError)
"""Errors that Hydra itself will report."""


def failing_jobs(config: DictConfig, *, searches: bool) -> Iterator[str]:
    """Yield a sentence for each value of a sweep with which a job will fail, and for each mistake in all jobs.

    Each value is checked together with the first values of the other keys, a combination that occurs in a grid.

    Args:
        config: Configuration of the sweep, composed by Hydra without the settings that the jobs vary.
        searches: Whether the sweeper accepts an ``interval(...)``; its midpoint is checked.
    """
    try:
        fixed, varied = _grid(config, searches=searches)
    except HYDRAS_TO_TELL:
        return
    first = {key: words[0] for key, words in {**fixed, **varied}.items()}
    usual = composed(config, [*first.values()])
    of_first = _mistakes(usual, [*first.values()])
    of_others: dict[tuple[str, str], list[str]] = {}
    for key, word in islice(((key, word) for key, words in varied.items() for word in words[1:]), MOST_VALUES):
        overrides = [*{**first, key: word}.values()]
        of_others[key, word] = _mistakes(_changed(usual, word) or composed(config, overrides), overrides)
    for mistake in of_first:
        blamed = {key for (key, _), mistakes in of_others.items() if mistake not in mistakes}
        jobs = f"The job with {first[min(blamed)]}" if blamed else "Every job"
        yield f"{jobs} will fail: {mistake}"
    for (_, word), mistakes in of_others.items():
        for mistake in mistakes:
            if mistake not in of_first:
                yield f"The job with {word} will fail: {mistake}"


def composed(config: DictConfig, overrides: list[str]) -> DictConfig | None:
    """Return the configuration of a job; None if Hydra will reject the overrides.

    Args:
        config: Configuration of the sweep, composed by Hydra without the settings of its jobs.
        overrides: All overrides of the job.
    """
    with suppress(*HYDRAS_TO_TELL):
        job = GlobalHydra.instance().config_loader().load_sweep_config(config, overrides)
        ours = OmegaConf.masked_copy(job, [str(key) for key in job if key != "hydra"])
        ours.run_dir = None
        return ours
    return None


def _changed(config: DictConfig | None, override: str) -> DictConfig | None:
    """Return a copy of a configuration with one value changed, faster than composing; None if that is not possible."""
    key = override.partition("=")[0]
    group, _, name = key.rpartition(".")
    with suppress(*HYDRAS_TO_TELL):
        section = OmegaConf.select(config, group) if group and config is not None else config
        if isinstance(section, DictConfig) and name in section and not isinstance(section[name], DictConfig):
            changed = deepcopy(config)
            OmegaConf.update(changed, key, OverridesParser.create().parse_override(override).value())  # type: ignore[arg-type]
            return changed
    return None


def _mistakes(config: DictConfig | None, overrides: list[str]) -> list[str]:
    """Return the mistakes in the configuration of a job, one sentence each."""
    from genreclf.config.config import Config

    if config is None:
        return []
    with suppress(*HYDRAS_TO_TELL):
        try:
            Config.from_hydra(config, run_dir="-", overrides=overrides)
        except UserError as error:
            is_of_job = isinstance(error.__cause__, OmegaConfBaseException)  # Such as ${hydra:job.num}, not known yet.
            return [] if is_of_job else str(error).splitlines()
    return []


def _grid(config: DictConfig, *, searches: bool) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the overrides that all jobs share and the overrides that the sweep varies, both by key."""
    settings = config.hydra
    searched = settings.sweeper.get("params") or OmegaConf.create()
    params: dict[str, Any] = OmegaConf.to_container(searched, resolve=True)  # type: ignore[assignment]
    words = [*(f"{key}={value}" for key, value in params.items()), *typed_overrides(settings)]
    fixed: dict[str, list[str]] = {}
    varied: dict[str, list[str]] = {}
    for override in OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(words):
        key = override.get_key_element()
        fixed.pop(key, None)
        varied.pop(key, None)
        value: Any = override.value()
        if override.is_discrete_sweep():
            varied[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        elif searches and isinstance(value, IntervalSweep):
            low: Any = value.start
            high: Any = value.end
            varied[key] = [f"{key}={(low + high) // 2 if isinstance(low, int) else (low + high) / 2}"]
        else:
            fixed[key] = [f"{key}={override.get_value_element_as_str()}"]
    return fixed, {key: words for key, words in varied.items() if words}
