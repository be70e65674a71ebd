"""Compose in a fourth of the time: do once in a test process what Hydra and Lightning do anew for each run.

The tests compose the configuration about a thousand times. Nothing that is composed differs.
"""

import pickle
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from functools import cache
from typing import Any

from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from lightning.fabric.utilities import registry
from omegaconf import DictConfig, OmegaConf, _utils, base, grammar_parser

from genreclf.config.keys import CONFIG_DIR


def compose_quickly() -> None:
    """Keep for this process what was read of files, interpolations and overrides, and which packages are installed."""
    registry.entry_points = cache(registry.entry_points)
    base.parse = _utils.parse = cache(grammar_parser.parse)
    Plugins.instance()  # Registers the classes of places of configuration files.
    for scheme in ("file", "pkg"):
        source = SourcesRegistry.instance().resolve(scheme)
        source.load_config = _read_once(source.load_config)
    ConfigRepository.__deepcopy__ = lambda repository, _: copy(repository)  # Nothing in it is changed but replaced.
    parse_rule = cache(OverridesParser.create().parse_rule)
    OverridesParser.parse_rule = lambda self, text, rule: deepcopy(parse_rule(text, rule))
    collect_choices = defaults_list._create_interpolation_map

    def choices_if_needed(overrides: Any, defaults: list[Any], self_added: bool) -> DictConfig:
        """Make the table of all choices only for a list of defaults in which one depends on another."""
        if any(default.is_interpolation() for default in defaults):
            return collect_choices(overrides, defaults, self_added)
        return OmegaConf.create()

    defaults_list._create_interpolation_map = choices_if_needed
    _KeptChoices()


def _stays(scheme: str, path: str) -> bool:
    """Return whether no test writes into a place of configuration files."""
    return scheme != "file" or path == CONFIG_DIR


def _read_once(load: Callable[..., ConfigResult]) -> Callable[..., ConfigResult]:
    """Return `load_config` of a kind of place, which reads a file of ``conf/`` or of a package once."""
    files: dict[tuple[str, ...], bytes] = {}

    def load_config(source: ConfigSource, config_path: str) -> ConfigResult:
        if not _stays(source.scheme(), source.path):
            return load(source, config_path)
        key = (source.path, source.provider, config_path)
        if key not in files:
            files[key] = pickle.dumps(load(source, config_path))
        result: ConfigResult = pickle.loads(files[key])
        return result

    return load_config


class _KeptChoices:
    """What the chosen options compose to, before values are set, where only ``conf/`` and packages take part."""

    def __init__(self) -> None:
        """Take the place of the two steps of Hydra that need only the options."""
        self.create = config_loader_impl.create_defaults_list
        self.compose = ConfigLoaderImpl._compose_config_from_defaults_list
        self.schema = ConfigStore.instance().repo["hydra"]["config.yaml"]
        self.lists: dict[Any, DefaultsList] = {}
        self.composed: dict[int, bytes | None] = {}
        config_loader_impl.create_defaults_list = self.create_defaults_list
        ConfigLoaderImpl._compose_config_from_defaults_list = lambda loader, defaults, repo: self.compose_from(
            loader, defaults, repo
        )

    def create_defaults_list(
        self, repo: Any, config_name: Any, overrides_list: Sequence[Any], **settings: Any
    ) -> DefaultsList:
        """Return the files that take part, as they were if the same options have been chosen before."""
        places = tuple((source.scheme(), source.path) for source in repo.get_sources())
        is_changed = ConfigStore.instance().repo["hydra"]["config.yaml"] is not self.schema
        if is_changed or not all(_stays(*place) for place in places):
            return self.create(repo, config_name, overrides_list, **settings)
        overrides = Overrides(repo, overrides_list)
        values = {id(override) for override in overrides.config_overrides}
        chosen = tuple(
            override.input_line
            for override in overrides_list
            if id(override) not in values and not override.is_sweep_override()
        )
        key = (places, config_name, chosen, *settings.items())
        if key not in self.lists:
            self.lists[key] = self.create(repo, config_name, overrides_list, **settings)
            self.composed[id(self.lists[key].defaults)] = None
        kept = self.lists[key]
        return DefaultsList(kept.defaults, kept.defaults_tree, overrides.config_overrides, kept.overrides)

    def compose_from(self, loader: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> DictConfig:
        """Merge the files, or return them as they were merged before."""
        if id(defaults) not in self.composed:  # Those that are kept live on, so that no other list has their id.
            return self.compose(loader, defaults, repo)
        whole = self.composed[id(defaults)] or pickle.dumps(self.compose(loader, defaults, repo))
        self.composed[id(defaults)] = whole
        config: DictConfig = pickle.loads(whole)
        return config
