"""Search space of a sweep, as given by its command and its configuration file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer

from genreclf.errors import UserError


@dataclass(frozen=True)
class Choices:
    """Values of a list, ``choice(...)`` or ``glob(...)``."""

    values: tuple[str | int | float | bool, ...]
    """Values as used in overrides: numbers, booleans, and text for anything else."""


@dataclass(frozen=True)
class Steps:
    """Evenly spaced numbers, ``range(...)``."""

    values: tuple[int | float, ...]
    """All numbers of the range."""
    step: int | float
    """Distance between neighboring numbers."""

    @property
    def is_whole(self) -> bool:
        """Whether all values are whole numbers."""
        return all(isinstance(each, int) for each in self.values)


@dataclass(frozen=True)
class Interval:
    """All numbers between two ends, ``interval(a, b)``, or only the whole numbers with ``int(interval(a, b))``."""

    low: int | float
    """Lower end of the interval."""
    high: int | float
    """Upper end of the interval."""
    log: bool
    """Whether the interval is searched on a logarithmic scale."""

    @property
    def is_whole(self) -> bool:
        """Whether the interval contains only whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Values = Choices | Steps | Interval
"""Values over which a key is searched."""


@dataclass(frozen=True)
class Space:
    """Search space of a command: the keys it searches and the settings it fixes."""

    searched: Mapping[str, Override]
    """Overrides of the searched keys, by key."""
    fixed: Sequence[str]
    """Overrides of all other keys, as typed."""
    settings: Mapping[str, str]
    """Values of all searched and fixed keys except ``debug``, as typed, by key."""

    @classmethod
    def of(cls, arguments: Sequence[str], params: Mapping[str, Any], config_loader: Any = None) -> "Space":
        """Return the space of a command.

        Args:
            arguments: Overrides of the sweep.
            params: Values to search, by key; overrides of the same keys take precedence.
            config_loader: Configuration loader of Hydra, which knows the options of a group for ``glob(...)``.

        Raises:
            UserError: No key is searched.
        """
        parser = OverridesParser.create(config_loader=config_loader)
        given = parser.parse_overrides(list(arguments))
        names = {name_of(override) for override in given}
        words = [f"{key}={'null' if value is None else value}" for key, value in params.items()]
        overrides = [override for override in parser.parse_overrides(words) if name_of(override) not in names] + given
        last = {each.get_key_element(): each for each in overrides}
        searched = {key: each for key, each in last.items() if each.is_sweep_override()}
        if not searched:
            raise UserError("There is nothing to search: give a key several values or an interval(...).")
        return cls(
            searched=searched,
            fixed=[
                str(each.input_line)
                for each in overrides
                if not each.is_sweep_override() and each.get_key_element() not in searched
            ],
            settings={
                name_of(each): str(each.input_line).partition("=")[2] for each in overrides if name_of(each) != "debug"
            },
        )


def name_of(override: Override) -> str:
    """Return the key of an override without a prefix of ``+`` or ``~``."""
    return str(override.get_key_element()).lstrip("+~")


def values_of(override: Override) -> Values:
    """Return the values that an override searches: a list, ``choice``, ``range``, ``interval`` or ``glob``.

    A ``range`` contains the values that Hydra would sweep over, so its end is excluded. An ``interval`` contains only
    whole numbers if it is written as ``int(interval(...))``.

    Raises:
        UserError: The override has a tag that has no effect.
    """
    value: Any = override.value()
    tags: set[str] = getattr(value, "tags", set())
    if unknown := tags - ({"log"} if isinstance(value, IntervalSweep) else set()):
        raise UserError(f"{override.input_line}: tag {sorted(unknown)[0]} has no effect; only an interval takes log.")
    if isinstance(value, IntervalSweep):
        low: Any = value.start
        high: Any = value.end
        return Interval(low, high, log="log" in tags)
    if isinstance(value, RangeSweep) and not value.shuffle:
        return Steps(tuple(value.range()), abs(value.step))
    choices: Any = override.sweep_iterator(transformer=Transformer.encode)
    return Choices(tuple(choices))
