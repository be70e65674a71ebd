"""Compose a configuration from the overrides of a command with Hydra, and check the configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from genreclf.config.composition import initialized
from genreclf.config.config import Config
from genreclf.config.keys import COMBINED, TEST_ARGUMENTS, TEST_SETTINGS, TRAINING
from genreclf.config.messages import check_single, explain, explain_value_error
from genreclf.config.overrides import search_path
from genreclf.config.schema import RootConfig, SplitConfig
from genreclf.config.trust import GROUPS, check_trust, named_by
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory

TRAINING_ONLY = (
    *TRAINING,
    *("experiment", "sweep", "seed", "init_from", "ckpt_path", "refit", "compare_with"),
    *("split.train_fraction", "split.artists_per_genre", "split.subset_seed"),
)
"""Configuration groups and keys that have an effect on training only."""

TRAINER = ("_target_", "lightning.pytorch.Trainer")
"""Key and value in the ``trainer`` section of a run that need no trust: the class of Lightning's Trainer."""

if TYPE_CHECKING:
    import torch

    from genreclf.audio.log_mel import FeatureSpec
    from genreclf.datasets.base import Track
    from genreclf.experiment.corpus import Check, Corpus


def checked(overrides: Sequence[str], *, run_dir: str, config_dir: Path | None = None) -> Config:
    """Compose the configuration in ``conf/`` with the overrides, and check the result."""
    return Config.from_hydra(composed(overrides, config_dir), run_dir=run_dir, overrides=overrides)


def checked_run(overrides: Sequence[str], config_dir: Path | None = None) -> Config:
    """Compose and check a run like the command line: in a new directory in ``outputs/runs`` unless ``run_dir`` is set.

    Raises:
        UserError: There are mistakes. The message lists all of them, one sentence each, but only the first one that
            Hydra finds.
    """
    from genreclf.cli import directories  # noqa: F401, for its resolvers, which name the run directory.

    for word in overrides:
        if not isinstance(word, str):
            kind = type(word).__name__
            raise UserError(f'train takes texts such as "seed=1", not {kind}; a list of them is unpacked with *.')
        if word.startswith("-"):
            raise UserError(f"{word} is for the command line: train takes KEY=VALUE and config_dir, and makes one run.")
    if config_dir is not None and not config_dir.is_dir():
        raise UserError(f"config_dir={config_dir}: there is no such folder.")
    try:
        whole = composed(overrides, config_dir and config_dir.absolute(), with_hydra=True)
        run_dir = whole.hydra.run.dir
        ours = OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"])
        return Config.from_hydra(ours, run_dir=run_dir, overrides=overrides)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise UserError(explain(error, can_sweep=False)) from error
    except (ValueError, AssertionError) as error:
        if (sentence := explain_value_error(error, overrides)) is None:
            raise
        raise UserError(sentence) from error


def checked_again(
    run: RunDirectory,
    overrides: Sequence[str],
    *,
    trust: Sequence[str] = (),
    config_dir: Path | None = None,
    trains: bool = False,
    **given: Any,
) -> Config:
    """Check the configuration of a run with overrides, which may also choose options of groups (``split=track``).

    Unless the run is trained again, the Trainer, callbacks and augmentation of ``conf/`` are used instead of its own,
    on the devices of the run.

    Args:
        run: Directory of the run whose configuration is used.
        overrides: Overrides as typed by the user, which may name any class.
        trust: Python modules whose classes the configuration of the run may name.
        config_dir: Folder with configuration files of the user.
        trains: Whether the run is trained again, with its own Trainer, callbacks and augmentation.
        **given: Top-level keys that replace those of the run.

    Raises:
        UserError: There are mistakes. The message lists all of them, one sentence each.
    """
    plain = {**run.read_config(), **given}
    if isinstance(split := plain.get("split"), dict):
        plain["split"] = {**asdict(SplitConfig()), **split}  # Runs of earlier versions do not have all of its keys.
    if isinstance(data := plain.get("data"), dict):
        data.setdefault("genre_map", None)  # A run does not store this key if it is null.
    plain.setdefault("encoder", {"_target_": None})  # The value for a network that was trained from scratch.
    fresh = composed([], config_dir)
    config = fresh.copy()
    for key in (*GROUPS, "features", *(entry.name for entry in fields(RootConfig))):
        config[key] = plain.get(key)
    config.logger = _loggers_of(plain.get("logger"), config_dir)
    if isinstance(trainer := plain.get("trainer"), dict):
        config.trainer.update({key: trainer[key] for key in TEST_SETTINGS if key in trainer})
    if trains:
        config.augmentation, config.callbacks = plain["augmentation"], plain["callbacks"]
        config.trainer = {**fresh.trainer, **plain["trainer"]}  # A run does not store arguments at their default.
    options: list[Override] = []
    values: list[Override] = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        is_group = isinstance(OmegaConf.select(fresh, override.key_or_group), DictConfig)
        (options if is_group and isinstance(override.value(), str | list) else values).append(override)
    for override in options:
        config[override.key_or_group] = OmegaConf.select(
            composed([str(override.input_line)], config_dir), override.key_or_group
        )
        if override.key_or_group == "data" and isinstance(data, dict):  # Tracks are cut into clips as in the run.
            config.data.update({key: data[key] for key in ("clip_seconds", "grid_overlap", "short") if key in data})
        if override.key_or_group == "trainer" and trains:
            config.trainer = {**config.trainer, **_beside(config.trainer, fresh.trainer, plain["trainer"])}
    for override in values:  # After the options, in whatever order they were typed, as in Hydra.
        OmegaConf.update(config, override.key_or_group, override.value(), force_add=override.is_add())
    kept = [group for group in GROUPS if OmegaConf.select(config, f"{group}._target_") == named_by(plain, group)]
    check_trust(plain, trust, place=run.config, groups=kept)
    return Config.from_hydra(config, run_dir=plain["run_dir"], overrides=overrides)


def _beside(option: DictConfig, default: DictConfig, trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run's trainer, except devices, that an option of ``trainer`` leaves at their default."""
    return {
        key: value
        for key, value in trainer.items()
        if key not in ("accelerator", "devices") and option.get(key) == default.get(key)
    }


def checked_refit(
    run: RunDirectory, overrides: Sequence[str], *, run_dir: str, trust: Sequence[str], config_dir: Path | None
) -> Config:
    """Check the configuration for retraining a run on its training and validation tracks; see `checked_again`.

    The number of epochs is the one that the run chose, as are the learning rate and weight decay of a probe. Other
    limits of the training are removed, as are callbacks that need validation tracks or may end the training early.

    Raises:
        UserError: There are mistakes. The message lists all of them, one sentence each.
    """
    from genreclf.experiment.build import is_best_checkpoint, may_end_training
    from genreclf.experiment.refit import LIMITS, chosen_epochs, chosen_settings, searched

    for override in OverridesParser.create().parse_overrides(list(overrides)):
        group = override.key_or_group.partition(".")[0]
        _check_one_value(override)
        if group in ("split", "experiment", "regularization", "sweep", "refit", "init_from", "ckpt_path"):
            raise UserError(f"{override.input_line}: a refit takes {group} from {run.path}; omit it.")
    epochs, plain = chosen_epochs(run), run.read_config()
    trainer, augmentation, callbacks = (plain.get(name) or {} for name in ("trainer", "augmentation", "callbacks"))
    # Check before anything that the run names is imported.
    nodes = {f"augmentation.{name}": node for name, node in augmentation.items()}
    nodes |= {f"callbacks.{name}": node for name, node in callbacks.items()}
    nodes["trainer"] = {key: value for key, value in trainer.items() if (key, value) != TRAINER}
    check_trust(nodes, trust, place=run.config, groups=nodes)
    for name, node in list(callbacks.items()):
        if not isinstance(node, dict):
            continue
        if str(node.get("monitor")).startswith("val/") and not is_best_checkpoint(name, node):
            reason = "it needs validation tracks and a refit has none"
        elif may_end_training(name, node):
            reason = "a refit ends only after the number of epochs that the run chose"
        else:
            continue
        del callbacks[name]
        print(f"Note: callbacks.{name} is off, since {reason}.")
    if epochs is not None:
        trainer = {key: value for key, value in trainer.items() if key not in LIMITS} | {"max_epochs": epochs}
    if chosen := chosen_settings(run):
        print(f"Note: a refit does not search: the search of {run.path} chose {searched(chosen)}.")
    given = {**chosen, "trainer": trainer, "augmentation": augmentation, "callbacks": callbacks}
    given |= {"refit": str(run.path), "ckpt_path": None, "run_dir": run_dir}
    return checked_again(run, overrides, trust=trust, config_dir=config_dir, trains=True, **given)


def _loggers_of(logger: Any, config_dir: Path | None) -> DictConfig:
    """Return the loggers of ``conf/`` of the same kinds as those of a run, with the W&B project and tags of the run."""
    logger = logger if isinstance(logger, dict) else {}
    chosen = [name for name in ("wandb", "csv", "tensorboard", "mlflow") if logger.get(name)]
    ours: DictConfig = composed([f"logger=[{','.join(chosen)}]"] if chosen else ["logger=none"], config_dir).logger
    own = logger.get("wandb")
    if isinstance(own, dict):
        ours.wandb.update({key: own[key] for key in ("project", "entity", "group") if isinstance(own.get(key), str)})
        ours.wandb.tags = [tag for tag in own.get("tags") or [] if isinstance(tag, str)]
        ours.wandb.offline = own.get("offline") is True or None
    return ours


def _check_one_value(override: Override) -> None:
    """Raise a `UserError` for a key with several values, or a removed key that is no class of a `COMBINED` group."""
    typed = override.input_line
    if override.is_sweep_override():
        raise UserError(f"{typed} names several values; give one.")
    group, _, name = override.key_or_group.partition(".")
    turns_off = group in COMBINED and name and "." not in name and override.value() is None
    if override.is_delete() and not turns_off:
        raise UserError(f"{typed}: a key of a trained run cannot be removed; set another value, or omit it.")


def refuse_without_effect(overrides: Sequence[str]) -> None:
    """Raise a `UserError` for an override of a fixed or training-only setting, or without exactly one value."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, typed = override.key_or_group, override.input_line
        _check_one_value(override)
        if key.partition(".")[0] in ("model", "encoder") and key != "encoder.weights":
            raise UserError(f"{typed}: the network of a trained run cannot be changed; omit it, or train another.")
        group, _, name = key.partition(".")
        of_a_test = name in (*TEST_SETTINGS, *TEST_ARGUMENTS)
        if key in TRAINING_ONLY or group in TRAINING_ONLY or (group == "trainer" and name and not of_a_test):
            raise UserError(f"{typed} has no effect on a trained run; omit it.")


def composed(
    overrides: Sequence[str], config_dir: Path | None, *, with_hydra: bool = False, can_sweep: bool = False
) -> DictConfig:
    """Compose ``conf/`` with the overrides.

    Args:
        overrides: Overrides as typed by the user.
        config_dir: Folder with configuration files of the user.
        with_hydra: Whether to keep the section ``hydra``.
        can_sweep: Whether the overrides may choose a sweep; the result is then the configuration of one of its jobs.
    """
    check_single(overrides, can_sweep=can_sweep)
    if config_dir is not None:
        overrides = [*search_path(overrides, f"file://{config_dir}"), *overrides]
    with initialized():
        return compose("train", list(overrides), return_hydra_config=with_hydra)


def load_corpus_for(
    spec: "FeatureSpec",
    run: RunDirectory,
    overrides: Sequence[str],
    *,
    device: "torch.device",
    trust: Sequence[str] = (),
    config_dir: Path | None = None,
    check: "Check | None" = None,
) -> "Corpus":
    """Load the tracks named by the configuration of a run with overrides, for a model trained on features of `spec`.

    Spectrograms are computed on `device`, after all checks.

    Raises:
        UserError: The tracks cannot be loaded, their spectrograms differ from those the model was trained on, an
            override has no effect, or `check` raises the error.
    """
    from genreclf.config import instantiate
    from genreclf.experiment.corpus import features_of, load_corpus

    def check_all(config: Config, tracks: Sequence["Track"]) -> None:
        dataset = instantiate.make("data", config.data)
        dataset.tracks()  # A user's dataset may find its pictures there.
        ours = replace(features_of(config, dataset, tracks), clip_frames=spec.clip_frames, rendering=spec.rendering)
        if differing := ours.differing(spec):
            raise UserError(
                f"data={dataset.name} gives spectrograms that differ from those the model was trained on "
                f"({differing}): choose a dataset of the same kind and features."
            )
        if check is not None:
            check(config, tracks)

    refuse_without_effect(overrides)
    for override in overrides:
        if override.lstrip("+~").partition("=")[0].partition(".")[0] not in ("data", "features"):
            raise UserError(f"{override}: a library is built from a dataset; set only keys of data and features.")
    config = checked_again(run, overrides, trust=trust, config_dir=config_dir, run_dir="-")
    return load_corpus(config, device, check=check_all)
