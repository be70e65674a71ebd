"""Read and write ``config.yaml`` as plain data; reading it runs no code and takes little memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

LARGEST_BYTES = 2**16
"""Maximum size of a ``config.yaml`` in bytes; training writes a few kilobytes."""


SECTIONS = (
    *("data", "split", "features", "encoder", "model", "loss", "optimizer", "scheduler"),
    *("augmentation", "callbacks", "trainer", "logger", "robustness"),
)
"""Keys whose values are mappings, unless they are null."""


class _Loader(yaml.SafeLoader):
    """YAML loader that refuses aliases, with which a kilobyte can expand to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds an alias")
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """YAML dumper that writes repeated values in full instead of as aliases, which `_Loader` refuses."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def parse_config(path: Path) -> dict[str, Any]:
    """Return the content of a ``config.yaml`` as nested dictionaries, lists, strings, numbers, booleans and None.

    Keys of the dictionaries are strings or numbers.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file contains anything else, an alias, or an interpolation; the message says what.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        content = file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"it is larger than {LARGEST_BYTES} bytes")
    try:
        config = yaml.load(content.decode("utf-8"), _Loader)  # _Loader is a restricted SafeLoader.
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, AttributeError, LookupError, TypeError) as error:  # Malformed scalars raise the last three.
        raise ValueError(" ".join(str(error).split())) from None
    if not isinstance(config, dict):
        raise ValueError("it has no settings")
    for name in SECTIONS:
        if not isinstance(config.get(name), dict | None):
            raise ValueError(f"{name} is not a section")
    check_resolved(config)
    return config


def dump_config(config: Mapping[str, Any]) -> str:
    """Return a resolved configuration as YAML."""
    return yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def check_resolved(value: Any, key: str = "") -> None:
    """Check that a configuration, or a part of one, is plain data without interpolations.

    Args:
        value: Configuration, or one of its values.
        key: Dotted key of `value`, for the message.

    Raises:
        ValueError: A value is not plain data or contains an interpolation; the message names its key.
    """
    if isinstance(value, dict):
        for name, entry in value.items():
            if not isinstance(name, str | int | float) or "${" in str(name):
                raise ValueError(f"{name!r} is not the name of a setting")
            check_resolved(entry, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for entry in value:
            check_resolved(entry, key)
    elif isinstance(value, str):
        if "${" in value:
            raise ValueError(f"{key} contains an interpolation, {value!r}")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ValueError(f"{key} is a number of more than 64 bits")
    elif value is not None and not isinstance(value, float):
        raise ValueError(f"{key} is a {type(value).__name__}")
