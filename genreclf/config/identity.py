"""Decide whether two configurations are the same experiment: for ranks, finished runs, sweep folders, comparisons."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

OUTSIDE_IDENTITY = (
    *("run_dir", "debug", "logger", "callbacks.progress", "callbacks.codecarbon", "callbacks.record"),
    *("data.store_dir", "data.download", "trainer.step", "encoder.weights", "compare_with"),
)
"""Keys that do not change the experiment: its paths, its logging and progress display, how its training steps are
started, and the run that its report compares it with."""

WHOLE_TRAINING_SET = {"split.train_fraction": 1, "split.artists_per_genre": None}
"""Keys that reduce the training set, each with the value at which the whole training set is used."""

LEFT_TO_CLASSES = {
    "augmentation.band_limit.high_hz": 11000,
    "augmentation.band_limit.probability": 0.5,
    "augmentation.filter_augment.knots": 7,
    "augmentation.spec_augment.frame_masks": 2,
    "augmentation.spec_augment.mel_masks": 2,
}
"""Keys that options of ``regularization`` and ``experiment`` of earlier versions omitted, with the default values that
the classes used instead."""


OF_LATER_VERSIONS = {"split.unseen": False}
"""Keys that runs of earlier versions lack, with their default values, which `difference` assumes. `identity` does not,
since its hash names the folders of jobs, and jobs with other names would be trained anew."""


def identity(config: Mapping[str, Any], *, ignore: Iterable[str] = ()) -> dict[str, Any]:
    """Return the settings that define an experiment, by dotted key.

    Settings of paths and logging, settings without effect and ``_partial_`` are left out.

    Args:
        config: Resolved configuration.
        ignore: Dotted keys of further settings or sections to leave out.
    """
    settings = flat(config)
    left_out = (*OUTSIDE_IDENTITY, *ignore, *_without_effect(settings))
    return {
        key: value for key, value in settings.items() if not within(key, left_out) and not key.endswith("._partial_")
    }


def _without_effect(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield keys whose value has no effect, as in ``features.f_min=0``; runs of earlier versions may lack such keys."""
    switches = ("features.f_min", "features.f_max", "model.center_bands", "encoder.centered")
    yield from (key for key in switches if not settings.get(key))
    yield from (key for key, value in LEFT_TO_CLASSES.items() if settings.get(key) == value)
    of_pictures = str(settings.get("encoder._target_")).startswith("genreclf.models.encoders.pictures.")
    if of_pictures and settings.get("model._target_") == "genreclf.models.FineTune":  # It embeds whole clips.
        yield "encoder.window_s"
    if settings.get("encoder.enlarge", 1) == 1:
        yield "encoder.enlarge"
    if settings.get("split.inner_fold") is None:
        yield from ("split.inner_fold", "split.inner_folds")
    at_whole = [key for key, whole in WHOLE_TRAINING_SET.items() if settings.get(key, whole) == whole]
    yield from at_whole
    if len(at_whole) == len(WHOLE_TRAINING_SET):
        yield "split.subset_seed"


def difference(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    there: str = "there",
    here: str = "here",
    *,
    ignore: Iterable[str] = (),
) -> str:
    """Name the first keys in which two configurations differ as experiments; return "" if they are the same experiment.

    A key that one configuration lacks, such as that of a run of an earlier version, counts as null, or as its value in
    `OF_LATER_VERSIONS`.

    Args:
        before: First configuration.
        now: Second configuration.
        there: Word that follows values of the first configuration.
        here: Word that follows values of the second configuration.
        ignore: Dotted keys that may differ.
    """
    old, new = (OF_LATER_VERSIONS | identity(each, ignore=ignore) for each in (before, now))
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    parts = []
    for key in keys[:3]:
        first = f"{key}={old[key]}" if key in old else f"no {key}"
        second = f"no {key}" if key not in new else new[key] if key in old else f"{key}={new[key]}"
        parts.append(f"{first} {there}, {second} {here}")
    return ", ".join(parts)


def digest(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 hash of settings, 64 hexadecimal digits; the order of the keys does not matter."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def within(key: str, places: Iterable[str]) -> bool:
    """Return whether a dotted key is one of `places` or below one of them."""
    return any(key == place or key.startswith(f"{place}.") for place in places)


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as a single dictionary with dotted keys; whole floats become integers."""
    flattened: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flattened |= flat(value, f"{name}.")
        else:
            flattened[name] = int(value) if isinstance(value, float) and value.is_integer() else value
    return flattened
