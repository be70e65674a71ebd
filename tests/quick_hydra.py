"""Compose in half the time: do once in a test process what Hydra and Lightning do anew for each run.

The tests compose the configuration about a thousand times. Nothing that is composed differs.
"""

from copy import deepcopy
from functools import cache
from typing import Any

import yaml
from hydra._internal import defaults_list
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning.fabric.utilities import registry
from omegaconf import DictConfig, OmegaConf, _utils, base, grammar_parser, omegaconf


def compose_quickly() -> None:
    """Keep for this process what was read of YAML, interpolations, overrides and the packages that are installed."""
    registry.entry_points = cache(registry.entry_points)
    base.parse = _utils.parse = cache(grammar_parser.parse)
    omegaconf.yaml = _KeptYaml()
    parse_rule = cache(OverridesParser.create().parse_rule)
    OverridesParser.parse_rule = lambda self, text, rule: deepcopy(parse_rule(text, rule))
    collect_choices = defaults_list._create_interpolation_map

    def choices_if_needed(overrides: Any, defaults: list[Any], self_added: bool) -> DictConfig:
        """Make the table of all choices only for a list of defaults in which one depends on another."""
        if any(default.is_interpolation() for default in defaults):
            return collect_choices(overrides, defaults, self_added)
        return OmegaConf.create()

    defaults_list._create_interpolation_map = choices_if_needed


class _KeptYaml:
    """The module ``yaml``, which parses a text once; OmegaConf copies what it gets."""

    def __init__(self) -> None:
        self.parsed: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(yaml, name)

    def load(self, stream: Any, Loader: Any) -> Any:
        text = stream if isinstance(stream, str) else stream.read()
        if text not in self.parsed:
            self.parsed[text] = yaml.load(text, Loader=Loader)
        return self.parsed[text]
