"""The space that a search goes through, as its command and its file write it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer

from genreclf.errors import UserError


@dataclass(frozen=True)
class Choices:
    """The values of a list, ``choice(...)`` or ``glob(...)``."""

    values: tuple[str | int | float | bool, ...]
    """As an override takes them: numbers, truth values, and text for all else."""


@dataclass(frozen=True)
class Steps:
    """Numbers at equal distances, ``range(...)``."""

    values: tuple[int | float, ...]
    """All of them."""
    step: int | float
    """Their distance."""

    @property
    def is_whole(self) -> bool:
        """Whether all are whole numbers."""
        return all(isinstance(each, int) for each in self.values)


@dataclass(frozen=True)
class Interval:
    """All numbers between two, ``interval(a, b)``; only the whole numbers with ``int(interval(a, b))``."""

    low: int | float
    """The lower end."""
    high: int | float
    """The upper end."""
    log: bool
    """Whether their logarithms are searched evenly."""

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Values = Choices | Steps | Interval
"""What a key is searched over."""


@dataclass(frozen=True)
class Space:
    """What a command searches and what it fixes."""

    searched: Mapping[str, Override]
    """Overrides of the searched keys, by key."""
    fixed: Sequence[str]
    """The overrides of other keys, as typed."""
    settings: Mapping[str, str]
    """Keys to what stands behind them, of both kinds, less ``debug``."""

    @classmethod
    def of(cls, arguments: Sequence[str], params: Mapping[str, Any], config_loader: Any = None) -> "Space":
        """Return the space of a command.

        Args:
            arguments: Overrides of the sweep.
            params: Keys to what is searched of each, unless an override says otherwise.
            config_loader: Hydra's, which knows the options of a group for ``glob(...)``.

        Raises:
            UserError: Nothing is searched.
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
    """Return the key of an override without the signs before it."""
    return str(override.get_key_element()).lstrip("+~")


def values_of(override: Override) -> Values:
    """Return what an override searches: a list, ``choice``, ``range``, ``interval`` or ``glob``.

    A ``range`` holds the values that Hydra would sweep over, so without its end. An ``interval`` holds whole numbers
    only as ``int(interval(...))``.

    Raises:
        UserError: It is tagged with a word that has no effect.
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
