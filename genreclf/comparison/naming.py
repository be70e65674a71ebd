"""Decide which runs belong to the same experiment, and name experiments."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genreclf.config.identity import digest, flat, identity, within
from genreclf.config.keys import TEST_ARGUMENTS, TEST_SETTINGS, TRAINING
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory

REPEATED = ("seed", "split.seed", "split.fold", "split.inner_fold", "split.subset_seed")
"""Keys in which the runs of one experiment may differ."""

GROUPS = ("model", "augmentation", "optimizer", "scheduler", "loss", "features", "data", "callbacks", "trainer")
"""Order of the groups of the configuration in a name, among keys with equally many values."""

NAMED = 4
"""Number of settings in a name, unless more are needed to tell recipes apart; the report lists all that differ."""

STARTS = ("init_from", "ckpt_path", "refit")
"""Keys that name another run whose weights, checkpoint or choices a run starts from."""

START_KEYS = (*STARTS, "loss.teacher", "model.runs")
"""Keys of the result of `settings_of` that name the experiments of other runs."""

ORIGIN = ("pretrained_on", "license", "revision", "sha256", "citation", "overlap")
"""Keys of an encoder that describe the origin of its weights; all other keys identify the encoder."""

Settings = Mapping[str, Any]
"""Settings as a mapping from dotted keys to values."""


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that define an experiment, by dotted key, without seeds, folds, paths and logging.

    Where a run starts from the weights, the checkpoint or the choices of another run, the path of that other run is
    replaced by a name of its experiment. Runs with different seeds thus belong to the same experiment even if each of
    them starts from a different run. Of an ensemble, which is not trained itself, settings of training are left out.
    """
    kept = identity(config, ignore=(*REPEATED, *STARTS, *["trainer.max_epochs"] * bool(config.get("refit"))))
    if teacher := kept.get("loss.teacher"):
        kept["loss.teacher"] = _start(teacher)
    if runs := kept.pop("model.runs", None):  # The runs of an ensemble, which may also differ in their seeds.
        del kept["model.members"]
        kept["model.runs"] = " + ".join(f"{n} {name}" for name, n in Counter(map(_start, runs)).items())
        kept["model.weights"] = "equal" if len(set(kept["model.weights"])) == 1 else "by validation"
        kept = {key: value for key, value in kept.items() if not _is_of_training(key)}
    if kept.get("split.unseen") is False:  # Runs of earlier versions do not have this key.
        del kept["split.unseen"]
    return kept | {key: _start(path) for key, path in _starts(config).items()}


def recipe_of(settings: Settings) -> dict[str, Any]:
    """Return the settings without those of the split: what is trained, regardless of the tracks."""
    return {key: value for key, value in settings.items() if not within(key, ("split",))}


def recipe_names(recipes: Sequence[Settings]) -> list[str]:
    """Return a unique name for each recipe: the model, followed by settings in which the recipes differ.

    The name first lists settings that differ between recipes of the same model: up to `NAMED` of them, and further ones
    only if they tell recipes apart that would otherwise look the same. Then it lists up to `NAMED` settings outside the
    model that differ between any of the recipes. Recipes that still have the same name are numbered.

    Args:
        recipes: Settings of the recipes, no two of them equal.
    """
    models = [shown(recipe, "model._target_") for recipe in recipes]
    names = [""] * len(recipes)
    beside = [key for key in varying_keys(recipes) if not within(key, ("model", "init_from", "ckpt_path"))]
    beside = _without_origin([key for key in beside if not _comes_with_a_class(key, recipes)])[:NAMED]
    for model in dict.fromkeys(models):
        members = [index for index, other in enumerate(models) if other == model]
        alike = [recipes[index] for index in members]
        keys = [key for key in varying_keys(alike) if key != "model._target_" and not _comes_with_a_class(key, alike)]
        keys = _telling_apart(_without_origin(keys), alike)
        keys = _without_origin([*keys, *(key for key in beside if key not in keys)])
        times = Counter(key.rpartition(".")[2] for key in keys)
        for index in members:
            names[index] = " ".join(filter(None, [model, *(_part(recipes[index], key, times) for key in keys)]))
    for name, count in Counter(names).items():
        if count > 1:
            members = [index for index, other in enumerate(names) if other == name]
            for number, index in enumerate(members, start=1):
                names[index] += f" #{number}"
    return names


def _telling_apart(keys: Sequence[str], recipes: Sequence[Settings]) -> list[str]:
    """Return the first `NAMED` keys, and those further keys that tell apart recipes with the same values so far."""
    kept: list[str] = []
    for key in keys:
        alike = {tuple(shown(recipe, other) for other in kept) for recipe in recipes}
        told = {tuple(shown(recipe, other) for other in (*kept, key)) for recipe in recipes}
        if len(kept) < NAMED or len(told) > len(alike):
            kept.append(key)
    return kept


def _without_origin(keys: Sequence[str]) -> list[str]:
    """Leave out the keys on the origin of an encoder's weights if other keys of the encoder are among the keys."""
    origin = {f"encoder.{key}" for key in ORIGIN}
    others = [key for key in keys if key not in origin]
    return others if any(within(key, ("encoder",)) for key in others) else list(keys)


def _comes_with_a_class(key: str, recipes: Sequence[Settings]) -> bool:
    """Return whether a key varies only because some recipes use no class there, or another class without that key."""
    target = f"{key.rpartition('.')[0]}._target_"
    if key == target:
        return False
    having = [recipe for recipe in recipes if key in recipe]
    classes = {shown(recipe, target) for recipe in having}
    same_value = len({shown(recipe, key) for recipe in having}) == 1
    return same_value and all(shown(recipe, target) not in classes for recipe in recipes if key not in recipe)


def split_names(splits: Sequence[tuple[str, Settings]]) -> list[str]:
    """Name splits, given by name and settings; where several have the same name, the settings that differ follow."""
    names = []
    for name, settings in splits:
        same = [other for other_name, other in splits if other_name == name]
        parts = [_part(settings, key, {key.rpartition(".")[2]: 1}) for key in varying_keys(same)]
        names.append(" ".join([name, *filter(None, parts)]))
    return names


def varying_keys(all_settings: Sequence[Settings]) -> list[str]:
    """Return the keys whose values differ, sorted by decreasing number of values, then by the order of `GROUPS`.

    Settings of training are compared without the ensembles, which have none.
    """
    keys = dict.fromkeys(key for settings in all_settings for key in settings)
    trained = [settings for settings in all_settings if "model.runs" not in settings]
    compared = {key: trained if _is_of_training(key) else all_settings for key in keys}
    values = {key: len({shown(settings, key) for settings in compared[key]}) for key in keys}

    def order(key: str) -> tuple[int, int]:
        group = key.partition(".")[0]
        return -values[key], GROUPS.index(group) if group in GROUPS else len(GROUPS)

    return sorted((key for key in keys if values[key] > 1), key=order)


def _is_of_training(key: str) -> bool:
    group, _, name = key.partition(".")
    return within(key, TRAINING) or (group == "trainer" and name not in (*TEST_SETTINGS, *TEST_ARGUMENTS))


def shown(settings: Settings, key: str) -> str:
    """Return a setting as one would type it, classes without their module; empty if the key does not exist."""
    if key not in settings:
        return ""
    value = settings[key]
    if key.endswith("_target_"):
        return _short(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _part(settings: Settings, key: str, times: Mapping[str, int]) -> str:
    value = shown(settings, key)
    if not value or key.endswith("_target_"):
        return value
    last = key.rpartition(".")[2]
    return f"{key if times[last] > 1 else last}={value}"


def _starts(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the directories of the runs that a run starts from, by the key of the configuration, one of `STARTS`."""
    runs = {key: config.get(key) for key in STARTS}
    return {key: str(Path(str(run)).parent.parent if key == "ckpt_path" else run) for key, run in runs.items() if run}


def _start(path: str, depth: int = 0) -> str:
    """Return a short name for the experiment of the run in `path`, or `path` itself if the run cannot be read."""
    try:
        config = RunDirectory(Path(path)).read_config()
    except UserError:
        return path
    settings = settings_of({**config, **dict.fromkeys(STARTS)})
    if config.get("refit"):  # The other run chose the number of epochs.
        settings.pop("trainer.max_epochs", None)
    settings |= {key: _start(path, depth + 1) if depth < 9 else path for key, path in _starts(config).items()}
    return f"{_short(settings.get('model._target_'))}-{digest(settings)[:6]}"


def unread_starts(config: Mapping[str, Any], depth: int = 0) -> list[str]:
    """Return the directories that cannot be read, of all the runs that a run starts from, directly or through others.

    Args:
        config: Configuration of the run.
        depth: Number of runs between this run and the one asked about, which limits the search.
    """
    settings = flat(config)
    teachers = [settings["loss.teacher"]] if settings.get("loss.teacher") else []
    unread = []
    for path in (*_starts(config).values(), *teachers, *(settings.get("model.runs") or ())):
        try:
            other = RunDirectory(Path(path)).read_config()
        except UserError:
            unread.append(path)
        else:
            unread += unread_starts(other, depth + 1) if depth < 9 else []
    return unread


def _short(target: Any) -> str:
    return str(target or "").rpartition(".")[2]
