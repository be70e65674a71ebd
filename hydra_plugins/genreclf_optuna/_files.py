"""Detect that files of options have changed since a study was begun."""

from typing import Any

import optuna
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState

from genreclf.config.identity import digest, identity
from genreclf.errors import UserError
from genreclf.sweep.ahead import composed
from genreclf.sweep.space import Interval, Space, values_of

FILES = "files"
"""Attribute of a study: result of `files_hash`; missing in studies of earlier versions."""


def check_files(study: optuna.Study, config: DictConfig, space: Space, *, place: str, another: str) -> None:
    """Refuse a study with finished trials if the files of options have changed since; otherwise store their hash.

    Args:
        study: Study that is about to continue.
        config: Configuration of the sweep, composed by Hydra without the settings of its jobs.
        space: Search space of the command.
        place: Where the study is, for the message.
        another: Key of which another value gives another study.

    Raises:
        UserError: The files have changed.
    """
    before, now = study.user_attrs.get(FILES), files_hash(config, space)
    if before not in (None, now) and study.get_trials(states=[TrialState.COMPLETE]):
        raise UserError(f"The files of options have changed since the study {place} was begun; set another {another}.")
    if before != now:
        study.set_user_attr(FILES, now)


def files_hash(config: DictConfig, space: Space) -> str:
    """Return a hash of the configurations of a search, which changes if a file of options does.

    The jobs with the first value of every searched key, and with each option of a searched group, are composed.
    Interpolations are not resolved, as their values, such as times, may change without a file.

    Args:
        config: Configuration of the sweep, composed by Hydra without the settings of its jobs.
        space: Search space of the command.
    """
    loader = GlobalHydra.instance().config_loader()
    words = {key: [f"{key}={value}" for value in _values(override)] for key, override in space.searched.items()}
    first = {key: values[0] for key, values in words.items()}
    groups = [key for key, override in space.searched.items() if loader.get_group_options(override.key_or_group)]
    jobs = [first, *({**first, key: word} for key in groups for word in words[key][1:])]
    return digest({"jobs": [_identity(composed(config, [*job.values(), *space.fixed])) for job in jobs]})


def _values(override: Override) -> tuple[Any, ...]:
    values = values_of(override)
    return (values.low,) if isinstance(values, Interval) else values.values


def _identity(config: DictConfig | None) -> dict[str, Any] | None:
    plain: Any = None if config is None else OmegaConf.to_container(config, resolve=False)
    return None if plain is None else identity(plain)
