"""Compose a configuration from a command's overrides with Hydra, and check it."""

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from genreclf.config.config import Config
from genreclf.config.keys import COMBINED, CONFIG_DIR, TEST_ARGUMENTS, TEST_SETTINGS
from genreclf.config.messages import check_single, explain, undecodable_file
from genreclf.config.schema import RootConfig, SplitConfig
from genreclf.config.trust import GROUPS, check_trust, named_by
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory

TRAINING_ONLY = (
    *("loss", "optimizer", "scheduler", "augmentation", "regularization", "callbacks", "experiment"),
    *("sweep", "seed", "init_from", "ckpt_path", "refit", "compare_with", "data.crops_per_track"),
)
"""Groups and keys that only a training uses."""

TRAINER = ("_target_", "lightning.pytorch.Trainer")
"""What of a run's Trainer needs no trust."""

if TYPE_CHECKING:
    import torch

    from genreclf.audio.log_mel import FeatureSpec
    from genreclf.experiment.corpus import Corpus


def checked(overrides: Sequence[str], *, run_dir: str, config_dir: Path | None = None) -> Config:
    """Compose ``conf/`` with the overrides and check the whole."""
    return Config.from_hydra(composed(overrides, config_dir), run_dir=run_dir, overrides=overrides)


def checked_run(overrides: Sequence[str], config_dir: Path | None = None) -> Config:
    """Compose and check a run as the command line does: in a new directory of outputs/runs unless `run_dir` is set.

    Raises:
        UserError: All mistakes, one sentence each; one that Hydra finds alone.
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
    except UnicodeDecodeError as error:
        if (sentence := undecodable_file(error)) is None:
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
    """Check a run's own configuration with overrides on top, which may choose options of groups (``split=track``).

    Unless the run is trained again, its Trainer, callbacks and augmentation are not used: those of ``conf/`` take their
    place, on the devices of the run.

    Args:
        run: Whose configuration it is.
        overrides: What the user typed; it may name any class.
        trust: Modules whose classes the run's own configuration may name.
        config_dir: Folder with options of the user's own.
        trains: Take the Trainer, callbacks and augmentation of the run as well.
        **given: Top-level keys that replace those of the run.

    Raises:
        UserError: All mistakes, one sentence each.
    """
    plain = {**run.read_config(), **given}
    if isinstance(split := plain.get("split"), dict):
        plain["split"] = {**asdict(SplitConfig()), **split}  # Runs of earlier versions do not have all of its keys.
    if isinstance(data := plain.get("data"), dict):
        data.setdefault("genre_map", None)  # It is not kept where it is null.
    plain.setdefault("encoder", {"_target_": None})  # As it is where the network started from scratch.
    fresh = composed([], config_dir)
    config = fresh.copy()
    for key in (*GROUPS, "features", *(entry.name for entry in fields(RootConfig))):
        config[key] = plain.get(key)
    config.logger = _loggers_of(plain.get("logger"), config_dir)
    if isinstance(trainer := plain.get("trainer"), dict):
        config.trainer.update({key: trainer[key] for key in TEST_SETTINGS if key in trainer})
    for group in ("trainer", "augmentation", "callbacks") if trains else ():
        config[group] = plain[group]
    options: list[Override] = []
    values: list[Override] = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        is_group = isinstance(OmegaConf.select(fresh, override.key_or_group), DictConfig)
        (options if is_group and isinstance(override.value(), str | list) else values).append(override)
    for override in options:
        config[override.key_or_group] = OmegaConf.select(
            composed([str(override.input_line)], config_dir), override.key_or_group
        )
        if override.key_or_group == "data" and isinstance(data, dict):  # Its clips are cut as they were.
            config.data.update({key: data[key] for key in ("clip_seconds", "grid_overlap", "short") if key in data})
    for override in values:  # Whatever the order, as in Hydra.
        OmegaConf.update(config, override.key_or_group, override.value(), force_add=override.is_add())
    kept = [group for group in GROUPS if OmegaConf.select(config, f"{group}._target_") == named_by(plain, group)]
    check_trust(plain, trust, place=run.config, groups=kept)
    return Config.from_hydra(config, run_dir=plain["run_dir"], overrides=overrides)


def checked_refit(
    run: RunDirectory, overrides: Sequence[str], *, run_dir: str, trust: Sequence[str], config_dir: Path | None
) -> Config:
    """Check the configuration of a run that is to be trained on its validation tracks as well; see `checked_again`.

    It has as many epochs as the run chose, and no callback that needs validation tracks.

    Raises:
        UserError: All mistakes, one sentence each.
    """
    from genreclf.experiment.build import is_best_checkpoint
    from genreclf.experiment.refit import chosen_epochs

    for override in OverridesParser.create().parse_overrides(list(overrides)):
        group = override.key_or_group.partition(".")[0]
        _check_one_value(override)
        if group in ("split", "experiment", "regularization", "sweep", "refit", "init_from", "ckpt_path"):
            raise UserError(f"{override.input_line}: a refit takes {group} from {run.path}; omit it.")
    epochs, plain = chosen_epochs(run), run.read_config()
    trainer, augmentation, callbacks = (plain.get(name) or {} for name in ("trainer", "augmentation", "callbacks"))
    # Before anything that the run names is imported.
    nodes = {f"augmentation.{name}": node for name, node in augmentation.items()}
    nodes |= {f"callbacks.{name}": node for name, node in callbacks.items()}
    nodes["trainer"] = {key: value for key, value in trainer.items() if (key, value) != TRAINER}
    check_trust(nodes, trust, place=run.config, groups=nodes)
    for name, node in list(callbacks.items()):
        if (
            isinstance(node, dict)
            and str(node.get("monitor")).startswith("val/")
            and not is_best_checkpoint(name, node)
        ):
            del callbacks[name]
            print(f"Note: callbacks.{name} is off, since it needs validation tracks and a refit has none.")
    if epochs is not None:
        trainer["max_epochs"] = epochs
    given = {"trainer": trainer, "augmentation": augmentation, "callbacks": callbacks}
    given |= {"refit": str(run.path), "ckpt_path": None, "run_dir": run_dir}
    return checked_again(run, overrides, trust=trust, config_dir=config_dir, trains=True, **given)


def _loggers_of(logger: Any, config_dir: Path | None) -> DictConfig:
    """Return our loggers of the kinds that a run had, and where its record of W&B was."""
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
    """Raise a `UserError` for several values of a key, and for its removal unless that turns off a class of several."""
    typed = override.input_line
    if override.is_sweep_override():
        raise UserError(f"{typed} names several values; give one.")
    group, _, name = override.key_or_group.partition(".")
    turns_off = group in COMBINED and name and "." not in name and override.value() is None
    if override.is_delete() and not turns_off:
        raise UserError(f"{typed}: a key of a trained run cannot be removed; set another value, or omit it.")


def refuse_without_effect(overrides: Sequence[str]) -> None:
    """Raise a `UserError` for what a trained run has fixed, what only training uses, and other than one value."""
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
        overrides: As typed.
        config_dir: Folder with options of the user's own.
        with_hydra: Whether to keep the section `hydra`.
        can_sweep: Whether the overrides may choose a sweep; the result is then the configuration of one of its jobs.
    """
    check_single(overrides, can_sweep=can_sweep)
    if config_dir is not None:
        quoted = f"file://{config_dir}".replace("'", r"\'")
        overrides = [f"hydra.searchpath=['{quoted}']", *overrides]
    with hydra.initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        return compose("train", list(overrides), return_hydra_config=with_hydra)


def load_corpus_for(
    spec: "FeatureSpec",
    run: RunDirectory,
    overrides: Sequence[str],
    *,
    device: "torch.device",
    trust: Sequence[str] = (),
    config_dir: Path | None = None,
) -> "Corpus":
    """Load the tracks that a run's own configuration names with overrides on top, for a model that knows `spec`.

    Spectrograms are computed on `device`.

    Raises:
        UserError: There are none, their spectrograms are not what the model knows, or an override is of no use here.
    """
    from genreclf.experiment.corpus import load_corpus

    refuse_without_effect(overrides)
    for override in overrides:
        if override.lstrip("+~").partition("=")[0].partition(".")[0] not in ("data", "features"):
            raise UserError(f"{override}: a library is built from a dataset; set only keys of data and features.")
    corpus = load_corpus(checked_again(run, overrides, trust=trust, config_dir=config_dir, run_dir="-"), device)
    ours = replace(corpus.spec, clip_frames=spec.clip_frames, rendering=spec.rendering)
    if differing := ours.differing(spec):
        raise UserError(
            f"data={corpus.dataset_name} gives spectrograms that differ from those the model was trained on "
            f"({differing}): choose a dataset of the same kind and features."
        )
    return corpus
