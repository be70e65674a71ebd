"""Select the settings and metrics of a run that are shared, and check those that somebody else shared."""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from omegaconf import MISSING

from genreclf.config.keys import COMBINED
from genreclf.config.schema import ClipConfig, TrainerConfig
from genreclf.config.trust import GROUPS
from genreclf.config.weights import LARGEST as LARGEST_OF_SPECTROGRAMS
from genreclf.config_file import LARGEST_BYTES, dump_config
from genreclf.evaluation.calibration import Calibration
from genreclf.evaluation.provenance import provenance_of
from genreclf.training.artifacts import PREFIX

SECTIONS = (*GROUPS, "features")
"""Sections of a configuration that are shared; see `shareable` for the other sections."""

NEEDED = tuple(group for group in GROUPS if group != "encoder")
"""Sections that every configuration must have."""

OF_TRAINER = ("max_epochs", "precision", "gradient_clip_val")
"""Keys of the section ``trainer`` that are shared, since they influenced the trained network."""

WORDS = ("_target_", "clip_seconds", "short", "colormap", "rendering")
"""Keys of the sections ``data`` and ``split`` whose text is not a path."""

PLACES = ("teacher", "runs", "weights")
"""Keys whose text is the place of a run or a file: ``loss.teacher``, ``model.runs`` and ``encoder.weights``."""

LARGEST = {
    **LARGEST_OF_SPECTROGRAMS,
    "batch_size": 2**14,
    "crops_per_track": 2**14,
    "tracks_per_genre": 10**5,
    "artists_per_genre": 10**5,
    "duration_s": 3600,
    "seconds": 3600,
    "folds": 10**4,
    "inner_folds": 10**3,
}
"""Maximum values of shared numbers in the sections ``data``, ``split`` and ``features``, by key."""

LARGEST_COUNT = 2**53

LONGEST_TEXT = 200

MOST_GENRES = 1000
"""Maximum number of genres in ``data.genre_map``."""

FIGURES = ("objective", "val", "test")
"""Keys of ``metrics.json`` that contain scores."""

COUNTS = ("seed", "parameters", "epochs", "best_epoch")


def shareable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that describes the network, its training and its test.

    Settings of Hydra, loggers, paths on this machine and devices are left out or set to their defaults.

    Raises:
        KeyError: A section is missing.
        TypeError: A section is not a dictionary.
    """
    shared: dict[str, Any] = {}
    for name in (name for name in (*SECTIONS, "trainer") if name in config or name in NEEDED):
        if not isinstance(config[name], dict):
            raise TypeError(f"{name} is not a section")
        shared[name] = _without_folders(copy.deepcopy(config[name]))
    for name in ("data", "split"):
        section = shared[name]
        shared[name] = {key: None if key not in WORDS and _has_text(section[key]) else section[key] for key in section}
    shared["split"] |= {"unseen": False}  # Without init_from, there are no seen tracks.
    genre_map = config["data"].get("genre_map")
    told = {"genre_map": copy.deepcopy(genre_map) if isinstance(genre_map, dict) else None}  # Otherwise, it is a path.
    shared["data"] = {**asdict(ClipConfig()), **shared["data"], **told, "store_dir": None}
    trainer = {key: value for key, value in shared.get("trainer", {}).items() if key in OF_TRAINER}
    shared["trainer"] = {**TrainerConfig().plain(), **trainer}
    for name in COMBINED:
        nodes = config.get(name) or {}
        shared[name] = {key: _without_folders(node) for key, node in nodes.items() if _is_ours(node)}
    shared["logger"] = {}
    return {
        **shared,
        "seed": config.get("seed", 0),
        "init_from": None,
        "ckpt_path": None,
        "refit": PurePosixPath(str(refit)).name if (refit := config.get("refit")) else None,
        "compare_with": None,
        "debug": False,
        "run_dir": "",
    }


def _is_ours(node: Any) -> bool:
    """Return whether a section names a class of genreclf, which everybody who pulls the run has."""
    return isinstance(node, dict) and str(node.get("_target_")).startswith("genreclf.")


def check_sizes(config: Mapping[str, Any]) -> None:
    """Check that no number in a shared configuration demands much memory; the model is checked against its weights.

    Raises:
        ValueError: A number is too large, a text or the whole configuration is too long, or ``data.genre_map`` has
            too many genres or something else than genres.
    """
    _check_values(config, "")
    if len(dump_config(config).encode()) > LARGEST_BYTES:
        raise ValueError(f"settings of more than {LARGEST_BYTES} bytes")
    genre_map = config["data"]["genre_map"] or {}
    if len(genre_map) > MOST_GENRES:
        raise ValueError(f"data.genre_map of {len(genre_map)} genres")
    for theirs, ours in genre_map.items():
        if len(theirs) > LONGEST_TEXT:
            raise ValueError(f"a genre of {len(theirs)} letters in data.genre_map")
        if ours == MISSING or not isinstance(ours, str | None):
            raise ValueError("a new name in data.genre_map that is not a genre")
    for name in ("data", "split", "features"):
        for key, value in config[name].items():
            largest = LARGEST.get(key)
            if largest is not None and isinstance(value, int | float) and not abs(value) <= largest:
                raise ValueError(f"{name}.{key} of {value}")


def shareable_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a run, without those about this machine.

    Raises:
        KeyError, TypeError, ValueError: A metric is missing or invalid: scores must lie between 0 and 1, or be None.
    """
    shared = {key: metrics[key] for key in ("status", *COUNTS, "split", *FIGURES)}
    for name in provenance_of(metrics):
        shared[name] = {str(key): value for key, value in metrics[name].items()}
        for key in {"run", "differs"} & shared[name].keys() if name == "refit" else ():
            shared[name][key] = _short(str(shared[name][key]))
        _check_values(shared[name], name)
    if (calibration := Calibration.of_metrics(metrics)) is not None:
        shared["calibration"] = calibration.plain()
    if shared["status"] != "finished":
        raise ValueError(f"status of {shared['status']!r}")
    split = shared["split"]
    if not isinstance(split["name"], str) or not isinstance(split["hash"], str) or not isinstance(split["leaky"], bool):
        raise TypeError("split names no split")
    _check_values(split, "split")
    for key, value in split.get("seen", {}).items():
        if value is not None or key != "artists":
            _check_count(f"split.seen.{key}", value)
    for key in COUNTS:
        if key != "best_epoch" or shared[key] is not None:
            _check_count(key, shared[key])
    for key in FIGURES:
        _check_figures(key, shared[key])
    return shared


def shareable_split(split: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of ``split.json``, without those warnings that may contain paths.

    Raises:
        KeyError, TypeError: The warnings are missing, or are not a list.
    """
    return {**split, "warnings": [_without_paths(str(warning)) for warning in split["warnings"]]}


def _without_folders(value: Any, *, is_place: bool = False) -> Any:
    """Return `value` with absolute paths, and all places in `PLACES`, reduced to the name of the run or file."""
    if isinstance(value, dict):
        return {key: _without_folders(entry, is_place=key in PLACES) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_folders(entry, is_place=is_place) for entry in value]
    if isinstance(value, str):
        kinds = (PurePosixPath(value), PureWindowsPath(value))
        if is_place or any(kind.is_absolute() for kind in kinds):
            name = kinds[1].name  # Windows also separates folders by slashes.
            return name.partition(":")[0] if value.startswith(PREFIX) else name
    return value


def _without_paths(text: str) -> str:
    """Return a text, or a note in its place if it has slashes, since paths and accounts may be private."""
    return "not shared, since it may hold paths" if "/" in text or "\\" in text else text


def _short(text: str) -> str:
    """Return a text, shortened to `LONGEST_TEXT` and without paths."""
    text = _without_paths(text)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."


def _has_text(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_text, value.values()))
    return any(map(_has_text, value)) if isinstance(value, list) else isinstance(value, str)


def _check_values(value: Any, key: str) -> None:
    if isinstance(value, dict):
        for name, entry in value.items():
            _check_values(entry, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for entry in value:
            _check_values(entry, key)
    elif isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ValueError(f"{key} of {len(value)} letters")
    elif isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= LARGEST_COUNT):
        raise ValueError(f"{key} of {value}")


def _check_count(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_COUNT:
        raise ValueError(f"{key} of {value!r}")


def _check_figures(key: str, value: Any) -> None:
    """Check nested scores: counts, losses (whose keys end in ``loss``), and otherwise fractions between 0 and 1."""
    if isinstance(value, dict):
        for name, entry in value.items():
            _check_figures(f"{key}.{name}", entry)
    elif isinstance(value, list):
        for entry in value:
            _check_figures(key, entry)
    elif key.endswith(".n") or (key.endswith(".artists") and value is not None):
        _check_count(key, value)
    elif value is not None:
        largest = math.inf if key.endswith(("loss", ".effective_n")) else 1
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not 0 <= value <= largest:
            raise ValueError(f"{key} of {value!r}")
